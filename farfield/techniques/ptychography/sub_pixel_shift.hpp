#pragma once
// Moving the probe by a fraction of a pixel.

#include "farfield/techniques/ptychography/kernels.hpp"

namespace farfield::techniques::ptychography {

/// Taps that delay a signal by 0 <= fy, fx < 1 pixel: of all filters with kTaps taps, the one with the
/// least mean-square error over spatial frequencies up to kShiftBand of the Nyquist frequency
/// (Laakso et al. 1996, doi:10.1109/79.482137, general least squares). A probe lives there: its spectrum
/// is the lens's aperture, which the detector must oversample for ptychography to work.
SubPixelShift sub_pixel_shift(double fy, double fx);

inline constexpr double kShiftBand = 0.6;

}  // namespace farfield::techniques::ptychography
