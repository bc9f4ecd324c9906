#include "farfield/techniques/xpcs/correlate_reference.hpp"

#include <cmath>
#include <limits>

namespace farfield::techniques::xpcs {
namespace {

/// Pixels of each static bin, as order_pixels() has them; the maps may be of any shape.
std::vector<Index> pixels_of(const PixelOrder& order, Index s) {
  std::vector<Index> out;
  for (Index i = order.first_slot[static_cast<std::size_t>(s)]; i < order.first_slot[static_cast<std::size_t>(s) + 1];
       ++i)
    out.push_back(order.pixel[static_cast<std::size_t>(i)]);
  return out;
}

/// The series of the next level: means of two, or of the good one of two.
core::Array<double, 2> halve(const core::Array<double, 2>& series) {
  core::Array<double, 2> out({series.extent(0), series.extent(1) / 2});
  for (Index p = 0; p < out.extent(0); ++p)
    for (Index t = 0; t < out.extent(1); ++t) {
      const double a = series(p, 2 * t), b = series(p, 2 * t + 1);
      out(p, t) = std::isnan(a) ? b : std::isnan(b) ? a : (a + b) / 2;
    }
  return out;
}

}  // namespace

ReferenceG2 correlate_reference(core::View<const double, 2> intensity, const QMap& map, const LagScheme& scheme) {
  const auto order = order_pixels(map, {});
  const Index pixels = intensity.extent(0), bins = map.dynamic_bins();
  core::Array<double, 2> series(intensity.extents());
  for (Index p = 0; p < pixels; ++p)
    for (Index t = 0; t < intensity.extent(1); ++t) series(p, t) = intensity(p, t);

  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  ReferenceG2 out;
  out.lags = lags_of(scheme, intensity.extent(1));
  const auto lags = static_cast<Index>(out.lags.size());
  out.g2 = core::Array<double, 2>({lags, bins}, kNone);
  out.error = core::Array<double, 2>({lags, bins}, kNone);
  Index level = 0;
  for (Index i = 0; i < lags; ++i) {
    for (; level < out.lags[static_cast<std::size_t>(i)].level; ++level) series = halve(series);
    const Index k = out.lags[static_cast<std::size_t>(i)].k;
    core::Array<double, 2> pixel({3, pixels});  // G2, IP, IF
    double pairs = 0;
    for (Index t = 0; t + k < series.extent(1); ++t) {
      if (std::isnan(series(0, t)) || std::isnan(series(0, t + k))) continue;
      pairs += 1;
      for (Index p = 0; p < pixels; ++p) {
        pixel(0, p) += series(p, t) * series(p, t + k);
        pixel(1, p) += series(p, t);
        pixel(2, p) += series(p, t + k);
      }
    }
    if (pairs == 0) continue;
    for (double& v : pixel) v /= pairs;
    for (Index d = 1; d <= bins; ++d) {
      double sum = 0, counted = 0;
      std::vector<double> ratios;
      for (Index s = 0; s < order.static_bins(); ++s) {
        if (order.dynamic_of[static_cast<std::size_t>(s)] != d) continue;
        const auto members = pixels_of(order, s);
        double mean[3] = {0, 0, 0};
        for (const Index p : members) {
          for (int m = 0; m < 3; ++m) mean[m] += pixel(m, p) / static_cast<double>(members.size());
          const double light = pixel(1, p) * pixel(2, p);
          ratios.push_back(light > 0 ? pixel(0, p) / light : 0);
        }
        if (mean[1] * mean[2] > 0) {
          sum += mean[0] / (mean[1] * mean[2]);
          counted += 1;
        }
      }
      if (counted == 0) continue;
      out.g2(i, d - 1) = sum / counted;
      double average = 0, variance = 0;
      const auto n = static_cast<double>(ratios.size());
      for (const double r : ratios) average += r / n;
      for (const double r : ratios) variance += (r - average) * (r - average) / n;
      out.error(i, d - 1) = std::sqrt(variance / n);
    }
  }
  return out;
}

core::Array<double, 2> twotime_reference(core::View<const double, 2> intensity, const QMap& map, Index dynamic_bin,
                                         bool by_static) {
  const auto order = order_pixels(map, {});
  const Index frames = intensity.extent(1);
  std::vector<std::vector<Index>> groups;
  Index count = 0;
  for (Index s = 0; s < order.static_bins(); ++s) {
    if (order.dynamic_of[static_cast<std::size_t>(s)] != dynamic_bin) continue;
    auto members = pixels_of(order, s);
    count += static_cast<Index>(members.size());
    if (by_static || groups.empty()) groups.push_back(std::move(members));
    else groups[0].insert(groups[0].end(), members.begin(), members.end());
  }
  core::Array<double, 2> c2({frames, frames});
  for (const auto& group : groups) {
    std::vector<double> mean(static_cast<std::size_t>(frames), 0.0);
    for (Index t = 0; t < frames; ++t)
      for (const Index p : group)
        mean[static_cast<std::size_t>(t)] += intensity(p, t) / static_cast<double>(group.size());
    for (Index a = 0; a < frames; ++a)
      for (Index b = 0; b < frames; ++b) {
        const double light = mean[static_cast<std::size_t>(a)] * mean[static_cast<std::size_t>(b)];
        for (const Index p : group)
          if (light > 0) c2(a, b) += intensity(p, a) * intensity(p, b) / light / static_cast<double>(count);
          else if (!by_static || std::isnan(light)) c2(a, b) = std::numeric_limits<double>::quiet_NaN();
      }
  }
  return c2;
}

}  // namespace farfield::techniques::xpcs
