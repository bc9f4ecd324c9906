#pragma once
// One detector image with its id, and the place frames come from.

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "farfield/core/any_array.hpp"

namespace farfield::model {

/// Number of a frame within its scan, from 0, as the detector or file counts.
using FrameId = std::int64_t;

/// Numbers that belong to one frame besides its pixels: positions, angles, monitors. Names carry units:
/// "y_m", "x_m" or "y_px", "x_px" (position of the sample or window), "monitor", "angle_rad", "time_s".
using Values = std::map<std::string, double>;

/// A frame lent for the duration of a call.
struct FrameView {
  FrameId id = 0;
  core::AnyImage image;
};

}  // namespace farfield::model
