#include "farfield/techniques/ptychography/refine_positions.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace farfield::techniques::ptychography {
namespace {

struct Vector {
  double y = 0, x = 0;
};

std::size_t at(Index slot) { return static_cast<std::size_t>(slot); }

/// Solves the symmetric positive 3x3 system with two right-hand sides; directions that the data do not determine
/// (relative 1e-9, far below any real scan's width) get the smallest solution.
std::array<Vector, 3> solve(std::array<std::array<double, 3>, 3> a, std::array<Vector, 3> b) {
  for (int i = 1; i < 3; ++i) a[i][i] += 1e-9 * (a[1][1] + a[2][2]) + 1e-12 * a[0][0];
  for (int i = 0; i < 3; ++i)
    for (int r = i + 1; r < 3; ++r) {
      const double factor = a[r][i] / a[i][i];
      for (int c = i; c < 3; ++c) a[r][c] -= factor * a[i][c];
      b[r].y -= factor * b[i].y;
      b[r].x -= factor * b[i].x;
    }
  std::array<Vector, 3> s{};
  for (int i = 2; i >= 0; --i) {
    s[i] = b[i];
    for (int c = i + 1; c < 3; ++c) {
      s[i].y -= a[i][c] * s[c].y;
      s[i].x -= a[i][c] * s[c].x;
    }
    s[i].y /= a[i][i];
    s[i].x /= a[i][i];
  }
  return s;
}

Vector mapped(const PositionMap& m, Vector r) {
  const double dy = r.y - m.c_y, dx = r.x - m.c_x;
  return {r.y + m.t_y + m.yy * dy + m.yx * dx, r.x + m.t_x + m.xy * dy + m.xx * dx};
}

/// What one pattern says.
struct Correction {
  Vector step;
  double trust = 0;  ///< 0: its structure is noise, 1: far above it
};

/// Structure P dO/dr that noise alone makes, as a fraction of |chi|^2: noise of variance v in chi leaves v / overlap in
/// the illuminated part of the object, so a few per cent at most. A pattern is believed when it has several times as
/// much.
constexpr double kNoiseStructure = 0.1;

Correction least_squares(const Observation& o, double limit) {
  const StepSums& s = o.position;
  const double prior = kNoiseStructure * o.sums.cost, aa = s.aa + prior, bb = s.bb + prior, det = aa * bb - s.ab * s.ab;
  if (!(det > 0)) return {};
  Correction c{{(s.a_chi * bb - s.b_chi * s.ab) / det, (s.b_chi * aa - s.a_chi * s.ab) / det},
               (s.aa + s.bb) / (aa + bb)};
  if (!std::isfinite(c.step.y) || !std::isfinite(c.step.x)) return {};
  const double length = std::hypot(c.step.y, c.step.x);
  if (length > limit) c.step = {c.step.y * limit / length, c.step.x * limit / length};
  return c;
}

}  // namespace

PositionMap fit_positions(const State& state, const Patterns& patterns, std::span<const Index> slots,
                          PositionModel model, Sharing& sharing) {
  PositionMap map;
  std::vector<double> sums{0, 0, 0};
  for (const Index slot : slots) {
    sums[0] += 1;
    sums[1] += patterns.y(slot);
    sums[2] += patterns.x(slot);
  }
  sharing.sum(sums);
  if (sums[0] == 0) return map;
  map.c_y = sums[1] / sums[0];
  map.c_x = sums[2] / sums[0];
  constexpr double kHuber = 1.5;  // sigmas; 96 % as good as least squares for normal errors
  map.sigma_px = std::numeric_limits<double>::infinity();
  for (int round = 0; round < 8; ++round) {
    // Weighted sums of (1, dy, dx)^T (1, dy, dx) and of (1, dy, dx) times the displacement.
    std::vector<double> t(12, 0.0);
    for (const Index slot : slots) {
      const Vector r{patterns.y(slot), patterns.x(slot)}, m = mapped(map, r), c{state.y[at(slot)], state.x[at(slot)]};
      const double deviation = std::hypot(c.y - m.y, c.x - m.x) / std::sqrt(2.0), reach = kHuber * map.sigma_px;
      const double w = deviation > reach ? reach / deviation : 1, dy = r.y - map.c_y, dx = r.x - map.c_x,
                   uy = c.y - r.y, ux = c.x - r.x;
      const double terms[12] = {1, dy, dx, dy * dy, dy * dx, dx * dx, uy, dy * uy, dx * uy, ux, dy * ux, dx * ux};
      for (std::size_t i = 0; i < 12; ++i) t[i] += w * terms[i];
    }
    sharing.sum(t);
    if (model == PositionModel::affine) {
      const auto s = solve({{{t[0], t[1], t[2]}, {t[1], t[3], t[4]}, {t[2], t[4], t[5]}}},
                           {{{t[6], t[9]}, {t[7], t[10]}, {t[8], t[11]}}});
      map.t_y = s[0].y;
      map.t_x = s[0].x;
      map.yy = s[1].y;
      map.yx = s[2].y;
      map.xy = s[1].x;
      map.xx = s[2].x;
    } else {
      map.t_y = t[6] / t[0];
      map.t_x = t[9] / t[0];
    }
    // Spread, with far ones counted as if they were at the reach (Huber's proposal 2; 0.78 is the mean of
    // min(z^2, 1.5^2) for a normal z).
    std::vector<double> spread{0, 0};
    for (const Index slot : slots) {
      const Vector m = mapped(map, {patterns.y(slot), patterns.x(slot)});
      const double d2 = 0.5 * (std::pow(state.y[at(slot)] - m.y, 2) + std::pow(state.x[at(slot)] - m.x, 2));
      spread[0] += std::min(d2, std::pow(kHuber * map.sigma_px, 2)) / (round == 0 ? 1 : 0.78);
      spread[1] += d2;
    }
    sharing.sum(spread);
    map.sigma_px = std::sqrt(spread[0] / sums[0]);
    map.rms_px = std::sqrt(spread[1] / sums[0]);
    if (map.sigma_px == 0) break;
  }
  return map;
}

PositionChange refine_positions(State& state, const Patterns& patterns, std::span<const Index> slots,
                                std::span<const Observation> observations, const Options& options, Sharing& sharing) {
  std::vector<Correction> corrections;
  std::vector<double> sums{0, 0, 0};
  for (const Index slot : slots) {
    const Correction& c =
        corrections.emplace_back(least_squares(observations[at(slot)], options.position_step_limit_px));
    sums[0] += c.step.y;
    sums[1] += c.step.x;
    sums[2] += 1;
  }
  sharing.sum(sums);
  if (sums[2] == 0) return {};
  const Vector drift{sums[0] / sums[2], sums[1] / sums[2]};
  const auto before_y = state.y, before_x = state.x;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    state.y[at(slots[i])] += corrections[i].step.y - drift.y;
    state.x[at(slots[i])] += corrections[i].step.x - drift.x;
  }

  std::vector<double> totals{0, 0};  // square of changes, outliers
  if (options.position_model != PositionModel::free) {
    const PositionMap map = fit_positions(state, patterns, slots, options.position_model, sharing);
    for (std::size_t i = 0; i < slots.size(); ++i) {
      double &y = state.y[at(slots[i])], &x = state.x[at(slots[i])];
      const Vector m = mapped(map, {patterns.y(slots[i]), patterns.x(slots[i])});
      const double deviation = std::hypot(y - m.y, x - m.x) / std::sqrt(2.0);
      double pull = 1;
      if (deviation > options.position_outlier_sigma * map.sigma_px) {
        totals[1] += 1;
      } else {
        pull = options.position_regularisation * (1 - corrections[i].trust);
      }
      y += pull * (m.y - y);
      x += pull * (m.x - x);
    }
  }
  for (const Index slot : slots) {
    totals[0] +=
        std::pow(state.y[at(slot)] - before_y[at(slot)], 2) + std::pow(state.x[at(slot)] - before_x[at(slot)], 2);
    state.placements[at(slot)].oy = -1;  // to be placed by cover()
  }
  sharing.sum(totals);
  return {std::sqrt(totals[0] / sums[2]), static_cast<Index>(totals[1])};
}

}  // namespace farfield::techniques::ptychography
