#include "farfield/techniques/ptychography/batches.hpp"

#include <algorithm>
#include <cmath>

namespace farfield::techniques::ptychography {
namespace {

using Slots = std::vector<Index>;

/// Cuts [begin, end) into `parts` near-equal clusters, each time across the longer axis.
void bisect(Slots::iterator begin, Slots::iterator end, Index parts, const State& state, double c, double s,
            std::vector<Slots>& out) {
  if (parts <= 1) {
    out.emplace_back(begin, end);
    return;
  }
  const auto u = [&](Index slot) {
    return c * state.y[static_cast<std::size_t>(slot)] + s * state.x[static_cast<std::size_t>(slot)];
  };
  const auto v = [&](Index slot) {
    return c * state.x[static_cast<std::size_t>(slot)] - s * state.y[static_cast<std::size_t>(slot)];
  };
  double u0 = 1e300, u1 = -1e300, v0 = 1e300, v1 = -1e300;
  for (auto it = begin; it != end; ++it) {
    u0 = std::min(u0, u(*it));
    u1 = std::max(u1, u(*it));
    v0 = std::min(v0, v(*it));
    v1 = std::max(v1, v(*it));
  }
  const bool along_u = u1 - u0 >= v1 - v0;
  const Index left = parts / 2;
  const auto middle = begin + (end - begin) * left / parts;
  std::nth_element(begin, middle, end, [&](Index a, Index b) {
    const double ka = along_u ? u(a) : v(a), kb = along_u ? u(b) : v(b);
    return ka != kb ? ka < kb : a < b;
  });
  bisect(begin, middle, left, state, c, s, out);
  bisect(middle, end, parts - left, state, c, s, out);
}

}  // namespace

std::vector<Slots> make_batches(const Slots& slots, const State& state, Index size, BatchChoice choice,
                                math::Random& random) {
  std::vector<Slots> out;
  if (slots.empty()) return out;
  const auto n = static_cast<Index>(slots.size());
  size = std::clamp<Index>(size, 1, n);
  const Index parts = (n + size - 1) / size;
  Slots order = slots;
  if (choice == BatchChoice::compact && parts > 1) {
    const double angle = random.uniform(0, M_PI / 2);
    bisect(order.begin(), order.end(), parts, state, std::cos(angle), std::sin(angle), out);
    for (auto& batch : out) random.shuffle(batch);
    random.shuffle(out);
    return out;
  }
  if (choice != BatchChoice::sequential) random.shuffle(order);
  for (Index p = 0; p < parts; ++p)
    out.emplace_back(order.begin() + n * p / parts, order.begin() + n * (p + 1) / parts);
  return out;
}

}  // namespace farfield::techniques::ptychography
