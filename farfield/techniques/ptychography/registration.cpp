#include "farfield/techniques/ptychography/registration.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "farfield/math/complex.hpp"
#include "farfield/math/fft.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::Array;
using core::cdouble;
using core::cfloat;
using core::Index;
using core::View;
constexpr double kTwoPi = 2 * std::numbers::pi;

Index signed_bin(Index k, Index n) { return k < (n + 1) / 2 ? k : k - n; }

math::Fft2<float> transform(Index ny, Index nx) { return {ny, nx, math::FftEffort::estimate}; }

void require_image(View<const cfloat, 2> image) {
  if (image.extent(0) < 8 || image.extent(1) < 8)
    throw core::Error(core::ErrorCode::invalid_argument,
                      fmt::format("images of {} x {} pixels are too small to register; at least 8 x 8", image.extent(0),
                                  image.extent(1)));
}

/// |sum over (v, u) of terms(v, u) exp(2 pi i (v s_y / ny + u s_x / nx))|^2 for shifts on a fine grid around `at`;
/// v, u are signed bins. A product of three matrices.
Array<double, 2> sample_peak(View<const cfloat, 2> terms, const Shift& at, double step, Index reach) {
  const Index ny = terms.extent(0), nx = terms.extent(1), side = 2 * reach + 1;
  const auto waves = [&](Index n, double centre) {
    Array<cdouble, 2> e({side, n});
    for (Index i = 0; i < side; ++i)
      for (Index k = 0; k < n; ++k)
        e(i, k) = std::polar(1.0, kTwoPi * static_cast<double>(signed_bin(k, n)) *
                                      (centre + step * static_cast<double>(i - reach)) / static_cast<double>(n));
    return e;
  };
  const auto ey = waves(ny, at.y), ex = waves(nx, at.x);
  Array<cdouble, 2> partial({side, nx});
  for (Index v = 0; v < ny; ++v)
    for (Index i = 0; i < side; ++i) {
      const cdouble w = ey(i, v);
      cdouble* row = &partial(i, 0);
      for (Index u = 0; u < nx; ++u) row[u] += math::cmul(w, cdouble(terms(v, u)));
    }
  Array<double, 2> power({side, side});
  for (Index i = 0; i < side; ++i)
    for (Index k = 0; k < side; ++k) {
      cdouble sum = 0;
      for (Index u = 0; u < nx; ++u) sum += math::cmul(partial(i, u), ex(k, u));
      power(i, k) = math::abs2(sum);
    }
  return power;
}

/// Offset of the vertex of the parabola through three equidistant values, in steps, within +-1.
double vertex(double before, double middle, double after) {
  const double curvature = before - 2 * middle + after;
  return curvature < 0 ? std::clamp(0.5 * (before - after) / curvature, -1.0, 1.0) : 0;
}

/// The s that maximises |sum terms(v, u) exp(2 pi i (v s_y / ny + u s_x / nx))|; height is that maximum.
Shift find_peak(View<const cfloat, 2> terms) {
  const Index ny = terms.extent(0), nx = terms.extent(1);
  auto coarse = copy_of(terms);
  transform(ny, nx).inverse(coarse.data());
  const cfloat* top =
      std::max_element(coarse.begin(), coarse.end(), [](cfloat a, cfloat b) { return math::abs2(a) < math::abs2(b); });
  const Index at = top - coarse.begin();
  Shift peak{static_cast<double>(signed_bin(at / nx, ny)), static_cast<double>(signed_bin(at % nx, nx)), 0};

  constexpr Index kReach = 10;
  for (const double step : {0.1, 0.01}) {
    const auto power = sample_peak(terms, peak, step, kReach);
    const Index best = std::max_element(power.begin(), power.end()) - power.begin();
    const Index i = best / power.extent(1), k = best % power.extent(1), last = 2 * kReach;
    peak.y += step * static_cast<double>(i - kReach);
    peak.x += step * static_cast<double>(k - kReach);
    peak.height = std::sqrt(power(i, k));
    if (step == 0.01 && i > 0 && i < last && k > 0 && k < last) {
      peak.y += step * vertex(power(i - 1, k), power(i, k), power(i + 1, k));
      peak.x += step * vertex(power(i, k - 1), power(i, k), power(i, k + 1));
    }
  }
  return peak;
}

/// The image less its (weighted) mean under a Hann window; `norm` becomes its sum of squares.
Array<cfloat, 2> tapered(View<const cfloat, 2> image, bool subtract_mean, double& norm) {
  const auto wy = hann(image.extent(0)), wx = hann(image.extent(1));
  cdouble mean = 0;
  if (subtract_mean) {
    double weight = 0;
    for (Index y = 0; y < image.extent(0); ++y)
      for (Index x = 0; x < image.extent(1); ++x) {
        const double w = wy[static_cast<std::size_t>(y)] * wx[static_cast<std::size_t>(x)];
        mean += w * cdouble(image(y, x));
        weight += w;
      }
    mean /= weight;
  }
  Array<cfloat, 2> out({image.extent(0), image.extent(1)});
  norm = 0;
  for (Index y = 0; y < image.extent(0); ++y)
    for (Index x = 0; x < image.extent(1); ++x) {
      const cdouble v =
          (cdouble(image(y, x)) - mean) * (wy[static_cast<std::size_t>(y)] * wx[static_cast<std::size_t>(x)]);
      norm += math::abs2(v);
      out(y, x) = cfloat(v);
    }
  return out;
}

}  // namespace

std::vector<double> hann(Index n) {
  std::vector<double> w(static_cast<std::size_t>(n));
  for (Index i = 0; i < n; ++i) {
    const double s = std::sin(std::numbers::pi * (static_cast<double>(i) + 0.5) / static_cast<double>(n));
    w[static_cast<std::size_t>(i)] = s * s;
  }
  return w;
}

Array<cfloat, 2> copy_of(View<const cfloat, 2> image) {
  Array<cfloat, 2> out(image.extents());
  for (Index y = 0; y < image.extent(0); ++y)
    for (Index x = 0; x < image.extent(1); ++x) out(y, x) = image(y, x);
  return out;
}

Shift find_shift(View<const cfloat, 2> reference, View<const cfloat, 2> moved) {
  require_image(reference);
  if (reference.extents() != moved.extents())
    throw core::Error(core::ErrorCode::invalid_argument,
                      fmt::format("images to register must have one shape: {} x {} and {} x {}", reference.extent(0),
                                  reference.extent(1), moved.extent(0), moved.extent(1)));
  double norm_a = 0, norm_b = 0;
  auto a = tapered(reference, true, norm_a);
  const auto fft = transform(a.extent(0), a.extent(1));
  fft.forward(a.data());
  {
    auto b = tapered(moved, true, norm_b);
    fft.forward(b.data());
    // conj(A) B = |A|^2 exp(-2 pi i k s / n). Divided by the number of pixels: the sum is then the correlation.
    const auto scale = static_cast<float>(1 / static_cast<double>(a.size()));
    for (Index i = 0; i < a.size(); ++i) a.data()[i] = math::conj_mul(a.data()[i], b.data()[i]) * scale;
  }
  if (!(norm_a > 0 && norm_b > 0)) return {};  // nothing to see: no shift
  Shift shift = find_peak(a);
  shift.height /= std::sqrt(norm_a * norm_b);
  return shift;
}

Shift find_ramp(View<const cfloat, 2> image) {
  require_image(image);
  double norm = 0;
  const auto terms = tapered(image, false, norm);
  if (!(norm > 0)) return {};
  double sum = 0;  // what the peak would be for a pure ramp
  for (const cfloat v : terms) sum += std::abs(cdouble(v));
  // find_peak() counts pixels from the corner with the upper half negative; put the centre there.
  const Index ny = image.extent(0), nx = image.extent(1);
  Array<cfloat, 2> centred({ny, nx});
  for (Index y = 0; y < ny; ++y)
    for (Index x = 0; x < nx; ++x) centred((y + ny - ny / 2) % ny, (x + nx - nx / 2) % nx) = terms(y, x);
  const Shift peak = find_peak(centred);
  return {-kTwoPi * peak.y / static_cast<double>(ny), -kTwoPi * peak.x / static_cast<double>(nx), peak.height / sum};
}

Array<cfloat, 2> translated(View<const cfloat, 2> image, double shift_y, double shift_x) {
  auto out = copy_of(image);
  const Index ny = image.extent(0), nx = image.extent(1);
  const auto fft = transform(ny, nx);
  fft.forward(out.data());
  const auto phase = [](Index n, double shift) {
    std::vector<cdouble> e;
    for (Index k = 0; k < n; ++k)
      e.push_back(std::polar(1.0, -kTwoPi * static_cast<double>(signed_bin(k, n)) * shift / static_cast<double>(n)));
    return e;
  };
  const auto py = phase(ny, shift_y), px = phase(nx, shift_x);
  const double scale = 1 / static_cast<double>(ny * nx);
  for (Index v = 0; v < ny; ++v)
    for (Index u = 0; u < nx; ++u)
      out(v, u) = cfloat(math::cmul(cdouble(out(v, u)) * scale,
                                    math::cmul(py[static_cast<std::size_t>(v)], px[static_cast<std::size_t>(u)])));
  fft.inverse(out.data());
  return out;
}

void remove_ramp(View<cfloat, 2> image, double slope_y, double slope_x) {
  const Index ny = image.extent(0), nx = image.extent(1);
  const Index cy = ny / 2, cx = nx / 2;
  std::vector<cdouble> px;
  for (Index x = 0; x < nx; ++x) px.push_back(std::polar(1.0, -slope_x * static_cast<double>(x - cx)));
  for (Index y = 0; y < ny; ++y) {
    const cdouble py = std::polar(1.0, -slope_y * static_cast<double>(y - cy));
    for (Index x = 0; x < nx; ++x)
      image(y, x) = cfloat(math::cmul(cdouble(image(y, x)), math::cmul(py, px[static_cast<std::size_t>(x)])));
  }
}

}  // namespace farfield::techniques::ptychography
