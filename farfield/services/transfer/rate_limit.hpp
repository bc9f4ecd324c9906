#pragma once
// So many bytes a second, shared by all who ask.

#include <mutex>
#include <stop_token>

#include "farfield/core/clock.hpp"
#include "farfield/core/view.hpp"

namespace farfield::services::transfer {

class RateLimit {
public:
  /// bytes_per_s > 0; `invalid_argument` else. After a pause, a quarter of a second's worth may go at once.
  RateLimit(double bytes_per_s, const core::Clock& clock);
  /// Takes a turn for so many bytes; seconds to wait before they may go.
  double reserve_s(core::Index bytes);
  /// reserve_s(), and waits. Returns false where it was stopped.
  bool wait(core::Index bytes, std::stop_token stop);

private:
  const double bytes_per_s_;
  const core::Clock& clock_;
  std::mutex mutex_;
  double free_at_s_;  ///< when all bytes reserved so far have gone
};

}  // namespace farfield::services::transfer
