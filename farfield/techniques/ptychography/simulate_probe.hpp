#pragma once
// The illumination of a simulated scan: modes, eigen-probe and the wrong probe a reconstruction starts from.

#include "farfield/core/any_array.hpp"
#include "farfield/techniques/ptychography/simulate_options.hpp"

namespace farfield::techniques::ptychography {

/// probe(mode, y, x): orthogonal modes, sum over all |P|^2 = photons. Higher modes are the first one under
/// Hermite polynomials of the frequency (derivatives: what an extended source adds), orthogonalised.
core::Array<core::cfloat, 3> simulated_probe(const SimulateOptions& options, double wavelength_m, double pixel_size_m,
                                             std::uint64_t seed);

/// Field E(y, x) orthogonal to the first mode, of its power: the first mode under a tilt of its spectrum.
core::Array<core::cfloat, 2> simulated_eigen_probe(core::View<const core::cfloat, 3> probe);

/// The probe low-passed, with a quadratic phase error, at the same power: a start as bad as a calculated probe.
core::Array<core::cfloat, 3> perturbed_probe(core::View<const core::cfloat, 3> probe);

}  // namespace farfield::techniques::ptychography
