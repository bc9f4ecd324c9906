#include "farfield/techniques/ptychography/zone_plate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "farfield/math/complex.hpp"
#include "farfield/math/fft.hpp"
#include "farfield/techniques/ptychography/phantoms.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::Array;
using core::cdouble;
using core::cfloat;
using core::Index;
constexpr double kPi = std::numbers::pi;

void require(bool ok, const std::string& message) {
  if (!ok) throw core::Error(core::ErrorCode::invalid_argument, message);
}

void require_window(Index ny, Index nx) {
  require(ny >= 8 && nx >= 8, fmt::format("probe of {} x {} pixels must be at least 8 x 8", ny, nx));
}

/// Frequency of FFT bin k in cycles per pixel, -1/2 <= f < 1/2.
double frequency(Index k, Index n) { return static_cast<double>(k < (n + 1) / 2 ? k : k - n) / static_cast<double>(n); }

/// The field whose spectrum is spectrum(fy, fx) (cycles per pixel), centred in the window.
template <class F>
Array<cfloat, 2> from_spectrum(Index ny, Index nx, F&& spectrum) {
  Array<cdouble, 2> field({ny, nx});
  const Index cy = ny / 2, cx = nx / 2;
  for (Index v = 0; v < ny; ++v)
    for (Index u = 0; u < nx; ++u) {
      const double fy = frequency(v, ny), fx = frequency(u, nx);
      // The linear phase moves the focus from the corner to the centre pixel.
      const double to_centre = -2 * kPi * (fy * static_cast<double>(cy) + fx * static_cast<double>(cx));
      field(v, u) = cdouble(spectrum(fy, fx)) * std::polar(1.0, to_centre);
    }
  math::Fft2<double>(ny, nx, math::FftEffort::estimate).inverse(field.data());
  Array<cfloat, 2> probe({ny, nx});
  std::transform(field.begin(), field.end(), probe.begin(), [](cdouble v) { return cfloat(v); });
  normalise(probe, 1);
  return probe;
}

/// A field given in real space as f(dy, dx) pixels from the centre.
template <class F>
Array<cfloat, 2> from_field(Index ny, Index nx, F&& f) {
  Array<cfloat, 2> probe({ny, nx});
  const Index cy = ny / 2, cx = nx / 2;
  for (Index y = 0; y < ny; ++y)
    for (Index x = 0; x < nx; ++x) probe(y, x) = cfloat(f(static_cast<double>(y - cy), static_cast<double>(x - cx)));
  normalise(probe, 1);
  return probe;
}

/// Edge of a disc that falls off over about six pixels: smooth enough to be free of aliases at 1e-4.
double soft_edge(double inside_px) { return 0.5 * (1 + std::erf(inside_px / 2.0)); }

}  // namespace

void normalise(core::View<cfloat, 2> probe, double power) {
  double sum = 0;
  for (const cfloat& v : probe) sum += math::abs2(cdouble(v));
  require(sum > 0 && std::isfinite(sum), "the probe is zero everywhere or not finite");
  const auto factor = static_cast<float>(std::sqrt(power / sum));
  for (cfloat& v : probe) v *= factor;
}

Array<cfloat, 2> zone_plate_probe(const ZonePlate& plate, double wavelength_m, double pixel_size_y_m,
                                  double pixel_size_x_m, Index ny, Index nx) {
  require_window(ny, nx);
  require(wavelength_m > 0 && pixel_size_y_m > 0 && pixel_size_x_m > 0, "wavelength and pixel sizes must be > 0");
  require(plate.outer_zone_width_m > 0,
          fmt::format("outer zone width {} m of the zone plate must be > 0", plate.outer_zone_width_m));
  require(plate.central_stop_m >= 0 && plate.central_stop_m < plate.diameter_m,
          fmt::format("central stop {} m must be from 0 to less than the zone plate's diameter, {} m",
                      plate.central_stop_m, plate.diameter_m));
  const double outer = plate.numerical_aperture(wavelength_m) / wavelength_m;  // cycles per metre at the pupil's edge
  const double inner = outer * plate.central_stop_m / plate.diameter_m;
  const double step_y = 1 / (static_cast<double>(ny) * pixel_size_y_m),
               step_x = 1 / (static_cast<double>(nx) * pixel_size_x_m);
  const double step = std::max(step_y, step_x), nyquist = 0.5 / std::max(pixel_size_y_m, pixel_size_x_m);
  require(outer + step < nyquist,
          fmt::format("an outer zone width of {} m needs pixels below {:.3g} m in the sample plane, they are {:.3g} m",
                      plate.outer_zone_width_m, plate.outer_zone_width_m, std::max(pixel_size_y_m, pixel_size_x_m)));
  const double cone_m = 2 * plate.numerical_aperture(wavelength_m) * std::abs(plate.defocus_m);
  const double window_m = std::min(static_cast<double>(ny) * pixel_size_y_m, static_cast<double>(nx) * pixel_size_x_m);
  require(cone_m < 0.8 * window_m,
          fmt::format("at a defocus of {} m the cone is {:.3g} m wide; it must stay below {:.3g} m, 0.8 of the window",
                      plate.defocus_m, cone_m, 0.8 * window_m));
  return from_spectrum(ny, nx, [&](double fy, double fx) {
    const double qy = fy / pixel_size_y_m, qx = fx / pixel_size_x_m, q = std::hypot(qy, qx);
    // Edges soft by one frequency step keep the tails of the focus inside the window.
    const double outside_edge = std::clamp(0.5 + (outer - q) / step, 0.0, 1.0);
    const double stop_edge = inner > 0 ? std::clamp(0.5 + (q - inner) / step, 0.0, 1.0) : 1.0;
    return std::polar(outside_edge * stop_edge, -kPi * wavelength_m * plate.defocus_m * q * q);
  });
}

Array<cfloat, 2> gaussian_probe(double fwhm_px, Index ny, Index nx) {
  require_window(ny, nx);
  const double largest = 0.5 * static_cast<double>(std::min(ny, nx));
  require(fwhm_px >= 2 && fwhm_px <= largest,
          fmt::format("width {} px of the Gaussian probe must be from 2 to {} px", fwhm_px, largest));
  return from_field(ny, nx, [&](double dy, double dx) {
    return std::exp(-2 * std::numbers::ln2 * (dy * dy + dx * dx) / (fwhm_px * fwhm_px));
  });
}

Array<cfloat, 2> disc_probe(double diameter_px, Index ny, Index nx) {
  require_window(ny, nx);
  const double largest = 0.9 * static_cast<double>(std::min(ny, nx));
  require(diameter_px >= 4 && diameter_px <= largest,
          fmt::format("diameter {} px of the disc must be from 4 to {} px", diameter_px, largest));
  return from_field(ny, nx, [&](double dy, double dx) { return soft_edge(0.5 * diameter_px - std::hypot(dy, dx)); });
}

Array<cfloat, 2> diffuser_probe(double diameter_px, double phase_rms_rad, Index ny, Index nx, std::uint64_t seed) {
  require(phase_rms_rad >= 0 && std::isfinite(phase_rms_rad),
          fmt::format("phase {} rad of the diffuser must be >= 0", phase_rms_rad));
  auto probe = disc_probe(diameter_px, ny, nx);
  const auto height = phantom_thickness(Phantom::random, ny, nx, seed);
  double mean = 0, square = 0;
  for (const float h : height) {
    mean += static_cast<double>(h);
    square += static_cast<double>(h) * static_cast<double>(h);
  }
  mean /= static_cast<double>(height.size());
  const double rms = std::sqrt(std::max(square / static_cast<double>(height.size()) - mean * mean, 1e-30));
  for (Index i = 0; i < probe.size(); ++i)
    probe.data()[i] *= cfloat(std::polar(1.0, phase_rms_rad * (static_cast<double>(height.data()[i]) - mean) / rms));
  return probe;
}

double effective_diameter_px(core::View<const cfloat, 3> probe) {
  double sum = 0, y1 = 0, x1 = 0, r2 = 0;
  for (Index m = 0; m < probe.extent(0); ++m)
    for (Index y = 0; y < probe.extent(1); ++y)
      for (Index x = 0; x < probe.extent(2); ++x) {
        const double w = math::abs2(cdouble(probe(m, y, x))), dy = static_cast<double>(y), dx = static_cast<double>(x);
        sum += w;
        y1 += w * dy;
        x1 += w * dx;
        r2 += w * (dy * dy + dx * dx);
      }
  if (!(sum > 0)) return 0;
  return 2 * std::sqrt(2 * std::max(0.0, r2 / sum - (y1 * y1 + x1 * x1) / (sum * sum)));
}

}  // namespace farfield::techniques::ptychography
