#pragma once
// One detector image with its id, and the place frames come from.

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "farfield/core/any_array.hpp"
#include "farfield/model/pixel_count.hpp"

namespace farfield::model {

/// Number of a frame within its scan, from 0, as the detector or file counts.
using FrameId = std::int64_t;

/// Numbers that belong to one frame besides its pixels: positions, angles, monitors. Names carry units:
/// "y_m", "x_m" or "y_px", "x_px" (position of the sample or window), "monitor", "angle_rad", "time_s".
using Values = std::map<std::string, double>;

/// The pixels of a frame that counted something; all others are 0. Any order; a pixel that comes more than once holds
/// the sum. Not owning. Whoever makes one has checked that every pixel is < ny * nx.
struct SparseImage {
  core::Index ny = 0, nx = 0;
  std::span<const PixelCount> events;
};

/// A frame lent for the duration of a call: dense, or sparse where `image` has no data.
struct FrameView {
  FrameId id = 0;
  core::AnyImage image;
  SparseImage sparse{};

  bool is_sparse() const { return image.data == nullptr; }
  core::Index ny() const { return is_sparse() ? sparse.ny : image.ny; }
  core::Index nx() const { return is_sparse() ? sparse.nx : image.nx; }
};

}  // namespace farfield::model
