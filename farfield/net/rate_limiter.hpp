#pragma once
// Token buckets: each client may send `burst` requests at once and `rate_per_s` in the long run.

#include <mutex>
#include <string>
#include <unordered_map>

#include "farfield/core/clock.hpp"
#include "farfield/core/view.hpp"

namespace farfield::net {

struct RateLimit {
  double rate_per_s = 0;  ///< 0: no limit
  double burst = 0;       ///< tokens a full bucket holds, >= 1
};

/// Thread-safe. Memory is bounded: full buckets are forgotten, and where `max_clients` are not full, newcomers share
/// one bucket.
class RateLimiter {
public:
  /// Throws `invalid_argument`: a negative rate, a burst below 1.
  RateLimiter(const RateLimit& limit, const core::Clock& clock, core::Index max_clients = 100'000);

  /// Takes one token. Seconds until there will be one; 0: taken.
  double take(const std::string& client);
  core::Index clients() const;

private:
  struct Bucket {
    double tokens, at_s;
  };
  void forget_full(double now_s);

  RateLimit limit_;
  const core::Clock& clock_;
  core::Index max_clients_;
  mutable std::mutex mutex_;
  std::unordered_map<std::string, Bucket> buckets_;
  double next_clean_s_ = 0;
};

}  // namespace farfield::net
