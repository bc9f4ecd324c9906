#pragma once
// Corrections that belong to the detector, not to a technique: gain, count rate, dark and flat field, crop, binning.
// Corrected counts = (c(raw) - dark) / flat, then summed over bins, where c turns the words of a detector that switches
// its gain to energy (gain.hpp), or the counts of one that misses photons at high rates to those that came.

#include <optional>
#include <vector>

#include "farfield/model/acquisition.hpp"
#include "farfield/model/frame.hpp"
#include "farfield/pipeline/gain.hpp"

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
  /// Use "countrate" (i, 2) where there is one: pairs of measured and true counts, both growing, linear in between.
  bool countrate = true;
  /// Use "gain_pedestal" and "gain_factor" (3, y, x) where there are any.
  bool gain = true;
  /// Sparse frames stay sparse where nothing but a crop is asked for. Otherwise all frames become dense.
  bool sparse = false;
};

/// Plans the corrections of one scan. Without any, frames pass in the type they are stored in; cropping keeps
/// the type; everything else gives float (f32).
///
/// Mask: pixels whose flat is not finite and > 0, whose dark is not finite, or that have no constants in any gain, are
/// marked dead.
/// Saturation: a pixel at or above the detector's saturation, beyond its count-rate table, at the end of its last gain
/// or in a gain without constants gives the corrected saturation value, which no sum of unsaturated pixels reaches, so
/// a technique still recognises it.
class Corrector {
public:
  /// Throws `invalid_argument` for a crop outside the detector or a bin that does not divide it,
  /// `corrupt_data` for dark, flat, gain or count-rate table of another shape or type or that do not grow,
  /// `unsupported` for crop or bin of patterns whose zero frequency lies in the corner, or whose positions are in
  /// pixels (their meaning would change), and for gains of other than 16-bit words.
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
  void use_countrate(const core::AnyArray& table);
  /// The largest energy that each pixel of the window can have.
  core::Array<float, 2> use_gain(const model::Acquisition& raw, core::View<std::uint32_t, 2> mask);
  float true_counts(float measured) const;

  Index ny_ = 0, nx_ = 0;  // of the raw frames
  core::DType raw_type_;
  Crop crop_;
  Index bin_ = 1;
  bool arithmetic_ = false;  // anything but a copy of the window
  bool sparse_ = false;
  std::optional<double> saturation_;
  core::Array<float, 2> dark_, gain_;  // of the window; gain = 1 / flat
  core::Array<float, 2> countrate_;  // pairs, growing
  std::optional<GainCorrection> switching_;  // of the window
  model::Acquisition corrected_;
};

}  // namespace farfield::pipeline
