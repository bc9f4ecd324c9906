#pragma once
// Incoherent probe modes (Thibault, Menzel 2013, doi:10.1038/nature11806). Any unitary mixture of the modes gives
// the same intensities, so that they may be kept orthogonal, strongest first.

#include "farfield/core/any_array.hpp"

namespace farfield::techniques::ptychography {

/// Makes modes[first, end) orthogonal by rotations among them (one-sided Jacobi: Hestenes 1958,
/// doi:10.1137/0106005) and orders them by falling power. Exact in the intensity sum_m |P_m|^2 at each pixel up to
/// rounding. Of the possible rotations the smallest are taken: modes that were nearly orthogonal hardly change, and a
/// zero mode stays zero. modes(mode, y, x).
void orthogonalise(core::View<core::cfloat, 3> modes, core::Index first = 0);

/// Power of each mode as a fraction of all; zeros for a zero probe.
core::Array<double, 1> power_shares(core::View<const core::cfloat, 3> modes);

}  // namespace farfield::techniques::ptychography
