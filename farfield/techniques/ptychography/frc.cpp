#include "farfield/techniques/ptychography/frc.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "farfield/math/complex.hpp"
#include "farfield/math/fft.hpp"
#include "farfield/techniques/ptychography/registration.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::Array;
using core::cdouble;
using core::cfloat;
using core::Index;
using core::View;

Array<cfloat, 2> apodised_spectrum(View<const cfloat, 2> image, const std::vector<double>& wy,
                                   const std::vector<double>& wx) {
  cdouble mean = 0;
  for (Index y = 0; y < image.extent(0); ++y)
    for (Index x = 0; x < image.extent(1); ++x) mean += cdouble(image(y, x));
  mean /= static_cast<double>(image.size());
  Array<cfloat, 2> out(image.extents());
  for (Index y = 0; y < image.extent(0); ++y)
    for (Index x = 0; x < image.extent(1); ++x)
      out(y, x) =
          cfloat((cdouble(image(y, x)) - mean) * (wy[static_cast<std::size_t>(y)] * wx[static_cast<std::size_t>(x)]));
  math::Fft2<float>(image.extent(0), image.extent(1), math::FftEffort::estimate).forward(out.data());
  return out;
}

/// |rho|^2 of the Hann window along one axis for neighbours 0, 1, 2 frequency steps away; 0 beyond.
constexpr double kHannCorrelation[] = {1, 4.0 / 9, 1.0 / 36};

}  // namespace

RingCorrelation ring_correlation(View<const cfloat, 2> a, View<const cfloat, 2> b, bool real) {
  const Index ny = a.extent(0), nx = a.extent(1);
  if (a.extents() != b.extents() || ny < 16 || nx < 16)
    throw core::Error(
        core::ErrorCode::invalid_argument,
        fmt::format(
            "ring correlation needs two images of one shape, at least 16 x 16 pixels; they are {} x {} and {} x {}", ny,
            nx, b.extent(0), b.extent(1)));
  const auto wy = hann(ny), wx = hann(nx);
  const auto fa = apodised_spectrum(a, wy, wx), fb = apodised_spectrum(b, wy, wx);

  const Index side = std::min(ny, nx), rings = side / 2;
  Array<std::int32_t, 2> ring_of({ny, nx});
  for (Index v = 0; v < ny; ++v)
    for (Index u = 0; u < nx; ++u) {
      const double fy = static_cast<double>(std::min(v, ny - v)) / static_cast<double>(ny);
      const double fx = static_cast<double>(std::min(u, nx - u)) / static_cast<double>(nx);
      ring_of(v, u) = static_cast<std::int32_t>(std::lround(std::hypot(fy, fx) * static_cast<double>(side)));
    }

  std::vector<double> cross(static_cast<std::size_t>(rings)), power_a(cross), power_b(cross), count(cross),
      pairs(cross);
  for (Index v = 0; v < ny; ++v)
    for (Index u = 0; u < nx; ++u) {
      const std::int32_t own = ring_of(v, u);
      if (own >= rings) continue;  // the corners beyond the Nyquist frequency
      const auto ring = static_cast<std::size_t>(own);
      const cdouble p = cdouble(fa(v, u)), q = cdouble(fb(v, u));
      cross[ring] += math::conj_mul(p, q).real();
      power_a[ring] += math::abs2(p);
      power_b[ring] += math::abs2(q);
      count[ring] += 1;
      for (Index dv = -2; dv <= 2; ++dv)
        for (Index du = -2; du <= 2; ++du)
          if (ring_of((v + dv + ny) % ny, (u + du + nx) % nx) == own)
            pairs[ring] += kHannCorrelation[std::abs(dv)] * kHannCorrelation[std::abs(du)];
    }

  RingCorrelation curve;
  for (std::size_t r = 0; r < cross.size(); ++r) {
    const double norm = std::sqrt(power_a[r] * power_b[r]);
    const double n = std::max(1.0, count[r] * count[r] / pairs[r] * (real ? 0.5 : 1)), root = 1 / std::sqrt(n);
    curve.frequency.push_back(static_cast<double>(r) / static_cast<double>(side));
    curve.frc.push_back(norm > 0 ? cross[r] / norm : 0);
    curve.half_bit.push_back((0.2071 + 1.9102 * root) / (1.2071 + 0.9102 * root));
    curve.one_bit.push_back((0.5 + 2.4142 * root) / (1.5 + 1.4142 * root));
    curve.independent.push_back(n);
  }
  return curve;
}

std::optional<double> crossing(const RingCorrelation& curve, const std::vector<double>& threshold) {
  constexpr std::size_t kFirst = 2, kStay = 3;
  const std::size_t rings = curve.frc.size();
  std::size_t below = 0;  // rings in a row, up to r
  for (std::size_t r = kFirst; r < rings; ++r) {
    below = curve.frc[r] < threshold[r] ? below + 1 : 0;
    if (below < kStay && !(below > 0 && r + 1 == rings)) continue;
    const std::size_t at = r + 1 - below;  // the first of them
    if (at == kFirst) return 0;
    const double before = curve.frc[at - 1] - threshold[at - 1], after = curve.frc[at] - threshold[at];
    return curve.frequency[at - 1] + (curve.frequency[at] - curve.frequency[at - 1]) * before / (before - after);
  }
  return std::nullopt;
}

}  // namespace farfield::techniques::ptychography
