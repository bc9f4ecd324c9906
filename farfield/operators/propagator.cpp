#include "farfield/operators/propagator.hpp"

#include <cmath>
#include <string>

#include "farfield/core/error.hpp"
#include "farfield/math/complex.hpp"

namespace farfield::operators {

using core::Index;

Propagator Propagator::far_field(Index ny, Index nx, math::FftEffort effort) {
  Propagator p;
  p.fft_ = math::Fft2<float>(ny, nx, effort);
  p.intensity_scale_ = p.adjoint_scale_ = 1.0F / static_cast<float>(ny * nx);
  return p;
}

Propagator Propagator::near_field(Index ny, Index nx, const NearField& g, math::FftEffort effort) {
  for (const double v : {g.wavelength_m, g.pixel_size_y_m, g.pixel_size_x_m})
    if (!(std::isfinite(v) && v > 0))
      throw core::Error(core::ErrorCode::invalid_argument,
                        "near-field propagation needs wavelength and pixel sizes > 0 m, got " + std::to_string(v));
  if (!std::isfinite(g.distance_m))
    throw core::Error(core::ErrorCode::invalid_argument, "near-field distance must be finite");
  Propagator p;
  p.fft_ = math::Fft2<float>(ny, nx, effort);
  p.transfer_ = core::Array<std::complex<float>, 2>({ny, nx});
  const double k = 1 / g.wavelength_m;
  for (Index y = 0; y < ny; ++y)
    for (Index x = 0; x < nx; ++x) {
      const double qy =
          static_cast<double>(y < (ny + 1) / 2 ? y : y - ny) / (static_cast<double>(ny) * g.pixel_size_y_m);
      const double qx =
          static_cast<double>(x < (nx + 1) / 2 ? x : x - nx) / (static_cast<double>(nx) * g.pixel_size_x_m);
      const double q2 = qy * qy + qx * qx;
      // The constant phase exp(2 pi i z / lambda) is left out: it is not observable and costs digits.
      if (g.paraxial) {
        p.transfer_(y, x) = std::complex<float>(std::polar(1.0, -M_PI * g.wavelength_m * g.distance_m * q2));
      } else if (q2 < k * k) {
        const double phase = -2 * M_PI * g.distance_m * q2 / (k + std::sqrt(k * k - q2));  // z (sqrt(k^2-q^2) - k)
        p.transfer_(y, x) = std::complex<float>(std::polar(1.0, phase));
      }
    }
  const float n = static_cast<float>(ny * nx);
  p.intensity_scale_ = p.adjoint_scale_ = 1.0F / (n * n);
  return p;
}

void Propagator::forward(std::complex<float>* tile) const {
  fft_.forward(tile);
  if (transfer_.empty()) return;
  for (Index i = 0, n = transfer_.size(); i < n; ++i) tile[i] = math::cmul(transfer_.data()[i], tile[i]);
  fft_.inverse(tile);
}

void Propagator::adjoint(std::complex<float>* tile) const {
  if (transfer_.empty()) {
    fft_.inverse(tile);
    return;
  }
  fft_.forward(tile);
  for (Index i = 0, n = transfer_.size(); i < n; ++i) tile[i] = math::conj_mul(transfer_.data()[i], tile[i]);
  fft_.inverse(tile);
}

}  // namespace farfield::operators
