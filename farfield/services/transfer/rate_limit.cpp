#include "farfield/services/transfer/rate_limit.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>

#include "farfield/core/error.hpp"

namespace farfield::services::transfer {
namespace {
constexpr double kBurst_s = 0.25;
}

RateLimit::RateLimit(double bytes_per_s, const core::Clock& clock)
    : bytes_per_s_(bytes_per_s), clock_(clock), free_at_s_(clock.now_s() - kBurst_s) {
  if (!(bytes_per_s > 0) || !std::isfinite(bytes_per_s))
    throw core::Error(core::ErrorCode::invalid_argument,
                      fmt::format("a bandwidth of {} bytes/s; must be > 0", bytes_per_s));
}

double RateLimit::reserve_s(core::Index bytes) {
  const std::lock_guard lock(mutex_);
  const double now_s = clock_.now_s();
  free_at_s_ = std::max(free_at_s_, now_s - kBurst_s) + static_cast<double>(bytes) / bytes_per_s_;
  return std::max(0.0, free_at_s_ - now_s);
}

bool RateLimit::wait(core::Index bytes, std::stop_token stop) {
  const double seconds = reserve_s(bytes);
  if (seconds > 0) {
    std::mutex mutex;
    std::condition_variable_any never;
    std::unique_lock lock(mutex);
    never.wait_for(lock, stop, std::chrono::duration<double>(seconds), [] { return false; });
  }
  return !stop.stop_requested();
}

}  // namespace farfield::services::transfer
