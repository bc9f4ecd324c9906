#pragma once
// Corrections that belong to the detector, not to a technique: dark and flat field, crop, binning.
// Corrected counts = (raw - dark) / flat, then summed over bins.

#include <optional>
#include <vector>

#include "farfield/model/acquisition.hpp"
#include "farfield/model/frame.hpp"

namespace farfield::pipeline {

using core::Index;

/// A window of the detector in its pixels: first corner and size.
struct Crop {
  Index y = 0, x = 0, ny = 0, nx = 0;
};

struct CorrectionOptions {
  std::optional<Crop> crop{};
  Index bin = 1;  ///< sum bin x bin pixels; a bin with a masked pixel is masked
  bool dark = true,
       flat = true;  ///< use acquisition.inputs "dark" and "flat" (y, x) where there are any; else keep them
  /// Sparse frames stay sparse where nothing but a crop is asked for. Otherwise all frames become dense.
  bool sparse = false;
};

/// Plans the corrections of one scan. Without any, frames pass in the type they are stored in; cropping keeps
/// the type; everything else gives float (f32).
///
/// Mask: pixels whose flat is not finite and > 0, or whose dark is not finite, are marked dead.
/// Saturation: a pixel at or above the detector's saturation gives the corrected saturation value, which no
/// sum of unsaturated pixels reaches, so a technique still recognises it.
class Corrector {
public:
  /// Throws `invalid_argument` for a crop outside the detector or a bin that does not divide it,
  /// `corrupt_data` for dark or flat of another shape or type, `unsupported` for crop or bin of patterns whose zero
  /// frequency lies in the corner, or whose positions are in pixels (their meaning would change).
  Corrector(const model::Acquisition& raw, const CorrectionOptions& options);

  /// The scan as it is after the corrections; "dark" and "flat", where used, are used up.
  const model::Acquisition& acquisition() const { return corrected_; }
  /// Of one corrected frame, rows without gaps.
  Index frame_bytes() const;
  /// Writes the corrected frame to `out` (frame_bytes() long, aligned for its type). Throws `corrupt_data` for a
  /// frame of another shape or type than the scan says. Thread-safe.
  core::AnyImage apply(const core::AnyImage& raw, std::byte* out) const;

  /// Whether apply() would only copy this frame: what is kept alive may be handed on as it is.
  bool passes(const model::FrameView& frame) const;
  /// Whether a frame comes out sparse.
  bool keeps_sparse(const model::FrameView& frame) const { return sparse_ && !arithmetic_ && frame.is_sparse(); }
  /// Of a frame as it comes out: frame_bytes(), or 8 for each event.
  Index bytes_of(const model::FrameView& frame) const;
  /// apply() to a frame of either kind, into `out` (bytes_of() long). `scratch` holds what becomes dense on the way.
  /// Throws `corrupt_data` too for an event outside the frame and for a count that the type of the frames cannot hold.
  model::FrameView apply(const model::FrameView& raw, std::byte* out, std::vector<std::byte>& scratch) const;

private:
  Index ny_ = 0, nx_ = 0;  // of the raw frames
  core::DType raw_type_;
  Crop crop_;
  Index bin_ = 1;
  bool arithmetic_ = false;  // anything but a copy of the window
  bool sparse_ = false;
  std::optional<double> saturation_;
  core::Array<float, 2> dark_, gain_;  // of the window; gain = 1 / flat
  model::Acquisition corrected_;
};

}  // namespace farfield::pipeline
