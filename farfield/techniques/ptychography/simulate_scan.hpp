#pragma once
// Scan paths. Positions are (y, x) in pixels: the corner of the window on the object.

#include <vector>

#include "farfield/core/view.hpp"
#include "farfield/techniques/ptychography/simulate_options.hpp"

namespace farfield::techniques::ptychography {

struct Position {
  double y = 0, x = 0;
};

/// `patterns` points along the path of the options, in the order of measuring, smallest y and x near 0.
std::vector<Position> scan_path(const SimulateOptions& options, std::uint64_t seed);

/// What the scan came to.
struct SimulatedScan {
  std::vector<Position> truth;     ///< where the window was
  std::vector<Position> recorded;  ///< what the file says: without the drift, with the position error
  core::Index object_ny = 0, object_nx = 0;  ///< object that holds every window, with a margin of 2 px
};

/// Throws `invalid_argument` when options.object_size_px is too small for the scan or the object would be too
/// large (beyond 32768 px).
SimulatedScan plan_scan(const SimulateOptions& options, std::uint64_t seed);

}  // namespace farfield::techniques::ptychography
