#include "farfield/techniques/ptychography/constraints.hpp"

#include <algorithm>
#include <cmath>

#include "farfield/math/complex.hpp"

namespace farfield::techniques::ptychography {

float support_weight(Shape shape, double radius_px, Index y, Index x) {
  const double r = std::hypot(static_cast<double>(y - shape.ny / 2), static_cast<double>(x - shape.nx / 2));
  const double edge = std::max(1.0, 0.1 * radius_px);
  const double t = std::clamp((r - radius_px) / edge, 0.0, 1.0);
  return static_cast<float>(0.5 * (1 + std::cos(M_PI * t)));
}

void apply_support(State& s, double fraction) {
  const double radius_px = fraction * static_cast<double>(std::min(s.shape.ny, s.shape.nx)) / 2;
  for (Index y = 0; y < s.shape.ny; ++y)
    for (Index x = 0; x < s.shape.nx; ++x) {
      const float weight = support_weight(s.shape, radius_px, y, x);
      if (weight == 1) continue;
      for (Index m = 0; m < s.modes(); ++m) s.probe(m, y, x) *= weight;
      for (Index e = 0; e < s.opr_modes(); ++e) s.eigen_probes(e, y, x) *= weight;
    }
}

void hold_photons(State& s, double photons) {
  double power = 0;
  for (const cfloat& v : s.probe) power += static_cast<double>(math::abs2(v));
  if (!(power > 0)) return;
  const auto factor = static_cast<float>(std::sqrt(photons / power));
  for (cfloat& v : s.probe) v *= factor;
  for (cfloat& v : s.eigen_probes) v *= factor;
  for (cfloat& v : s.object) v *= 1 / factor;
}

Offset probe_offset(const State& s) {
  double total = 0, sum_y = 0, sum_x = 0;
  for (Index m = 0; m < s.modes(); ++m)
    for (Index y = 0; y < s.shape.ny; ++y)
      for (Index x = 0; x < s.shape.nx; ++x) {
        const auto w = static_cast<double>(math::abs2(s.probe(m, y, x)));
        total += w;
        sum_y += w * static_cast<double>(y - s.shape.ny / 2);
        sum_x += w * static_cast<double>(x - s.shape.nx / 2);
      }
  if (!(total > 0) || !std::isfinite(sum_y + sum_x)) return {};
  return {std::lround(sum_y / total), std::lround(sum_x / total)};
}

void move_probe(State& s, Offset d) {
  const auto roll = [&](cfloat* tile) {
    const auto wrap = [](Index i, Index n) { return ((i % n) + n) % n; };
    for (Index y = 0; y < s.shape.ny; ++y) {
      cfloat* row = tile + y * s.shape.nx;
      std::rotate(row, row + wrap(d.x, s.shape.nx), row + s.shape.nx);
    }
    std::rotate(tile, tile + wrap(d.y, s.shape.ny) * s.shape.nx, tile + s.shape.size());
  };
  for (int m = 0; m < s.modes(); ++m) roll(s.probe_mode(m));
  for (int e = 0; e < s.opr_modes(); ++e) roll(s.eigen_probes.data() + e * s.shape.size());
  s.origin_y -= static_cast<double>(d.y);
  s.origin_x -= static_cast<double>(d.x);
  for (Placement& place : s.placements) place.oy = -1;  // cover() places them anew
}

namespace {

void clip_amplitude(core::View<cfloat, 2> object, float low, float high) {
  for (cfloat& v : object) {
    const float amplitude = std::abs(v);
    if (high > 0 && amplitude > high) v *= high / amplitude;
    else if (amplitude < low) v = amplitude > 0 ? v * (low / amplitude) : cfloat(low);
  }
}

void smooth(core::View<cfloat, 2> object, float fraction) {
  const Index ny = object.extent(0), nx = object.extent(1);
  core::Array<cfloat, 2> before({ny, nx});
  std::copy(object.begin(), object.end(), before.begin());
  for (Index y = 0; y < ny; ++y)
    for (Index x = 0; x < nx; ++x) {
      const cfloat sum = before(std::max<Index>(y - 1, 0), x) + before(std::min(y + 1, ny - 1), x) +
                         before(y, std::max<Index>(x - 1, 0)) + before(y, std::min(x + 1, nx - 1));
      object(y, x) = (1 - fraction) * before(y, x) + 0.25F * fraction * sum;
    }
}

}  // namespace

void constrain_object(core::View<cfloat, 2> object, const Options& o) {
  if (o.object_amplitude_max > 0 || o.object_amplitude_min > 0)
    clip_amplitude(object, static_cast<float>(o.object_amplitude_min), static_cast<float>(o.object_amplitude_max));
  if (o.object_positive)
    for (cfloat& v : object) v = std::max(v.real(), 0.0F);
  if (o.object_smoothness > 0) smooth(object, static_cast<float>(o.object_smoothness));
  if (o.object_tv > 0) denoise_total_variation(object, o.object_tv);
}

void denoise_total_variation(core::View<cfloat, 2> object, double weight, int iterations) {
  const Index ny = object.extent(0), nx = object.extent(1);
  // The dual field p = (py, px) of forward differences; u = object - weight div p.
  core::Array<cfloat, 2> py({ny, nx}), px({ny, nx}), u({ny, nx});
  const auto w = static_cast<float>(weight);
  constexpr float kStep = 0.125F;  // converges for at most 1/8
  const auto update_u = [&] {
    for (Index y = 0; y < ny; ++y)
      for (Index x = 0; x < nx; ++x) {
        const cfloat div = py(y, x) - (y > 0 ? py(y - 1, x) : cfloat{}) + px(y, x) - (x > 0 ? px(y, x - 1) : cfloat{});
        u(y, x) = div - object(y, x) / w;
      }
  };
  for (int i = 0; i < iterations; ++i) {
    update_u();
    for (Index y = 0; y < ny; ++y)
      for (Index x = 0; x < nx; ++x) {
        const cfloat gy = y + 1 < ny ? u(y + 1, x) - u(y, x) : cfloat{},
                     gx = x + 1 < nx ? u(y, x + 1) - u(y, x) : cfloat{};
        const float norm = 1 + kStep * std::sqrt(math::abs2(gy) + math::abs2(gx));
        py(y, x) = (py(y, x) + kStep * gy) / norm;
        px(y, x) = (px(y, x) + kStep * gx) / norm;
      }
  }
  update_u();
  for (Index i = 0; i < object.size(); ++i) object.data()[i] = -w * u.data()[i];
}

}  // namespace farfield::techniques::ptychography
