#include "farfield/techniques/ptychography/simulate_scan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "farfield/math/random.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::Index;
using math::Random;
constexpr double kPi = std::numbers::pi;
constexpr double kMargin = 2;
constexpr double kLargestObject = 32768;

struct Box {
  Position low, high;
};

Box bounds(const std::vector<Position>& points) {
  Box b{points.front(), points.front()};
  for (const auto& p : points) {
    b.low = {std::min(b.low.y, p.y), std::min(b.low.x, p.x)};
    b.high = {std::max(b.high.y, p.y), std::max(b.high.x, p.x)};
  }
  return b;
}

}  // namespace

std::vector<Position> scan_path(const SimulateOptions& o, std::uint64_t seed) {
  Random random(seed);
  std::vector<Position> points;
  points.reserve(static_cast<std::size_t>(o.patterns));
  if (o.scan == ScanPath::spiral) {
    // r = step sqrt(k / pi) gives each point an area of step^2; the golden angle spreads them evenly.
    const double golden = kPi * (3 - std::sqrt(5.0));
    for (Index k = 0; k < o.patterns; ++k) {
      const double r = o.step_px * std::sqrt(static_cast<double>(k) / kPi), turn = static_cast<double>(k) * golden;
      points.push_back({r * std::sin(turn), r * std::cos(turn)});
    }
  } else {
    const auto columns = static_cast<Index>(std::ceil(std::sqrt(static_cast<double>(o.patterns))));
    const double jitter = o.scan == ScanPath::jittered_raster ? o.jitter_px : 0;
    for (Index k = 0; k < o.patterns; ++k) {
      const Index row = k / columns, along = k % columns, column = row % 2 == 0 ? along : columns - 1 - along;
      const double dy = random.uniform(-jitter, jitter), dx = random.uniform(-jitter, jitter);
      points.push_back({static_cast<double>(row) * o.step_px + dy, static_cast<double>(column) * o.step_px + dx});
    }
  }
  const Box box = bounds(points);
  for (auto& p : points) p = {p.y - box.low.y, p.x - box.low.x};
  return points;
}

SimulatedScan plan_scan(const SimulateOptions& o, std::uint64_t seed) {
  SimulatedScan scan;
  scan.recorded = scan_path(o, seed);
  scan.truth = scan.recorded;
  Random random(seed, 1);
  const double direction = random.uniform(0, 2 * kPi);
  const auto last = static_cast<double>(std::max<std::size_t>(scan.truth.size() - 1, 1));
  for (std::size_t j = 0; j < scan.truth.size(); ++j) {
    const double drift = o.drift_px * static_cast<double>(j) / last;
    scan.truth[j].y += drift * std::sin(direction);
    scan.truth[j].x += drift * std::cos(direction);
    scan.recorded[j].y += o.position_error_px * random.normal();
    scan.recorded[j].x += o.position_error_px * random.normal();
  }

  const Box box = bounds(scan.truth);
  const double span_y = box.high.y - box.low.y, span_x = box.high.x - box.low.x;
  // One more pixel for the integer part of a position that lies between two.
  const double need_y = std::ceil(span_y) + static_cast<double>(o.shape) + 1 + 2 * kMargin;
  const double need_x = std::ceil(span_x) + static_cast<double>(o.shape) + 1 + 2 * kMargin;
  const double fixed = static_cast<double>(o.object_size_px), ny = fixed > 0 ? fixed : need_y,
               nx = fixed > 0 ? fixed : need_x;
  if (std::max(ny, nx) > kLargestObject)
    throw core::Error(
        core::ErrorCode::invalid_argument,
        fmt::format(
            "the scan needs an object of {} x {} pixels; at most {} are allowed: smaller step or fewer patterns", ny,
            nx, kLargestObject));
  if (ny < need_y || nx < need_x)
    throw core::Error(
        core::ErrorCode::invalid_argument,
        fmt::format("object size {} px must be >= {} px to hold every pattern", fixed, std::max(need_y, need_x)));
  scan.object_ny = static_cast<Index>(ny);
  scan.object_nx = static_cast<Index>(nx);
  // The same offset for both, so that the recorded positions mean the same object.
  const double offset_y = 0.5 * (ny - static_cast<double>(o.shape) - span_y) - box.low.y;
  const double offset_x = 0.5 * (nx - static_cast<double>(o.shape) - span_x) - box.low.x;
  for (auto* list : {&scan.truth, &scan.recorded})
    for (auto& p : *list) p = {p.y + offset_y, p.x + offset_x};
  return scan;
}

}  // namespace farfield::techniques::ptychography
