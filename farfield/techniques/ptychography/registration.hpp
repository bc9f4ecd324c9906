#pragma once
// Shifts and phase ramps between images to a small fraction of a pixel: the peak of a cross-correlation, found on
// the pixel grid by FFT and refined by matrix products that sample it finely around there
// (Guizar-Sicairos, Thurman & Fienup 2008, doi:10.1364/OL.33.000156).

#include "farfield/core/any_array.hpp"

namespace farfield::techniques::ptychography {

struct Shift {
  double y = 0, x = 0;
  double height = 0;  ///< normalised correlation at the peak, 0 to 1
};

/// s with moved(r) = reference(r - s), in pixels; any constant factor between the images is ignored. Means are
/// subtracted and edges tapered (Hann). Finds shifts up to half the image; near-exact ones repeat to about 0.001 px.
/// Throws `invalid_argument` unless both have one shape, at least 8 x 8.
Shift find_shift(core::View<const core::cfloat, 2> reference, core::View<const core::cfloat, 2> moved);

/// Phase slope in rad per pixel: image ~ exp(i (y slope.y + x slope.x)) in its strongest frequency. Tapered (Hann).
Shift find_ramp(core::View<const core::cfloat, 2> image);

/// out(r) = image(r - shift), periodic, exact for a band-limited image.
core::Array<core::cfloat, 2> translated(core::View<const core::cfloat, 2> image, double shift_y, double shift_x);

/// Multiplies by exp(-i (y slope_y + x slope_x)), y and x in pixels from the centre.
void remove_ramp(core::View<core::cfloat, 2> image, double slope_y, double slope_x);

/// Hann window of n points, zero just outside both ends.
std::vector<double> hann(core::Index n);

/// A copy that may be strided in its source.
core::Array<core::cfloat, 2> copy_of(core::View<const core::cfloat, 2> image);

}  // namespace farfield::techniques::ptychography
