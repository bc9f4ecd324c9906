#include "farfield/techniques/ptychography/inspect_counts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace farfield::techniques::ptychography {
namespace {

using core::Array;
using core::Index;

/// Extremes of the sums over the valid neighbours of a pixel; nothing where it has fewer than three.
struct Neighbours {
  double low = std::numeric_limits<double>::infinity(), high = 0;
  int count = 0;
};

Neighbours neighbours(const Array<double, 2>& sum, const Array<std::uint8_t, 2>& valid, Index y, Index x) {
  Neighbours n;
  for (Index v = std::max<Index>(0, y - 1); v <= std::min(sum.extent(0) - 1, y + 1); ++v)
    for (Index u = std::max<Index>(0, x - 1); u <= std::min(sum.extent(1) - 1, x + 1); ++u) {
      if ((v == y && u == x) || valid(v, u) == 0) continue;
      n.low = std::min(n.low, sum(v, u));
      n.high = std::max(n.high, sum(v, u));
      ++n.count;
    }
  return n;
}

template <class Test>
std::vector<Index> candidates(const CountStatistics& s, const Array<std::uint8_t, 2>& valid, Test&& test) {
  constexpr int kFewest = 3;
  std::vector<Index> found;
  for (Index y = 0; y < s.sum.extent(0); ++y)
    for (Index x = 0; x < s.sum.extent(1); ++x) {
      if (valid(y, x) == 0) continue;
      const Neighbours around = neighbours(s.sum, valid, y, x);
      if (around.count >= kFewest && test(s.sum(y, x), around)) found.push_back(y * s.sum.extent(1) + x);
    }
  return found;
}

}  // namespace

CountStatistics CountStatistics::clone() const { return {sum.clone(), peak.clone(), histogram.clone(), frames}; }

PatternCounter::PatternCounter(const model::Detector& d) : valid_({d.ny, d.nx}, 1), saturation_(d.saturation_counts) {
  if (!d.pixel_mask.empty())
    std::transform(d.pixel_mask.begin(), d.pixel_mask.end(), valid_.begin(),
                   [](std::uint32_t bits) { return bits == 0; });
  if (std::count(valid_.begin(), valid_.end(), 1) == 0)
    throw core::Error(core::ErrorCode::corrupt_data,
                      fmt::format("the pixel mask hides all {} x {} pixels; at least one must be good", d.ny, d.nx));
  if (!saturation_)
    core::visit_dtype(d.dtype, [&](auto zero) {
      using T = decltype(zero);
      if constexpr (std::is_integral_v<T>) saturation_ = static_cast<double>(std::numeric_limits<T>::max());
    });
  statistics_.sum = Array<double, 2>({d.ny, d.nx});
  statistics_.peak = Array<double, 2>({d.ny, d.nx});
  statistics_.histogram = Array<double, 1>({kHistogramBins});
}

std::optional<std::string> PatternCounter::add(model::FrameId id, const core::AnyImage& image) {
  if (image.ny != valid_.extent(0) || image.nx != valid_.extent(1))
    return fmt::format("{} x {} pixels instead of {} x {}", image.ny, image.nx, valid_.extent(0), valid_.extent(1));
  return core::visit_dtype(image.dtype, [&](auto zero) -> std::optional<std::string> {
    using T = decltype(zero);
    if constexpr (std::is_arithmetic_v<T>) return add<T>(id, image.view<T>());
    else return "complex pixels are not counts";
  });
}

template <class T>
std::optional<std::string> PatternCounter::add(model::FrameId id, core::View<const T, 2> image) {
  // Judged before anything is added: a frame counts whole or not at all.
  for (Index y = 0; y < image.extent(0); ++y)
    for (Index x = 0; x < image.extent(1); ++x) {
      if (valid_(y, x) == 0) continue;
      if constexpr (std::is_floating_point_v<T>)
        if (!std::isfinite(image(y, x))) return fmt::format("value {} at ({}, {}) is not finite", image(y, x), y, x);
      if constexpr (std::is_signed_v<T>)
        if (image(y, x) < 0) return fmt::format("negative counts, {} at ({}, {})", image(y, x), y, x);
    }
  FrameCounts frame;
  for (Index y = 0; y < image.extent(0); ++y)
    for (Index x = 0; x < image.extent(1); ++x) {
      if (valid_(y, x) == 0) continue;
      const double v = static_cast<double>(image(y, x));
      statistics_.sum(y, x) += v;
      statistics_.peak(y, x) = std::max(statistics_.peak(y, x), v);
      frame.total += v;
      frame.peak = std::max(frame.peak, v);
      frame.saturated += saturation_ && v >= *saturation_;
      const int bin = v > 0 ? std::max(1, std::ilogb(v) + 1) : 0;
      statistics_.histogram(std::min<Index>(bin, kHistogramBins - 1)) += 1;
    }
  statistics_.frames[id] = frame;
  return std::nullopt;
}

std::vector<Index> dead_pixel_candidates(const CountStatistics& s, const Array<std::uint8_t, 2>& valid) {
  constexpr double kSurely = 25;
  return candidates(s, valid, [](double own, const Neighbours& around) { return own == 0 && around.low >= kSurely; });
}

std::vector<Index> hot_pixel_candidates(const CountStatistics& s, const Array<std::uint8_t, 2>& valid) {
  constexpr double kFactor = 10, kCounts = 20;
  return candidates(s, valid,
                    [](double own, const Neighbours& around) { return own > kFactor * around.high + kCounts; });
}

}  // namespace farfield::techniques::ptychography
