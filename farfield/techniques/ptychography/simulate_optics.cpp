#include "farfield/techniques/ptychography/simulate_optics.hpp"

#include <fmt/format.h>

#include <cmath>
#include <numbers>
#include <vector>

#include "farfield/math/complex.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::Array;
using core::cfloat;
using core::Index;
using core::View;
using math::cmul;
constexpr double kPi = std::numbers::pi;

double frequency(Index k, Index n) { return static_cast<double>(k < (n + 1) / 2 ? k : k - n) / static_cast<double>(n); }

/// exp(-2 pi i k shift / n): the spectrum of a shift by `shift` pixels along one axis.
std::vector<cfloat> shift_phase(Index n, double shift) {
  std::vector<cfloat> phase(static_cast<std::size_t>(n));
  for (Index k = 0; k < n; ++k)
    phase[static_cast<std::size_t>(k)] = cfloat(std::polar(1.0, -2 * kPi * frequency(k, n) * shift));
  return phase;
}

}  // namespace

// The planner may choose otherwise from run to run when it measures; simulated sets must not.
SimulatedOptics::SimulatedOptics(View<const cfloat, 2> object, View<const cfloat, 3> probe,
                                 const std::optional<FreeSpace>& near_field)
    : object_(object), fft_(probe.extent(1), probe.extent(2), math::FftEffort::estimate), spectra_(probe.extents()) {
  for (Index m = 0; m < probe.extent(0); ++m) {
    const auto spectrum = spectrum_of(probe[m]);
    std::copy(spectrum.begin(), spectrum.end(), spectra_[m].begin());
  }
  if (!near_field) return;
  const auto& free = *near_field;
  propagator_ = Array<cfloat, 2>({ny(), nx()});
  for (Index v = 0; v < ny(); ++v)
    for (Index u = 0; u < nx(); ++u) {
      const double qy = frequency(v, ny()) / free.pixel_size_y_m, qx = frequency(u, nx()) / free.pixel_size_x_m;
      const double q2 = (qy * qy + qx * qx) * free.wavelength_m * free.wavelength_m;
      // 2 pi z (sqrt(1/lambda^2 - q^2) - 1/lambda) without the cancellation; evanescent waves do not arrive.
      const double phase = -2 * kPi * free.distance_m / free.wavelength_m * q2 / (1 + std::sqrt(std::max(0.0, 1 - q2)));
      propagator_(v, u) = q2 < 1 ? cfloat(std::polar(1.0, phase)) : cfloat{};
    }
}

Array<cfloat, 2> SimulatedOptics::spectrum_of(View<const cfloat, 2> field) const {
  Array<cfloat, 2> spectrum({ny(), nx()});
  for (Index y = 0; y < ny(); ++y)
    for (Index x = 0; x < nx(); ++x) spectrum(y, x) = field(y, x);
  fft_.forward(spectrum.data());
  const auto scale =
      static_cast<float>(1 / static_cast<double>(spectrum.size()));  // so that the inverse returns the field
  for (auto& v : spectrum) v *= scale;
  return spectrum;
}

void SimulatedOptics::set_eigen_probe(View<const cfloat, 2> eigen_probe) { eigen_spectrum_ = spectrum_of(eigen_probe); }

SimulatedOptics::Workspace SimulatedOptics::workspace() const {
  return {Array<cfloat, 2>({ny(), nx()}), Array<float, 2>({ny(), nx()})};
}

void SimulatedOptics::pattern(double y, double x, double weight, Workspace& work) const {
  const double sy = std::floor(y), sx = std::floor(x);
  if (!(sy >= 0 && sx >= 0 && sy + static_cast<double>(ny()) <= static_cast<double>(object_.extent(0)) &&
        sx + static_cast<double>(nx()) <= static_cast<double>(object_.extent(1))))
    throw core::Error(core::ErrorCode::invalid_argument,
                      fmt::format("the window at ({}, {}) px leaves the object of {} x {} px", y, x, object_.extent(0),
                                  object_.extent(1)));
  const auto shift_y = shift_phase(ny(), y - sy), shift_x = shift_phase(nx(), x - sx);
  const auto window = object_.window({static_cast<Index>(sy), static_cast<Index>(sx)}, {ny(), nx()});
  const bool varies = weight != 0 && !eigen_spectrum_.empty();
  const auto scale = static_cast<float>(1 / static_cast<double>(work.wave.size()));
  const auto w = static_cast<float>(weight);
  work.intensity.fill(0);

  for (Index m = 0; m < spectra_.extent(0); ++m) {
    for (Index v = 0; v < ny(); ++v) {
      const cfloat* spectrum = &spectra_(m, v, Index{0});
      const cfloat phase_y = shift_y[static_cast<std::size_t>(v)];
      cfloat* wave = &work.wave(v, 0);
      for (Index u = 0; u < nx(); ++u) {
        cfloat s = spectrum[u];
        if (varies && m == 0) s += w * eigen_spectrum_(v, u);
        wave[u] = cmul(s, cmul(phase_y, shift_x[static_cast<std::size_t>(u)]));
      }
    }
    fft_.inverse(work.wave.data());
    for (Index r = 0; r < ny(); ++r) {
      const cfloat* o = &window(r, 0);
      cfloat* wave = &work.wave(r, 0);
      for (Index c = 0; c < nx(); ++c) wave[c] = cmul(wave[c], o[c]);
    }
    fft_.forward(work.wave.data());
    if (!propagator_.empty()) {
      for (Index i = 0; i < work.wave.size(); ++i)
        work.wave.data()[i] = cmul(work.wave.data()[i], propagator_.data()[i]) * scale;
      fft_.inverse(work.wave.data());
      for (Index i = 0; i < work.wave.size(); ++i) work.intensity.data()[i] += math::abs2(work.wave.data()[i]);
    } else {
      for (Index v = 0; v < ny(); ++v)
        for (Index u = 0; u < nx(); ++u)
          work.intensity((v + ny() / 2) % ny(), (u + nx() / 2) % nx()) += scale * math::abs2(work.wave(v, u));
    }
  }
}

}  // namespace farfield::techniques::ptychography
