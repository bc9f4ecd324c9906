// Difference map (Thibault et al. 2009, doi:10.1016/j.ultramic.2008.12.011) and relaxed averaged alternating
// reflections (Luke 2005, doi:10.1088/0266-5611/21/1/004; for ptychography Marchesini et al. 2016,
// doi:10.1107/S1600576716008074) on the exit waves psi_j of all patterns. Two projections:
//   P_M  replaces the modulus of the transform by the measured one: P_M u = u + chi(u),
//   P_O  replaces all waves by P O_j with the object and probe that are nearest to them.
// Difference map:  psi' = psi + beta (P_M(2 P_O psi - psi) - P_O psi)
// RAAR:            psi' = beta / 2 (R_O R_M psi + psi) + (1 - beta) P_M psi,   R = 2 P - 1
// Because P_O is linear in the waves for a given pair of factors, one visit to each pattern does it all: with
// the object and probe of the last visits, the difference map keeps
//   w = psi,                              transforms 2 P O - w,  overlaps (1 - beta) w + beta (P O + chi), and keeps
//   that;
// RAAR, whose psi' = w + beta P_O(2 P_M psi - psi), keeps
//   w = beta psi + (1 - 2 beta) P_M psi,  transforms psi = w + beta P O,  overlaps 2 P_M psi - psi.
//
// P_O minimises sum |q_j - P O_j|^2 over the waves q to be overlapped. As a visit adds up the products of q - P O
// with the factors it began with, the object is solved first and the probe in view of the new object O':
//   O' = O + sum conj(P) (q - P O) / sum |P|^2,
//   P' = P + (sum conj(O) (q - P O) - P sum conj(O) (O' - O)) / sum |O|^2,
// which to first order in the changes is the alternating minimisation of the papers (object, then probe with O').
//
// Noise puts the two sets apart, and the difference map then walks on for ever along their distance. As usual
// (Giewekemeyer et al. 2010, doi:10.1073/pnas.0905846107) its P_M therefore ends where a pattern is within its noise.

#include <algorithm>
#include <cmath>

#include "farfield/math/complex.hpp"
#include "farfield/techniques/ptychography/algorithm.hpp"
#include "farfield/techniques/ptychography/checkpoint.hpp"
#include "farfield/techniques/ptychography/full_batch.hpp"
#include "farfield/techniques/ptychography/projection_kernels.hpp"

namespace farfield::techniques::ptychography {
namespace {

/// One algorithm as linear combinations of the model, the kept wave and the residual.
struct Scheme {
  WaveMix transform;       ///< of P O and w: what is propagated
  WaveMix store, overlap;  ///< of P O, w and chi: the next w, and q - P O
  WaveMix start;           ///< of P O: w of a new pattern
  double tolerance = 0;    ///< misfit, relative to the norm of a pattern's amplitudes, at which P_M ends
};

Scheme difference_map(double b, double tolerance) {
  const auto beta = static_cast<float>(b);
  const WaveMix psi{beta, 1 - beta, beta};
  return {{2, -1, 0}, psi, {beta - 1, 1 - beta, beta}, {1, 0, 0}, tolerance};
}

Scheme raar(double b) {
  const auto beta = static_cast<float>(b);
  // psi = w + beta P O and P_M psi = psi + chi; w' = (1 - beta) psi + (1 - 2 beta) chi, q = psi + 2 chi.
  return {{beta, 1, 0}, {(1 - beta) * beta, 1 - beta, 1 - 2 * beta}, {beta - 1, 1, 2}, {1 - beta, 0, 0}, 0};
}

/// Of scans that are not small every so many patterns, in turns, are compared with the model P O itself; the cost of a
/// pass is theirs.
constexpr Index kCostStride = 16;
/// An object pixel is held back like this much of the probe's strongest pixel: the reflections would blow up the dark.
constexpr float kInertia = 0.1F;
/// The probe goes this part of its way: solved from the same visit as the object, it would overshoot.
constexpr double kProbePart = 0.5;

class Projection final : public Algorithm {
public:
  explicit Projection(const Options& o)
      : scheme_(o.algorithm == AlgorithmKind::dm ? difference_map(o.dm_beta, o.dm_tolerance) : raar(o.raar_beta)) {}

  bool full_batch() const override { return true; }
  double bytes_per_pattern(Shape shape, int modes) const override {
    return static_cast<double>(shape.size()) * modes * static_cast<double>(sizeof(cfloat));
  }

  ModulusSums iterate(Pass& pass) override {
    if (stopped(pass)) return {};  // later it goes to the end: half of the waves cannot be moved
    follow_positions(pass);
    const ModulusSums sums = visit(pass);
    solve(pass);
    return sums;
  }

  /// The waves start again from the model.
  void forget() override { waves_.clear(); }

  void save(technique::Sink& sink) const override {
    std::vector<Index> corners;
    for (const Wave& wave : waves_)
      corners.insert(corners.end(), {wave.y, wave.x, wave.w.extent(0), wave.w.extent(1), wave.w.extent(2)});
    put_values(sink, "waves", corners);
    for (std::size_t slot = 0; slot < waves_.size(); ++slot)
      if (!waves_[slot].w.empty()) put_values(sink, "wave" + std::to_string(slot), waves_[slot].w);
  }

  void restore(technique::Source& source) override {
    waves_.clear();
    const auto corners = get_values<Index>(source, "waves");
    for (std::size_t i = 0; i + 5 <= corners.size(); i += 5) {
      Wave& wave = waves_.emplace_back(Wave{{}, corners[i], corners[i + 1]});
      if (corners[i + 2] == 0) continue;
      wave.w = core::Array<cfloat, 3>({corners[i + 2], corners[i + 3], corners[i + 4]});
      get_values(source, "wave" + std::to_string(i / 5), wave.w);
    }
  }

private:
  struct Wave {
    core::Array<cfloat, 3> w;  ///< (mode, y, x); empty: the pattern is new
    Index y = 0, x = 0;  ///< window's corner in whole pixels, as positions count
  };

  static int moving_modes(const Pass& pass) {
    return !pass.update_probe ? 0 : pass.update_modes ? pass.state.modes() : 1;
  }

  /// A wave lies in the frame of its window: where a position has passed a whole pixel, it is rolled over.
  void follow_positions(const Pass& pass) {
    const State& s = pass.state;
    if (waves_.size() < s.y.size()) waves_.resize(s.y.size());
    for (const Index slot : pass.slots) {
      Wave& wave = waves_[static_cast<std::size_t>(slot)];
      const Placement& place = s.placements[static_cast<std::size_t>(slot)];
      const Index y = place.oy + static_cast<Index>(s.origin_y), x = place.ox + static_cast<Index>(s.origin_x);
      if (!wave.w.empty() && (y != wave.y || x != wave.x)) {
        const auto before = wave.w.clone();
        const auto wrap = [](Index i, Index n) { return ((i % n) + n) % n; };
        for (Index m = 0; m < wave.w.extent(0); ++m)
          for (Index v = 0; v < s.shape.ny; ++v)
            for (Index u = 0; u < s.shape.nx; ++u)
              wave.w(m, v, u) = before(m, wrap(v + y - wave.y, s.shape.ny), wrap(u + x - wave.x, s.shape.nx));
      }
      wave.y = y;
      wave.x = x;
    }
  }

  ModulusSums visit(Pass& pass) {
    batch_.begin(pass);
    const bool compare_all = pass.refine_positions ||
                             (pass.options.fit_intensity && pass.options.intensity_plan.active(pass.iteration)) ||
                             !pass.workspaces[0].background_gradient.empty();
    compared_.assign(waves_.size(), compare_all ? 1 : 0);
    const auto n = static_cast<Index>(pass.slots.size()), apart = n < 4 * kCostStride ? 1 : kCostStride;
    for (Index i = pass.iteration % apart; i < n; i += apart)
      compared_[static_cast<std::size_t>(pass.slots[static_cast<std::size_t>(i)])] = 1;
    pass.pool.run([&](int thread) {
      const auto& slots = batch_.share(thread);
      for (std::size_t i = 0; i < slots.size(); ++i) {
        visit(pass, slots[i], i + 1 < slots.size() ? slots[i + 1] : -1, thread);
      }
    });
    batch_.finish(pass.pool, pass.model.kernels(), pass.sharing);
    return batch_.total();
  }

  void visit(Pass& pass, Index slot, Index next, int thread) {
    State& s = pass.state;
    const Kernels& k = pass.model.kernels();
    const ProjectionKernels& projection = cpu_projection_kernels(k.isa);
    const Index n = s.shape.size(), stride = s.object_stride();
    Workspace& w = pass.workspaces[static_cast<std::size_t>(thread)];
    Wave& wave = waves_[static_cast<std::size_t>(slot)];
    const Placement& place = s.placements[static_cast<std::size_t>(slot)];
    w.reset();

    if (wave.w.empty()) {
      pass.model.exit_waves(s, slot, w);
      wave.w = core::Array<cfloat, 3>(s.probe.extents());
      for (int m = 0; m < s.modes(); ++m)
        k.axpy(n, scheme_.start.model, w.psi[static_cast<std::size_t>(m)], wave.w.data() + m * n);
    }
    const bool compared = compared_[static_cast<std::size_t>(slot)] != 0;
    ModulusSums sums = pass.observations[static_cast<std::size_t>(slot)].sums;
    if (pass.refine_positions) {
      pass.model.exit_waves(s, slot, w);
      sums = pass.model.residuals(s, slot, w);
    } else if (compared) {
      pass.model.exit_waves(s, slot, w);
      ModulusTask task = pass.model.task(s, slot, w);
      task.background_gradient = w.background_gradient.empty() ? nullptr : w.background_gradient.data();
      sums = pass.model.at_detector(task, w, false);
    }
    pass.observe(slot, sums, w);
    if (compared) batch_.sums(thread) += sums;

    const Wave* following = next >= 0 ? &waves_[static_cast<std::size_t>(next)] : nullptr;
    const bool fetch = following != nullptr && !following->w.empty();
    WaveMix store = scheme_.store, overlap = scheme_.overlap;
    FullBatch::Rows pieces[2];
    const int count = batch_.rows(s, slot, thread, pieces);
    const int moving = moving_modes(pass);
    pass.model.through(
        pass.model.task(s, slot, w), w,
        [&](int m, RowRange rows) {
          cfloat* shifted = w.shifted_store.data() + m * n;
          projection.wave(s.shape, rows, place.shift, scheme_.transform, s.probe_mode(m), s.window(slot), stride,
                          wave.w.data() + m * n, shifted, w.psi[static_cast<std::size_t>(m)],
                          fetch ? following->w.data() + m * n : nullptr, w.row.data());
          w.p[static_cast<std::size_t>(m)] = place.shift.identity ? s.probe_mode(m) : shifted;
        },
        [&](const ModulusSums& misfit) {
          const double allowed = scheme_.tolerance * scheme_.tolerance * misfit.measured_intensity;
          const float part = misfit.cost > allowed ? static_cast<float>(1 - std::sqrt(allowed / misfit.cost)) : 0.0F;
          store.residual *= part;
          overlap.residual *= part;
        },
        [&](int m, RowRange rows) {
          const auto mm = static_cast<std::size_t>(m);
          for (int i = 0; i < count; ++i) {
            const FullBatch::Rows& piece = pieces[i];
            const RowRange part{std::max(rows.begin, piece.first), std::min(rows.end, piece.first + piece.count)};
            if (part.begin >= part.end) continue;
            projection.update(
                s.shape, part,
                {store, overlap, place.shift, w.p[mm], s.window(slot), stride, wave.w.data() + m * n, w.psi[mm],
                 piece.object - piece.first * stride, stride, piece.illumination - piece.first * stride,
                 m < moving ? batch_.probe_sum(thread) + m * n : nullptr, w.term.data(), w.row.data()});
          }
        });
  }

  void solve(Pass& pass) {
    State& s = pass.state;
    const Kernels& k = pass.model.kernels();
    const Index n = s.shape.size(), stride = s.object_stride();
    auto change_map = s.object.clone();  // the object before
    if (pass.update_object) {
      float strongest = 0;
      for (int m = 0; m < s.modes(); ++m) strongest += k.max_abs2(n, s.probe_mode(m));
      const float inertia = kInertia * strongest + 1e-30F, step = static_cast<float>(pass.options.object_step);
      pass.pool.split(s.object.extent(0), [&](Index begin, Index end, int) {
        for (Index i = begin * stride; i < end * stride; ++i) {
          cfloat& o = s.object.data()[i];
          o += step * batch_.object().data()[i] / (batch_.illumination().data()[i] + inertia);
        }
      });
    }
    const int moving = moving_modes(pass);
    if (moving == 0) return;
    // sum over the windows of conj(O) (O' - O) and |O|^2: both as maps of the object first, windows are only added up.
    core::Array<float, 2> weight_map(s.object.extents());
    pass.pool.split(s.object.extent(0), [&](Index begin, Index end, int) {
      for (Index i = begin * stride; i < end * stride; ++i) {
        const cfloat before = change_map.data()[i];
        weight_map.data()[i] = math::abs2(before);
        change_map.data()[i] = math::conj_mul(before, s.object.data()[i] - before);
      }
    });
    struct Tiles {
      core::Array<cfloat, 2> change;
      core::Array<float, 2> weight;
    };
    std::vector<Tiles> tiles(static_cast<std::size_t>(pass.pool.size()));
    pass.pool.run([&](int thread) {
      Tiles& tile = tiles[static_cast<std::size_t>(thread)];
      tile.change = core::Array<cfloat, 2>({s.shape.ny, s.shape.nx});
      tile.weight = core::Array<float, 2>({s.shape.ny, s.shape.nx});
      std::vector<Index> offsets;
      for (const Index slot : batch_.share(thread)) {
        const Placement& place = s.placements[static_cast<std::size_t>(slot)];
        offsets.push_back(place.oy * stride + place.ox);
      }
      cpu_projection_kernels(k.isa).add_windows(s.shape, change_map.data(), weight_map.data(), stride, offsets.data(),
                                                static_cast<Index>(offsets.size()), tile.change.data(),
                                                tile.weight.data());
    });
    core::Array<cfloat, 2>& changes = tiles[0].change;
    std::vector<double> weights(tiles[0].weight.data(), tiles[0].weight.data() + n);
    for (std::size_t t = 1; t < tiles.size(); ++t) {
      k.axpy(n, 1, tiles[t].change.data(), changes.data());
      for (Index i = 0; i < n; ++i)
        weights[static_cast<std::size_t>(i)] += static_cast<double>(tiles[t].weight.data()[i]);
    }
    pass.sharing.sum(std::span(changes.data(), static_cast<std::size_t>(n)));
    pass.sharing.sum(std::span(weights));
    const cfloat* change = changes.data();
    double mean = 0;
    for (const double w : weights) mean += w / static_cast<double>(n);
    const double power = k.norm2(s.probe.size(), s.probe.data());
    const auto least = static_cast<float>(0.5 * mean) + 1e-30F,
               step = static_cast<float>(kProbePart * pass.options.probe_step);
    for (int m = 0; m < moving; ++m)
      for (Index i = 0; i < n; ++i) {
        cfloat& p = s.probe_mode(m)[i];
        p += step / std::max(static_cast<float>(weights[static_cast<std::size_t>(i)]), least) *
             (batch_.probe().data()[m * n + i] - math::cmul(p, change[i]));
      }
    const float balance = static_cast<float>(std::sqrt(power / k.norm2(s.probe.size(), s.probe.data())));
    if (pass.update_object && balance > 0 && std::isfinite(balance)) {
      for (auto& p : s.probe) p *= balance;
      for (auto& o : s.object) o *= 1 / balance;
    }
  }

  Scheme scheme_;
  std::vector<Wave> waves_;  ///< by slot
  std::vector<std::uint8_t> compared_;  ///< by slot: compared with the model itself in this pass
  FullBatch batch_;
};

}  // namespace

std::unique_ptr<Algorithm> make_projection(const Options& options) { return std::make_unique<Projection>(options); }

}  // namespace farfield::techniques::ptychography
