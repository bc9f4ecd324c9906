#include "farfield/plot/image_data.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace farfield::plot {
namespace {
using core::Index;

template <class T>
void check_shape(core::View<T, 2> values, ValidMask valid) {
  if (!valid.empty() && valid.extents() != values.extents())
    throw core::Error(core::ErrorCode::invalid_argument,
                      fmt::format("mask of {} x {} pixels for an image of {} x {}", valid.extent(0), valid.extent(1),
                                  values.extent(0), values.extent(1)));
}
}  // namespace

Range robust_range(core::View<const float, 2> values, ValidMask valid, double low, double high, bool positive) {
  check_shape(values, valid);
  // A few hundred thousand pixels tell the percentiles well enough; every n-th keeps huge images quick. The step is
  // odd, so that it does not fall on the same columns of the usual even widths.
  const Index step = values.size() / 400000 * 2 + 1;
  std::vector<float> sample;
  const Index nx = values.extent(1);
  for (Index i = 0; i < values.size(); i += step) {
    const Index y = i / nx, x = i % nx;
    const float v = values(y, x);
    if (std::isfinite(v) && (!positive || v > 0) && (valid.empty() || valid(y, x) != 0)) sample.push_back(v);
  }
  if (sample.empty()) return positive ? Range{1, 10} : Range{0, 1};
  const auto percentile = [&](double percent) {
    const double at = std::clamp(percent, 0.0, 100.0) / 100 * static_cast<double>(sample.size() - 1);
    const auto nth = sample.begin() + static_cast<std::ptrdiff_t>(std::lround(at));
    std::nth_element(sample.begin(), nth, sample.end());
    return static_cast<double>(*nth);
  };
  Range range{percentile(low), percentile(high)};
  if (range.low >= range.high) {  // a constant image: its value in the middle
    const double spread = positive ? 0 : std::max(std::abs(range.low) * 1e-3, 1e-6);
    range = positive ? Range{range.low / 2, range.low * 2} : Range{range.low - spread, range.low + spread};
  }
  return range;
}

core::Array<float, 2> reduced(core::View<const float, 2> values, Index factor, ValidMask valid, bool cyclic) {
  check_shape(values, valid);
  const Index ny = values.extent(0), nx = values.extent(1);
  core::Array<float, 2> out({(ny + factor - 1) / factor, (nx + factor - 1) / factor});
  for (Index oy = 0; oy < out.extent(0); ++oy)
    for (Index ox = 0; ox < out.extent(1); ++ox) {
      double sum = 0, sum_sin = 0;
      Index count = 0;
      for (Index y = oy * factor; y < std::min(ny, (oy + 1) * factor); ++y)
        for (Index x = ox * factor; x < std::min(nx, (ox + 1) * factor); ++x) {
          const double v = values(y, x);
          if (!std::isfinite(v) || (!valid.empty() && valid(y, x) == 0)) continue;
          sum += cyclic ? std::cos(v) : v;
          if (cyclic) sum_sin += std::sin(v);
          ++count;
        }
      const double mean = count == 0 ? std::numeric_limits<double>::quiet_NaN()
                          : cyclic   ? std::atan2(sum_sin, sum)
                                     : sum / static_cast<double>(count);
      out(oy, ox) = static_cast<float>(mean);
    }
  return out;
}

core::Array<core::cfloat, 2> reduced(core::View<const core::cfloat, 2> values, Index factor) {
  const Index ny = values.extent(0), nx = values.extent(1);
  core::Array<core::cfloat, 2> out({(ny + factor - 1) / factor, (nx + factor - 1) / factor});
  for (Index oy = 0; oy < out.extent(0); ++oy)
    for (Index ox = 0; ox < out.extent(1); ++ox) {
      core::cdouble sum{};
      Index count = 0;
      for (Index y = oy * factor; y < std::min(ny, (oy + 1) * factor); ++y)
        for (Index x = ox * factor; x < std::min(nx, (ox + 1) * factor); ++x, ++count)
          sum += core::cdouble(values(y, x));
      out(oy, ox) = core::cfloat(sum / static_cast<double>(count));
    }
  return out;
}

core::Array<float, 2> amplitude(core::View<const core::cfloat, 2> values) {
  core::Array<float, 2> out({values.extent(0), values.extent(1)});
  for (Index y = 0; y < out.extent(0); ++y)
    for (Index x = 0; x < out.extent(1); ++x) out(y, x) = std::abs(values(y, x));
  return out;
}

core::Array<float, 2> phase(core::View<const core::cfloat, 2> values, double reference_rad) {
  core::Array<float, 2> out({values.extent(0), values.extent(1)});
  const core::cdouble turn = std::polar(1.0, -reference_rad);
  for (Index y = 0; y < out.extent(0); ++y)
    for (Index x = 0; x < out.extent(1); ++x)
      out(y, x) = static_cast<float>(std::arg(core::cdouble(values(y, x)) * turn));
  return out;
}

double mean_phase(core::View<const core::cfloat, 2> values, ValidMask valid) {
  check_shape(values, valid);
  core::cdouble sum{};
  for (Index y = 0; y < values.extent(0); ++y)
    for (Index x = 0; x < values.extent(1); ++x) {
      const core::cdouble v(values(y, x));
      if ((valid.empty() || valid(y, x) != 0) && std::isfinite(v.real() + v.imag())) sum += v;
    }
  return std::arg(sum);
}

Window bounding_window(ValidMask valid, Index margin) {
  const Index ny = valid.extent(0), nx = valid.extent(1);
  Index y0 = ny, y1 = -1, x0 = nx, x1 = -1;
  for (Index y = 0; y < ny; ++y)
    for (Index x = 0; x < nx; ++x)
      if (valid(y, x) != 0) {
        y0 = std::min(y0, y), y1 = std::max(y1, y);
        x0 = std::min(x0, x), x1 = std::max(x1, x);
      }
  if (y1 < 0) return {0, 0, ny, nx};
  y0 = std::max<Index>(0, y0 - margin), x0 = std::max<Index>(0, x0 - margin);
  y1 = std::min(ny - 1, y1 + margin), x1 = std::min(nx - 1, x1 + margin);
  return {y0, x0, y1 - y0 + 1, x1 - x0 + 1};
}

}  // namespace farfield::plot
