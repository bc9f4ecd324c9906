#pragma once
// Small scans for the tests of this folder.

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "farfield/techniques/xpcs/correlator.hpp"
#include "farfield/techniques/xpcs/qmap.hpp"

namespace farfield::techniques::xpcs::testing {

/// Random numbers of a test: the seed is in the name of the failing case.
class Dice {
public:
  explicit Dice(unsigned seed) : engine_(seed) {}
  Index whole(Index low, Index high) { return std::uniform_int_distribution<Index>(low, high)(engine_); }
  bool chance(double p) { return std::bernoulli_distribution(p)(engine_); }
  double real() { return std::uniform_real_distribution<double>(0, 1)(engine_); }
  Index poisson(double mean) { return mean > 0 ? std::poisson_distribution<Index>(mean)(engine_) : 0; }

private:
  std::mt19937 engine_;
};

/// Any map: rectangles of no shape, empty static bins, straddling ones, pixels of no bin.
inline QMap random_map(Dice& dice, Index ny, Index nx, Index statics, Index dynamics) {
  QMap map;
  map.dynamic_roi_map = core::Array<std::uint32_t, 2>({ny, nx});
  map.static_roi_map = core::Array<std::uint32_t, 2>({ny, nx});
  for (Index i = 0; i < ny * nx; ++i) {
    if (i > 0 && dice.chance(0.2)) continue;
    const Index s = dice.whole(1, statics);
    map.static_roi_map.data()[i] = static_cast<std::uint32_t>(s);
    const Index d = dice.chance(0.05) ? dice.whole(1, dynamics) : (s - 1) * dynamics / statics + 1;
    map.dynamic_roi_map.data()[i] = static_cast<std::uint32_t>(d);
  }
  return map;
}

/// Counts (pixel, time) with memory in time, so that g2 is not 1.
inline core::Array<double, 2> random_counts(Dice& dice, Index pixels, Index frames, double mean) {
  core::Array<double, 2> out({pixels, frames});
  for (Index p = 0; p < pixels; ++p) {
    double brightness = mean;
    for (Index t = 0; t < frames; ++t) {
      if (dice.chance(0.1)) brightness = -mean * std::log(1 - dice.real());
      out(p, t) = static_cast<double>(dice.poisson(brightness));
    }
  }
  return out;
}

inline std::vector<model::PixelCount> events_of(const core::Array<double, 2>& counts, Index frame) {
  std::vector<model::PixelCount> out;
  for (Index p = 0; p < counts.extent(0); ++p)
    if (counts(p, frame) > 0)
      out.push_back({static_cast<std::uint32_t>(p), static_cast<std::uint32_t>(counts(p, frame))});
  return out;
}

/// NaN agrees with NaN.
inline double largest_difference(const core::Array<double, 2>& a, const core::Array<double, 2>& b) {
  double worst = a.extents() == b.extents() ? 0 : std::numeric_limits<double>::infinity();
  for (Index i = 0; i < a.size() && std::isfinite(worst); ++i) {
    const double x = a.data()[i], y = b.data()[i];
    if (std::isnan(x) && std::isnan(y)) continue;
    worst = std::isnan(x - y) ? std::numeric_limits<double>::infinity() : std::max(worst, std::abs(x - y));
  }
  return worst;
}

}  // namespace farfield::techniques::xpcs::testing
