#include "farfield/techniques/ptychography/simulate_probe.hpp"

#include <algorithm>
#include <cmath>

#include "farfield/math/complex.hpp"
#include "farfield/math/fft.hpp"
#include "farfield/model/acquisition.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::Array;
using core::cdouble;
using core::cfloat;
using core::Index;
using core::View;

double frequency(Index k, Index n) { return static_cast<double>(k < (n + 1) / 2 ? k : k - n) / static_cast<double>(n); }

/// The field with its spectrum multiplied by filter(fy, fx), frequencies in cycles per pixel.
template <class F>
Array<cfloat, 2> filtered(View<const cfloat, 2> field, F&& filter) {
  const Index ny = field.extent(0), nx = field.extent(1);
  Array<cdouble, 2> work({ny, nx});
  for (Index y = 0; y < ny; ++y)
    for (Index x = 0; x < nx; ++x) work(y, x) = cdouble(field(y, x));
  const math::Fft2<double> fft(ny, nx, math::FftEffort::estimate);
  fft.forward(work.data());
  for (Index v = 0; v < ny; ++v)
    for (Index u = 0; u < nx; ++u)
      work(v, u) *= cdouble(filter(frequency(v, ny), frequency(u, nx))) / static_cast<double>(ny * nx);
  fft.inverse(work.data());
  Array<cfloat, 2> out({ny, nx});
  std::transform(work.begin(), work.end(), out.begin(), [](cdouble v) { return cfloat(v); });
  return out;
}

cdouble inner(View<const cfloat, 2> a, View<const cfloat, 2> b) {
  cdouble sum = 0;
  for (Index i = 0; i < a.size(); ++i) sum += math::conj_mul(cdouble(a.data()[i]), cdouble(b.data()[i]));
  return sum;
}

/// Takes from `field` its part along `direction`.
void project_out(View<cfloat, 2> field, View<const cfloat, 2> direction) {
  const cdouble part = inner(direction, field) / inner(direction, direction).real();
  for (Index i = 0; i < field.size(); ++i) field.data()[i] -= cfloat(part * cdouble(direction.data()[i]));
}

/// RMS frequency along one axis, in cycles per pixel.
double rms_frequency(View<const cfloat, 2> field) {
  const Index ny = field.extent(0), nx = field.extent(1);
  Array<cfloat, 2> spectrum({ny, nx});
  std::copy(field.begin(), field.end(), spectrum.begin());
  math::Fft2<float>(ny, nx, math::FftEffort::estimate).forward(spectrum.data());
  double sum = 0, second = 0;
  for (Index v = 0; v < ny; ++v)
    for (Index u = 0; u < nx; ++u) {
      const double w = math::abs2(cdouble(spectrum(v, u))), fy = frequency(v, ny), fx = frequency(u, nx);
      sum += w;
      second += w * (fy * fy + fx * fx) / 2;
    }
  return std::sqrt(second / sum);
}

/// Hermite polynomials (of the probabilists) up to order 3: enough for 10 modes.
double hermite(int order, double t) {
  switch (order) {
    case 0: return 1;
    case 1: return t;
    case 2: return t * t - 1;
    default: return t * t * t - 3 * t;
  }
}

Array<cfloat, 2> first_mode(const SimulateOptions& o, double wavelength_m, double pixel_size_m, std::uint64_t seed) {
  switch (o.probe) {
    case ProbeShape::zone_plate:
      return zone_plate_probe({o.outer_zone_width_m, o.zone_plate_diameter_m, o.central_stop_m, o.defocus_m},
                              wavelength_m, pixel_size_m, pixel_size_m, o.shape, o.shape);
    case ProbeShape::gaussian: return gaussian_probe(o.probe_size_px, o.shape, o.shape);
    case ProbeShape::disc: return disc_probe(o.probe_size_px, o.shape, o.shape);
    case ProbeShape::diffuser: return diffuser_probe(o.probe_size_px, o.diffuser_phase_rad, o.shape, o.shape, seed);
  }
  throw core::Error(core::ErrorCode::internal, "unknown probe");
}

}  // namespace

Array<cfloat, 3> simulated_probe(const SimulateOptions& o, double wavelength_m, double pixel_size_m,
                                 std::uint64_t seed) {
  const auto first = first_mode(o, wavelength_m, pixel_size_m, seed);
  const double unit = rms_frequency(first);  // of the polynomials

  Array<cfloat, 3> probe({o.modes, o.shape, o.shape});
  Index mode = 0;
  for (int order = 0; mode < o.modes; ++order)
    for (int order_y = 0; order_y <= order && mode < o.modes; ++order_y, ++mode) {
      auto field = filtered(first, [&](double fy, double fx) {
        return hermite(order_y, fy / unit) * hermite(order - order_y, fx / unit);
      });
      for (Index lower = 0; lower < mode; ++lower) project_out(field, probe[lower]);
      normalise(field, o.photons * o.mode_powers[static_cast<std::size_t>(mode)]);
      std::copy(field.begin(), field.end(), probe[mode].begin());
    }
  return probe;
}

Array<cfloat, 2> simulated_eigen_probe(View<const cfloat, 3> probe) {
  const auto first = probe[0];
  // i (fy + fx / 2) turns a shift of the beam into a field; the quadratic part is a change of focus.
  auto field = filtered(first, [](double fy, double fx) { return cdouble(20 * (fy * fy + fx * fx), fy + 0.5 * fx); });
  project_out(field, first);
  normalise(field, inner(first, first).real());
  return field;
}

Array<cfloat, 3> perturbed_probe(View<const cfloat, 3> probe) {
  // A Gaussian low-pass at 0.9 of the RMS frequency and 4 rad at the window's inscribed circle.
  constexpr double kLowPass = 0.9, kPhase = 4.0;
  Array<cfloat, 3> out(probe.extents());
  const double cut = kLowPass * rms_frequency(probe[0]);
  const double ny = static_cast<double>(probe.extent(1)), nx = static_cast<double>(probe.extent(2));
  for (Index m = 0; m < probe.extent(0); ++m) {
    auto field =
        filtered(probe[m], [&](double fy, double fx) { return std::exp(-(fy * fy + fx * fx) / (2 * cut * cut)); });
    for (Index y = 0; y < field.extent(0); ++y)
      for (Index x = 0; x < field.extent(1); ++x) {
        const double dy = 2 * static_cast<double>(y) / ny - 1, dx = 2 * static_cast<double>(x) / nx - 1;
        field(y, x) *= cfloat(std::polar(1.0, kPhase * (dy * dy + dx * dx)));
      }
    normalise(field, inner(probe[m], probe[m]).real());
    std::copy(field.begin(), field.end(), out[m].begin());
  }
  return out;
}

}  // namespace farfield::techniques::ptychography
