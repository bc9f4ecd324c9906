#include "farfield/techniques/ptychography/state.hpp"

#include <algorithm>
#include <cmath>

#include "farfield/techniques/ptychography/sub_pixel_shift.hpp"

namespace farfield::techniques::ptychography {

void State::place(Index slot) {
  const auto s = static_cast<std::size_t>(slot);
  const double py = y[s] - origin_y, px = x[s] - origin_x;
  Placement& p = placements[s];
  p.oy = static_cast<Index>(std::floor(py));
  p.ox = static_cast<Index>(std::floor(px));
  p.shift = sub_pixel_shift(py - std::floor(py), px - std::floor(px));
  if (amplitude[s] != 1.0F) {
    for (float& tap : p.shift.y) tap *= amplitude[s];
    p.shift.identity = false;
  }
}

bool cover(State& state, const Patterns& patterns, cfloat fill, Index extra_margin) {
  const auto slots = static_cast<std::size_t>(patterns.slots());
  const std::size_t known = state.y.size();
  if (slots > known) {
    state.y.resize(slots, std::nan(""));
    state.x.resize(slots, std::nan(""));
    state.amplitude.resize(slots, 1.0F);
    state.opr_weights.resize(slots * static_cast<std::size_t>(state.opr_modes()), 0.0F);
    state.placements.resize(slots);
  }
  double low_y = 1e300, low_x = 1e300, high_y = -1e300, high_x = -1e300;
  for (const Index slot : patterns.ready()) {
    const auto s = static_cast<std::size_t>(slot);
    if (std::isnan(state.y[s])) {
      state.y[s] = patterns.y(slot);
      state.x[s] = patterns.x(slot);
      state.placements[s].oy = -1;  // not placed yet
    }
    low_y = std::min(low_y, state.y[s]);
    low_x = std::min(low_x, state.x[s]);
    high_y = std::max(high_y, state.y[s]);
    high_x = std::max(high_x, state.x[s]);
  }
  if (low_y > high_y) return false;
  const double m = static_cast<double>(kObjectMargin);
  const auto inside = [&](double low, double high, double origin, Index extent, Index tile) {
    return low - m / 2 >= origin &&
           high + static_cast<double>(tile) + 1 + m / 2 <= origin + static_cast<double>(extent);
  };
  const bool fits = !state.object.empty() &&
                    inside(low_y, high_y, state.origin_y, state.object.extent(0), state.shape.ny) &&
                    inside(low_x, high_x, state.origin_x, state.object.extent(1), state.shape.nx);
  if (!fits) {
    const double margin = m + static_cast<double>(extra_margin);
    double y0 = std::floor(low_y - margin), x0 = std::floor(low_x - margin);
    double y1 = std::ceil(high_y + static_cast<double>(state.shape.ny) + 1 + margin),
           x1 = std::ceil(high_x + static_cast<double>(state.shape.nx) + 1 + margin);
    if (state.object.empty()) {
      state.object = core::Array<cfloat, 2>({static_cast<Index>(y1 - y0), static_cast<Index>(x1 - x0)}, fill);
    } else {
      y0 = std::min(y0, state.origin_y);
      x0 = std::min(x0, state.origin_x);
      y1 = std::max(y1, state.origin_y + static_cast<double>(state.object.extent(0)));
      x1 = std::max(x1, state.origin_x + static_cast<double>(state.object.extent(1)));
      state.object = regrid(state.object, state.origin_y, state.origin_x,
                            {static_cast<Index>(y1 - y0), static_cast<Index>(x1 - x0)}, y0, x0, fill);
    }
    state.origin_y = y0;
    state.origin_x = x0;
  }
  for (const Index slot : patterns.ready())
    if (!fits || state.placements[static_cast<std::size_t>(slot)].oy < 0) state.place(slot);
  return !fits;
}

}  // namespace farfield::techniques::ptychography
