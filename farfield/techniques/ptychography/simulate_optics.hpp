#pragma once
// The forward model in its plain form: what the detector would count without noise. It follows the definition
// term by term and serves as an oracle; the reconstruction has kernels of its own.
//
//   psi_m(r) = P_m(r - f) O(r + s),   s = floor(position), f = position - s
//   far field:  I = sum_m |F psi_m|^2 / (ny nx), zero frequency at (ny/2, nx/2)
//   near field: I = sum_m |F^-1 H F psi_m|^2, H(q) = exp(2 pi i z sqrt(1/lambda^2 - q^2))
//
// The shift by f is exact for the band-limited probe (a linear phase over its spectrum). Both keep sum I = sum |psi|^2.

#include <optional>

#include "farfield/core/any_array.hpp"
#include "farfield/math/fft.hpp"

namespace farfield::techniques::ptychography {

/// Free space between sample and detector; pixel sizes in the sample plane, which are those of the detector.
struct FreeSpace {
  double wavelength_m, distance_m, pixel_size_y_m, pixel_size_x_m;
};

class SimulatedOptics {
public:
  /// object(y, x); probe(mode, y, x) in its mean state. Without `near_field` the detector is in the far field.
  SimulatedOptics(core::View<const core::cfloat, 2> object, core::View<const core::cfloat, 3> probe,
                  const std::optional<FreeSpace>& near_field = std::nullopt);

  /// Eigen-probe (y, x) of the first mode: a frame of weight w sees P_0 + w E.
  void set_eigen_probe(core::View<const core::cfloat, 2> eigen_probe);

  struct Workspace {
    core::Array<core::cfloat, 2> wave;
    core::Array<float, 2> intensity;
  };
  Workspace workspace() const;

  /// Fills work.intensity(y, x) for the window whose corner is at (y, x) pixels of the object. Thread-safe with
  /// one workspace per thread. Throws `invalid_argument` when the window leaves the object.
  void pattern(double y, double x, double weight, Workspace& work) const;

  core::Index ny() const { return fft_.ny(); }
  core::Index nx() const { return fft_.nx(); }

private:
  core::Array<core::cfloat, 2> spectrum_of(core::View<const core::cfloat, 2> field) const;

  core::View<const core::cfloat, 2> object_;
  math::Fft2<float> fft_;
  core::Array<core::cfloat, 3> spectra_;  ///< of the modes, over ny nx
  core::Array<core::cfloat, 2> eigen_spectrum_;
  core::Array<core::cfloat, 2> propagator_;  ///< empty: far field
};

}  // namespace farfield::techniques::ptychography
