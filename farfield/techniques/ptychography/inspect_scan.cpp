#include "farfield/techniques/ptychography/inspect_scan.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>

namespace farfield::techniques::ptychography {

using core::Index;

std::vector<double> nearest_neighbours(const std::vector<Position>& points) {
  // In the order of y a search may stop once y alone is farther than the best.
  std::vector<std::size_t> order(points.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return points[a].y < points[b].y; });
  std::vector<double> nearest(points.size(), std::numeric_limits<double>::infinity());
  for (std::size_t i = 0; i < order.size(); ++i) {
    const Position& own = points[order[i]];
    double& best = nearest[order[i]];
    const auto look = [&](std::size_t k) {
      const Position& other = points[order[k]];
      if (std::abs(other.y - own.y) > best) return false;
      best = std::min(best, std::hypot(other.y - own.y, other.x - own.x));
      return true;
    };
    for (std::size_t k = i + 1; k < order.size() && look(k); ++k) {}
    for (std::size_t k = i; k > 0 && look(k - 1); --k) {}
  }
  return nearest;
}

Overlap disc_overlap(double step, double diameter) {
  const double t = step / diameter, inside = std::clamp(t, 0.0, 1.0);
  return {1 - t, 2 / std::numbers::pi * (std::acos(inside) - inside * std::sqrt(1 - inside * inside))};
}

PixelSize object_pixel_size(const model::Acquisition& a, Propagation propagation) {
  const auto& d = a.detector;
  if (propagation != Propagation::far_field) return {d.pixel_size_y_m, d.pixel_size_x_m};
  const auto wavelength = a.beam.wavelength_m();
  if (!wavelength || !d.distance_m || !d.pixel_size_y_m || !d.pixel_size_x_m) return {};
  return {*wavelength * *d.distance_m / (static_cast<double>(d.ny) * *d.pixel_size_y_m),
          *wavelength * *d.distance_m / (static_cast<double>(d.nx) * *d.pixel_size_x_m)};
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return 0.5 * (*middle + *std::max_element(values.begin(), middle));
}

}  // namespace farfield::techniques::ptychography
