#pragma once
// Seeded random numbers that are the same on every machine and compiler (std::*_distribution is not).

#include <array>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

namespace farfield::math {

/// xoshiro256++ (Blackman, Vigna 2021, doi:10.1145/3460772), seeded through SplitMix64.
class Random {
public:
  using State = std::array<std::uint64_t, 4>;

  /// Streams of one seed are independent of each other: one per frame, say, makes parallel loops reproducible.
  explicit Random(std::uint64_t seed = 0, std::uint64_t stream = 0) {
    std::uint64_t z = seed ^ (stream * 0xd1342543de82ef95ULL + 0x2545f4914f6cdd1dULL);
    for (auto& s : state_) {
      z += 0x9e3779b97f4a7c15ULL;
      std::uint64_t x = z;
      x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
      x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
      s = x ^ (x >> 31);
    }
  }

  std::uint64_t next() {
    const std::uint64_t result = rotate(state_[0] + state_[3], 23) + state_[0], t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = rotate(state_[3], 45);
    return result;
  }
  /// Uniform in [0, 1), 53 bits.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  /// Uniform in [0, n), n > 0 (rejection: no bias).
  std::uint64_t below(std::uint64_t n) {
    const std::uint64_t limit = n * (UINT64_MAX / n);
    for (;;)
      if (const std::uint64_t x = next(); x < limit) return x % n;
  }
  /// Standard normal (Marsaglia's polar method; the second value is not kept, so the state is all there is).
  double normal() {
    for (;;) {
      const double u = uniform(-1, 1), v = uniform(-1, 1), s = u * u + v * v;
      if (s > 0 && s < 1) return u * std::sqrt(-2 * std::log(s) / s);
    }
  }
  /// Poisson counts of the given mean >= 0: multiplication for small means, PTRS (Hoermann 1993,
  /// doi:10.1016/0167-6687(93)90997-4) above.
  std::int64_t poisson(double mean);

  template <class T>
  void shuffle(std::vector<T>& items) {
    for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(i)]);
  }

  const State& state() const { return state_; }
  void set_state(const State& state) { state_ = state; }

private:
  static std::uint64_t rotate(std::uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }
  State state_{};
};

}  // namespace farfield::math
