#pragma once
// Time is handed in, so that algorithms can be tested without waiting.

#include <chrono>

namespace farfield::core {

struct Clock {
  virtual ~Clock() = default;
  /// Seconds since an arbitrary origin; never goes back.
  virtual double now_s() const = 0;
};

struct SteadyClock final : Clock {
  double now_s() const override {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }
};

/// A clock that a test moves by hand.
struct ManualClock final : Clock {
  double now_s() const override { return time_s; }
  double time_s = 0;
};

}  // namespace farfield::core
