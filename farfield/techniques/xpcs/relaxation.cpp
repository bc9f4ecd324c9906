#include "farfield/techniques/xpcs/relaxation.hpp"

#include <cmath>
#include <limits>

namespace farfield::techniques::xpcs {

Relaxation relaxation(std::span<const double> delay, std::span<const double> g2, std::span<const double> error) {
  double w = 0, wx = 0, wy = 0, wxx = 0, wxy = 0;
  int points = 0;
  for (std::size_t i = 0; i < delay.size(); ++i) {
    const double y = g2[i] - 1;
    if (!(y > 2 * error[i] && error[i] > 0 && y > 0.1 * (g2[0] - 1))) break;
    const double weight = y * y / (error[i] * error[i]), x = delay[i], line = std::log(y);
    w += weight;
    wx += weight * x;
    wy += weight * line;
    wxx += weight * x * x;
    wxy += weight * x * line;
    ++points;
  }
  const Relaxation none{std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()};
  const double spread = w > 0 ? wxx - wx * wx / w : 0;
  if (points < 3 || !(spread > 0)) return none;
  const double slope = (wxy - wx * wy / w) / spread;
  if (!(slope < 0)) return none;
  return {-2 / slope, 1 / (std::sqrt(spread) * -slope)};
}

}  // namespace farfield::techniques::xpcs
