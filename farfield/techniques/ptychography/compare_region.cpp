#include "farfield/techniques/ptychography/compare_region.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "farfield/math/complex.hpp"
#include "farfield/techniques/ptychography/zone_plate.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::Array;
using core::cfloat;
using core::Error;
using core::ErrorCode;
using core::Index;

std::string name_of(const model::Product& p) {
  return p.verb.empty() ? "a file that holds no result" : "the result of " + p.technique + " " + p.verb;
}

struct Spot {
  double y = 0, x = 0, diameter = 0;
};

/// Centre of mass and effective diameter of the probe in its window.
Spot spot_of(const Array<cfloat, 3>& probe) {
  Spot s;
  double sum = 0;
  for (Index m = 0; m < probe.extent(0); ++m)
    for (Index y = 0; y < probe.extent(1); ++y)
      for (Index x = 0; x < probe.extent(2); ++x) {
        const double w = static_cast<double>(math::abs2(probe(m, y, x)));
        sum += w;
        s.y += w * static_cast<double>(y);
        s.x += w * static_cast<double>(x);
      }
  if (!(sum > 0)) return {};
  return {s.y / sum, s.x / sum, effective_diameter_px(probe.view())};
}

}  // namespace

Region intersection(const Region& a, const Region& b) {
  const Index y = std::max(a.y, b.y), x = std::max(a.x, b.x);
  return {y, x, std::max<Index>(0, std::min(a.y + a.ny, b.y + b.ny) - y),
          std::max<Index>(0, std::min(a.x + a.nx, b.x + b.nx) - x)};
}

Region largest_rectangle(core::View<const std::uint8_t, 2> mask) {
  // Row by row: heights of the columns that end here, and for each the widest stretch at least as high (a stack
  // of rising heights).
  const Index ny = mask.extent(0), nx = mask.extent(1);
  std::vector<Index> height(static_cast<std::size_t>(nx) + 1, 0), stack;
  Region best;
  for (Index y = 0; y < ny; ++y) {
    stack.clear();
    for (Index x = 0; x <= nx; ++x) {
      if (x < nx) {
        auto& h = height[static_cast<std::size_t>(x)];
        h = mask(y, x) != 0 ? h + 1 : 0;
      }
      while (!stack.empty() && height[static_cast<std::size_t>(stack.back())] >= height[static_cast<std::size_t>(x)]) {
        const Index h = height[static_cast<std::size_t>(stack.back())];
        stack.pop_back();
        const Index left = stack.empty() ? 0 : stack.back() + 1;
        if (h * (x - left) > best.area()) best = {y + 1 - h, left, h, x - left};
      }
      stack.push_back(x);
    }
  }
  return best;
}

Array<cfloat, 2> object_of(const model::Product& product) {
  const auto* object = product.find("object");
  if (object == nullptr || object->data.rank() != 2 ||
      (object->data.dtype() != core::DType::c64 && object->data.dtype() != core::DType::c128))
    throw Error(ErrorCode::invalid_argument, "there is no complex dataset object (y, x) to compare")
        .at(name_of(product));
  auto out = object->data.to<cfloat, 2>();
  for (const cfloat v : out)
    if (!std::isfinite(v.real()) || !std::isfinite(v.imag()))
      throw Error(ErrorCode::corrupt_data, "the object holds values that are not finite").at(name_of(product));
  return out;
}

std::optional<Array<double, 2>> positions_px(const model::Product& product) {
  const auto* positions = product.find("positions");
  if (positions == nullptr || positions->data.rank() != 2 || positions->data.shape()[1] != 2 ||
      positions->data.shape()[0] < 1)
    return std::nullopt;
  double unit_y = 1, unit_x = 1;
  if (positions->unit == "m") {
    if (!product.pixel_size_y_m || !product.pixel_size_x_m) return std::nullopt;
    unit_y = *product.pixel_size_y_m;
    unit_x = *product.pixel_size_x_m;
  }
  auto out = positions->data.to<double, 2>();
  for (Index j = 0; j < out.extent(0); ++j) {
    out(j, 0) /= unit_y;
    out(j, 1) /= unit_x;
    if (!std::isfinite(out(j, 0)) || !std::isfinite(out(j, 1))) return std::nullopt;
  }
  return out;
}

Region illuminated_region(const model::Product& product) {
  const auto* object = product.find("object");
  if (object == nullptr || object->data.rank() != 2) object_of(product);
  const Index ny = object->data.shape()[0], nx = object->data.shape()[1];
  const Region whole{0, 0, ny, nx};
  const auto at = positions_px(product);
  const auto* probe = product.find("probe");
  if (!at || probe == nullptr || probe->data.rank() != 3) return whole;
  const Spot spot = spot_of(probe->data.to<cfloat, 3>());
  // Larger squares first, which close the gaps between positions that half a scan has; what they add at the border
  // is taken off again.
  const double inscribed = std::max(1.0, spot.diameter / (2 * std::sqrt(2.0))),
               half = std::max(1.0, 0.75 * spot.diameter);
  const auto surplus = static_cast<Index>(std::lround(half - inscribed));

  // Each square adds its four corners; sums along y and x then count the squares over a pixel.
  Array<std::int32_t, 2> count({ny + 1, nx + 1});
  for (Index j = 0; j < at->extent(0); ++j) {
    const double cy = (*at)(j, 0) + spot.y, cx = (*at)(j, 1) + spot.x;
    const auto edge = [](double v, Index n) {
      return static_cast<Index>(std::clamp(std::round(v), 0.0, static_cast<double>(n)));
    };
    const Index y0 = edge(cy - half, ny), y1 = edge(cy + half, ny), x0 = edge(cx - half, nx), x1 = edge(cx + half, nx);
    ++count(y0, x0);
    --count(y1, x0);
    --count(y0, x1);
    ++count(y1, x1);
  }
  Array<std::uint8_t, 2> lit({ny, nx});
  for (Index y = 0; y < ny; ++y) {
    std::int32_t sum = 0;
    for (Index x = 0; x < nx; ++x) {
      if (y > 0) count(y, x) += count(y - 1, x);
      sum += count(y, x);
      lit(y, x) = sum > 0;
    }
  }
  const Region region = largest_rectangle(lit.view());
  if (region.ny <= 2 * surplus || region.nx <= 2 * surplus) return whole;
  return {region.y + surplus, region.x + surplus, region.ny - 2 * surplus, region.nx - 2 * surplus};
}

}  // namespace farfield::techniques::ptychography
