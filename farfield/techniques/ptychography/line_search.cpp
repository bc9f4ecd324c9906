#include "farfield/techniques/ptychography/line_search.hpp"

#include <cmath>

namespace farfield::techniques::ptychography {
namespace {

/// The polynomial through all four points (Newton's divided differences).
struct Cubic {
  Trials at, coefficient;
  Cubic(const Trials& steps, const Trials& values) : at(steps), coefficient(values) {
    for (int order = 1; order < kTrials; ++order)
      for (int k = kTrials - 1; k >= order; --k)
        coefficient[static_cast<std::size_t>(k)] =
            (coefficient[static_cast<std::size_t>(k)] - coefficient[static_cast<std::size_t>(k - 1)]) /
            (at[static_cast<std::size_t>(k)] - at[static_cast<std::size_t>(k - order)]);
  }
  double operator()(double t) const {
    double value = coefficient[kTrials - 1];
    for (int k = kTrials - 2; k >= 0; --k)
      value = value * (t - at[static_cast<std::size_t>(k)]) + coefficient[static_cast<std::size_t>(k)];
    return value;
  }
};

}  // namespace

double find_root(const std::function<Trials(const Trials&)>& slopes, double guess,
                 const std::array<double, kTrials - 1>& spread) {
  double from = 0;
  for (int attempt = 0; attempt < 16; ++attempt) {
    const Trials steps{from, from + guess * spread[0], from + guess * spread[1], from + guess * spread[2]};
    const Trials values = slopes(steps);
    if (values[0] >= 0) return from;
    std::size_t k = 1;
    while (k < steps.size() && values[k] < 0) ++k;
    if (k == steps.size()) {  // still falling at the last
      from = steps.back();
      guess *= 4;
      continue;
    }
    const Cubic cubic(steps, values);
    double low = steps[k - 1], high = steps[k];
    for (int i = 0; i < 60; ++i) {
      const double middle = 0.5 * (low + high);
      (cubic(middle) < 0 ? low : high) = middle;
    }
    if (k > 1 || low - from > 0.25 * (steps[1] - from) || attempt > 8) return low;
    guess = std::max(low - from, 1e-3 * (steps[1] - from));
  }
  return from;
}

}  // namespace farfield::techniques::ptychography
