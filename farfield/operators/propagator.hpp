#pragma once
// Propagation of an exit wave from the sample to the detector, in place, on tiles (y, x).

#include <complex>

#include "farfield/core/array.hpp"
#include "farfield/math/fft.hpp"

namespace farfield::operators {

/// A unitary propagation U, computed without its normalisation: forward() gives c U psi and adjoint()
/// gives c' U^H psi, with |U psi|^2 = intensity_scale() |forward(psi)|^2 and
/// U^H U-scaled residuals = adjoint_scale() adjoint(residual of forward(psi)). Folding the two factors
/// into the modulus step saves a pass over memory.
class Propagator {
public:
  /// Far field (Fraunhofer): one transform; zero frequency in the corner.
  static Propagator far_field(core::Index ny, core::Index nx, math::FftEffort effort);

  /// Near field, pixel sizes equal on both planes. Angular spectrum: transfer function
  /// exp(2 pi i z sqrt(1/lambda^2 - q^2)), evanescent waves removed; Fresnel: its paraxial form
  /// exp(-i pi lambda z q^2) (Goodman, Introduction to Fourier Optics, 3.10 and 4.2). Throws
  /// `invalid_argument` unless wavelength and pixel sizes are > 0 and z is finite.
  struct NearField {
    double wavelength_m, distance_m, pixel_size_y_m, pixel_size_x_m;
    bool paraxial = false;
  };
  static Propagator near_field(core::Index ny, core::Index nx, const NearField& geometry, math::FftEffort effort);

  void forward(std::complex<float>* tile) const;
  void adjoint(std::complex<float>* tile) const;
  /// The parts of math::Fft2, in the far field, for the shapes that it has them for.
  bool has_parts(int tiles) const { return transfer_.empty() && fft_.has_parts(tiles); }
  const math::Fft2<float>& transform() const { return fft_; }
  float intensity_scale() const { return intensity_scale_; }
  float adjoint_scale() const { return adjoint_scale_; }
  /// Transforms per forward() or adjoint().
  int transforms() const { return transfer_.empty() ? 1 : 2; }
  bool is_far_field() const { return transfer_.empty(); }

private:
  math::Fft2<float> fft_;
  core::Array<std::complex<float>, 2> transfer_;  ///< (y, x), zero frequency in the corner; empty: far field
  float intensity_scale_ = 1, adjoint_scale_ = 1;
};

}  // namespace farfield::operators
