#pragma once
// How equal two objects are once everything that ptychography cannot tell apart is taken away: a shift (with the
// probe shifted alike), a linear phase ramp (with the opposite one in the probe) and a complex factor.

#include <complex>

#include "farfield/core/any_array.hpp"
#include "farfield/techniques/ptychography/compare_region.hpp"

namespace farfield::techniques::ptychography {

/// b(r + shift) ~ a(r) exp(i ramp.r) / scale: what was found between two objects.
struct Alignment {
  double shift_y = 0, shift_x = 0;  ///< px, of b in its array against a in its
  double ramp_y = 0, ramp_x = 0;    ///< rad per px, of b against a
  std::complex<double> scale = 1;   ///< b was multiplied by it
  double correlation = 0;           ///< at the peak of the registration, 0 to 1
  Region region;                    ///< common region, in pixels of a
};

struct AlignedObjects {
  core::Array<core::cfloat, 2> a, b;  ///< the common region; b after shift, ramp and factor
  Alignment alignment;
};

/// Aligns b to a. `region_a`, `region_b`: what is well determined of each; `guess_y`, `guess_x`: first guess of the
/// shift; each round registers what the one before left over, until that is below 0.002 px. Throws `invalid_argument`
/// when less than 16 x 16 pixels are common.
AlignedObjects align(core::View<const core::cfloat, 2> a, const Region& region_a, core::View<const core::cfloat, 2> b,
                     const Region& region_b, double guess_y = 0, double guess_x = 0, int rounds = 8);

/// ||a - b|| / ||a||
double nrmse(core::View<const core::cfloat, 2> a, core::View<const core::cfloat, 2> b);

/// Mean structural similarity of the phases (Wang et al. 2004, doi:10.1109/TIP.2003.819861): Gaussian window of
/// 1.5 px, 11 x 11; both phases counted from the mean phase of a; dynamic range that of a.
double ssim_of_phase(core::View<const core::cfloat, 2> a, core::View<const core::cfloat, 2> b);

/// NRMSE of `b` against `a` after align(), over the middle of the arrays with `margin` pixels left out on each side.
double object_error(core::View<const core::cfloat, 2> a, core::View<const core::cfloat, 2> b, core::Index margin);

}  // namespace farfield::techniques::ptychography
