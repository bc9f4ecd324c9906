#pragma once
// Illuminations: the focus of a Fresnel zone plate (Paganin 2006, Coherent X-Ray Optics; the pupil is an annulus,
// the defocus a parabolic phase over it), a Gaussian spot, a disc, a diffuser. All are (y, x), centred on pixel
// (ny/2, nx/2), band-limited below the Nyquist frequency and scaled to sum |P|^2 = 1.

#include "farfield/core/any_array.hpp"

namespace farfield::techniques::ptychography {

struct ZonePlate {
  double outer_zone_width_m = 70e-9;
  double diameter_m = 180e-6;
  double central_stop_m = 60e-6;  ///< diameter; 0: none
  double defocus_m = 0;           ///< sample behind the focus (> 0) or before it

  /// Numerical aperture of the first order, lambda / (2 outer zone width).
  double numerical_aperture(double wavelength_m) const { return wavelength_m / (2 * outer_zone_width_m); }
  double focal_length_m(double wavelength_m) const { return diameter_m * outer_zone_width_m / wavelength_m; }
};

/// The field of the zone plate's first order in the sample plane. Pixel sizes in metres in that plane.
/// Throws `invalid_argument` when a size is not > 0, the stop covers the plate, the aperture is not sampled
/// (2 NA / lambda beyond 1 / pixel size) or the cone at this defocus is wider than the window.
core::Array<core::cfloat, 2> zone_plate_probe(const ZonePlate& plate, double wavelength_m, double pixel_size_y_m,
                                              double pixel_size_x_m, core::Index ny, core::Index nx);

/// A Gaussian beam in its waist; full width at half maximum of the intensity in pixels, at least 2.
core::Array<core::cfloat, 2> gaussian_probe(double fwhm_px, core::Index ny, core::Index nx);

/// A uniform disc (pinhole) with a soft edge; diameter in pixels, at least 4.
core::Array<core::cfloat, 2> disc_probe(double diameter_px, core::Index ny, core::Index nx);

/// A disc behind a diffuser: random phase (RMS in rad), correlated over a few pixels. For near-field scans,
/// which need structure in the illumination.
core::Array<core::cfloat, 2> diffuser_probe(double diameter_px, double phase_rms_rad, core::Index ny, core::Index nx,
                                            std::uint64_t seed);

/// Multiplies by a real factor such that sum |P|^2 = `power`. Throws `invalid_argument` for a zero probe.
void normalise(core::View<core::cfloat, 2> probe, double power);

/// Diameter in pixels of the uniform disc whose second moment equals that of |P|^2 summed over the modes:
/// 2 sqrt(2) times the RMS distance from the centre of mass. probe(mode, y, x).
double effective_diameter_px(core::View<const core::cfloat, 3> probe);

}  // namespace farfield::techniques::ptychography
