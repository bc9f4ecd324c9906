#pragma once
// Two objects side by side: the verb `compare`. The first product is the reference; either may be a truth.

#include "farfield/core/options.hpp"
#include "farfield/model/product.hpp"
#include "farfield/technique/technique.hpp"

namespace farfield::techniques::ptychography {

/// Which symmetries of an intensity measurement to try on the second object.
enum class Orientations {
  same,  ///< none
  twin,  ///< also the twin: complex conjugate, turned by 180 degrees
  all,   ///< also flips and transposes, each with and without conjugation
};
enum class FrcImage { complex, phase };

struct CompareOptions {
  Orientations orientations = Orientations::same;
  FrcImage frc_image = FrcImage::complex;
  core::Index crop_px = 0;  ///< > 0: left out at every side of both arrays; 0: the region that the scan illuminates
};

const core::BoundSchema<CompareOptions>& compare_schema();

/// Datasets over the common region: "object_a", "object_b" (aligned) and "difference" = b - a, c64 (y, x); curves over
/// rings: "frequency" (cycles per px), "frc", "half_bit", "one_bit".
///
/// Metrics: nrmse, ssim_phase, correlation; shift_y_px, shift_x_px, ramp_y_rad_per_px, ramp_x_rad_per_px,
/// scale_amplitude, scale_phase_rad, conjugated, flipped_y, flipped_x, transposed (0 or 1), region_y, region_x,
/// region_ny, region_nx. Half-period resolutions where the curve falls below a threshold:
/// resolution_half_bit_px, resolution_one_bit_px and, with known pixel size, ..._nm. A curve that never falls below has
/// the resolution of one pixel and half_bit_reached_nyquist (one_bit_...) = 1; one that starts below has none.
///
/// Throws `invalid_argument` for products without object, with different pixel sizes, or with too little in common.
model::Product compare(const model::Product& a, const model::Product& b, const CompareOptions& options);

technique::Verb compare_verb();

}  // namespace farfield::techniques::ptychography
