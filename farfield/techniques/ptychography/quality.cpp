#include "farfield/techniques/ptychography/quality.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "farfield/math/complex.hpp"
#include "farfield/techniques/ptychography/registration.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::Array;
using core::cdouble;
using core::cfloat;
using core::Index;
using core::View;

constexpr Index kSmallest = 16;

/// The largest n' <= n without prime factors above 7, so that transforms are fast.
Index smooth_size(Index n) {
  for (;; --n) {
    Index rest = n;
    for (const Index f : {2, 3, 5, 7})
      while (rest > 1 && rest % f == 0) rest /= f;
    if (rest <= 1) return n;
  }
}

Region trimmed(const Region& r) {
  if (r.ny < kSmallest || r.nx < kSmallest)
    throw core::Error(
        core::ErrorCode::invalid_argument,
        fmt::format("the two objects have {} x {} well-illuminated pixels in common; at least {} x {} are needed", r.ny,
                    r.nx, kSmallest, kSmallest));
  const Index ny = smooth_size(r.ny), nx = smooth_size(r.nx);
  return {r.y + (r.ny - ny) / 2, r.x + (r.nx - nx) / 2, ny, nx};
}

Array<cfloat, 2> crop(View<const cfloat, 2> image, const Region& r) {
  return copy_of(image.window({r.y, r.x}, {r.ny, r.nx}));
}

/// The image moved by a fraction of a pixel inside `r`: out(p) = image(r + p + fraction). Pixels around the region are
/// used as far as there are any, and fade to the mean, so that the jump at the border of the periodic transform
/// rings outside the region.
Array<cfloat, 2> sampled(View<const cfloat, 2> image, const Region& r, double fraction_y, double fraction_x) {
  constexpr Index kBorder = 16;
  const Region wide = intersection({r.y - kBorder, r.x - kBorder, r.ny + 2 * kBorder, r.nx + 2 * kBorder},
                                   {0, 0, image.extent(0), image.extent(1)});
  auto patch = crop(image, wide);
  cdouble mean = 0;
  for (const cfloat v : patch) mean += cdouble(v);
  mean /= static_cast<double>(patch.size());
  // 0 at the patch's edge, 1 from the region inwards.
  const auto fade = [](Index i, Index n, Index before, Index after) {
    const double low = before > 0 ? (static_cast<double>(i) + 0.5) / static_cast<double>(before) : 1;
    const double high = after > 0 ? (static_cast<double>(n - i) - 0.5) / static_cast<double>(after) : 1;
    const double t = std::min({low, high, 1.0});
    return t * t * (3 - 2 * t);
  };
  const Index before_y = r.y - wide.y, before_x = r.x - wide.x;
  for (Index y = 0; y < wide.ny; ++y)
    for (Index x = 0; x < wide.nx; ++x) {
      const double w =
          fade(y, wide.ny, before_y, wide.ny - before_y - r.ny) * fade(x, wide.nx, before_x, wide.nx - before_x - r.nx);
      patch(y, x) = cfloat(mean + w * (cdouble(patch(y, x)) - mean));
    }
  return crop(translated(patch.view(), -fraction_y, -fraction_x), {before_y, before_x, r.ny, r.nx});
}

/// Without the ramp of its strongest frequency: ramps must not look like shifts to the registration.
Array<cfloat, 2> flattened(const Array<cfloat, 2>& image) {
  auto out = image.clone();
  const Shift ramp = find_ramp(image.view());
  remove_ramp(out, ramp.y, ramp.x);
  return out;
}

/// The factor that brings b closest to a.
cdouble best_scale(const Array<cfloat, 2>& a, const Array<cfloat, 2>& b) {
  cdouble cross = 0;
  double power = 0;
  for (Index i = 0; i < a.size(); ++i) {
    cross += math::conj_mul(cdouble(b.data()[i]), cdouble(a.data()[i]));
    power += math::abs2(cdouble(b.data()[i]));
  }
  return power > 0 ? cross / power : cdouble(1);
}

}  // namespace

AlignedObjects align(View<const cfloat, 2> a, const Region& region_a, View<const cfloat, 2> b, const Region& region_b,
                     double guess_y, double guess_x, int rounds) {
  Alignment found;
  found.shift_y = guess_y;
  found.shift_x = guess_x;
  AlignedObjects out;
  for (int round = 0; round < rounds; ++round) {
    const double whole_y = std::round(found.shift_y), whole_x = std::round(found.shift_x);
    const Index dy = static_cast<Index>(whole_y), dx = static_cast<Index>(whole_x);
    found.region = trimmed(intersection(region_a, moved(region_b, -dy, -dx)));
    out.a = crop(a, found.region);
    out.b = sampled(b, moved(found.region, dy, dx), found.shift_y - whole_y, found.shift_x - whole_x);
    const Shift rest = find_shift(flattened(out.a).view(), flattened(out.b).view());
    found.correlation = rest.height;
    if (std::hypot(rest.y, rest.x) < 2e-3 || round + 1 == rounds) break;
    found.shift_y += rest.y;
    found.shift_x += rest.x;
  }

  auto ratio = out.b.clone();
  for (Index i = 0; i < ratio.size(); ++i) ratio.data()[i] = math::conj_mul(out.a.data()[i], out.b.data()[i]);
  const Shift ramp = find_ramp(ratio.view());
  found.ramp_y = ramp.y;
  found.ramp_x = ramp.x;
  remove_ramp(out.b, ramp.y, ramp.x);
  found.scale = best_scale(out.a, out.b);
  for (cfloat& v : out.b) v = cfloat(cdouble(v) * found.scale);
  out.alignment = found;
  return out;
}

double nrmse(View<const cfloat, 2> a, View<const cfloat, 2> b) {
  double difference = 0, power = 0;
  for (Index y = 0; y < a.extent(0); ++y)
    for (Index x = 0; x < a.extent(1); ++x) {
      difference += math::abs2(cdouble(a(y, x)) - cdouble(b(y, x)));
      power += math::abs2(cdouble(a(y, x)));
    }
  return power > 0 ? std::sqrt(difference / power) : 0;
}

double ssim_of_phase(View<const cfloat, 2> a, View<const cfloat, 2> b) {
  constexpr Index kReach = 5;
  constexpr double kSigma = 1.5, kC1 = 0.01, kC2 = 0.03;
  const Index ny = a.extent(0), nx = a.extent(1);
  cdouble mean = 0;
  for (Index y = 0; y < ny; ++y)
    for (Index x = 0; x < nx; ++x) mean += cdouble(a(y, x));
  const cdouble turn = std::abs(mean) > 0 ? std::conj(mean) / std::abs(mean) : cdouble(1);
  const auto phase = [&](View<const cfloat, 2> image) {
    Array<double, 2> p({ny, nx});
    for (Index y = 0; y < ny; ++y)
      for (Index x = 0; x < nx; ++x) p(y, x) = std::arg(cdouble(image(y, x)) * turn);
    return p;
  };
  const auto pa = phase(a), pb = phase(b);
  const auto [low, high] = std::minmax_element(pa.begin(), pa.end());
  const double range = std::max(*high - *low, 1e-12), c1 = std::pow(kC1 * range, 2), c2 = std::pow(kC2 * range, 2);

  std::vector<double> window;
  double total = 0;
  for (Index k = -kReach; k <= kReach; ++k) {
    window.push_back(std::exp(-static_cast<double>(k * k) / (2 * kSigma * kSigma)));
    total += window.back();
  }
  for (double& w : window) w /= total;
  // Local means of a, b, a^2, b^2 and ab, first along x, then along y.
  constexpr int kMoments = 5;
  Array<double, 3> rows({kMoments, ny, nx});
  for (Index y = 0; y < ny; ++y)
    for (Index x = kReach; x + kReach < nx; ++x)
      for (Index k = -kReach; k <= kReach; ++k) {
        const double w = window[static_cast<std::size_t>(k + kReach)], va = pa(y, x + k), vb = pb(y, x + k);
        rows(0, y, x) += w * va;
        rows(1, y, x) += w * vb;
        rows(2, y, x) += w * va * va;
        rows(3, y, x) += w * vb * vb;
        rows(4, y, x) += w * va * vb;
      }
  double sum = 0;
  Index count = 0;
  for (Index y = kReach; y + kReach < ny; ++y)
    for (Index x = kReach; x + kReach < nx; ++x, ++count) {
      double m[kMoments] = {};
      for (Index k = -kReach; k <= kReach; ++k)
        for (int i = 0; i < kMoments; ++i) m[i] += window[static_cast<std::size_t>(k + kReach)] * rows(i, y + k, x);
      const double var_a = m[2] - m[0] * m[0], var_b = m[3] - m[1] * m[1], cov = m[4] - m[0] * m[1];
      sum += (2 * m[0] * m[1] + c1) * (2 * cov + c2) / ((m[0] * m[0] + m[1] * m[1] + c1) * (var_a + var_b + c2));
    }
  return count > 0 ? sum / static_cast<double>(count) : 0;
}

double object_error(View<const cfloat, 2> a, View<const cfloat, 2> b, Index margin) {
  const auto middle = [&](View<const cfloat, 2> v) {
    return Region{margin, margin, v.extent(0) - 2 * margin, v.extent(1) - 2 * margin};
  };
  const double guess_y = 0.5 * static_cast<double>(b.extent(0) - a.extent(0)),
               guess_x = 0.5 * static_cast<double>(b.extent(1) - a.extent(1));
  const auto aligned = align(a, middle(a), b, middle(b), guess_y, guess_x);
  return nrmse(aligned.a.view(), aligned.b.view());
}

}  // namespace farfield::techniques::ptychography
