#include "farfield/net/rate_limiter.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "farfield/core/error.hpp"

namespace farfield::net {

RateLimiter::RateLimiter(const RateLimit& limit, const core::Clock& clock, core::Index max_clients)
    : limit_(limit), clock_(clock), max_clients_(max_clients) {
  if (limit.rate_per_s < 0 || (limit.rate_per_s > 0 && limit.burst < 1))
    throw core::Error(core::ErrorCode::invalid_argument,
                      fmt::format("rate limit {} requests/s with a burst of {}: must be >= 0 with a burst >= 1",
                                  limit.rate_per_s, limit.burst));
}

double RateLimiter::take(const std::string& client) {
  if (limit_.rate_per_s == 0) return 0;
  const double now_s = clock_.now_s();
  const std::lock_guard lock(mutex_);
  if (now_s >= next_clean_s_) forget_full(now_s);
  const bool crowded = std::ssize(buckets_) >= max_clients_ && !buckets_.contains(client);
  auto& bucket = buckets_.try_emplace(crowded ? std::string() : client, Bucket{limit_.burst, now_s}).first->second;
  bucket.tokens = std::min(limit_.burst, bucket.tokens + (now_s - bucket.at_s) * limit_.rate_per_s);
  bucket.at_s = now_s;
  if (bucket.tokens < 1) return (1 - bucket.tokens) / limit_.rate_per_s;
  bucket.tokens -= 1;
  return 0;
}

core::Index RateLimiter::clients() const {
  const std::lock_guard lock(mutex_);
  return std::ssize(buckets_);
}

void RateLimiter::forget_full(double now_s) {
  std::erase_if(buckets_, [&](const auto& entry) {
    return entry.second.tokens + (now_s - entry.second.at_s) * limit_.rate_per_s >= limit_.burst;
  });
  next_clean_s_ = now_s + std::max(1.0, limit_.burst / limit_.rate_per_s);
}

}  // namespace farfield::net
