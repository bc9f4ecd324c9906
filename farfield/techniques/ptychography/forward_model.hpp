#pragma once
// One pattern: probe and object -> exit waves -> detector -> comparison with the counts -> back.

#include <algorithm>
#include <vector>

#include "farfield/core/array.hpp"
#include "farfield/operators/propagator.hpp"
#include "farfield/techniques/ptychography/kernels.hpp"
#include "farfield/techniques/ptychography/state.hpp"

namespace farfield::techniques::ptychography {

/// What the eigen-probes learn from the patterns of one thread.
struct ProbeVariationSums {
  core::Array<cfloat, 3> gradient;      ///< (opr mode, y, x): sum of weight S^T conj(O) chi
  std::vector<double> weights2;         ///< by opr mode: sum of weight^2
  double probe_power = 0, exit_power = 0;  ///< sums of |P|^2 and |P O|^2
  core::Array<cfloat, 2> tile;          ///< scratch
};

/// Scratch of one thread, small enough to stay in the level-2 cache at 128^2.
struct Workspace {
  Workspace(Shape shape, int modes);
  core::Array<cfloat, 3> psi_store, shifted_store;  ///< (mode, y, x)
  core::Array<cfloat, 2> term;                      ///< tile
  core::Array<cfloat, 2> varied;                    ///< tile: mode 0 with its eigen-probes added
  core::Array<float, 1> row;                        ///< row_scratch(nx)
  // Sums over this thread's patterns, only where they are wanted:
  core::Array<float, 2> background_gradient;  ///< tile, added to by residuals(); see refine_background.hpp
  ProbeVariationSums variation;               ///< added to by Pass::observe(); see refine_probe_variation.hpp
  std::vector<cfloat*> psi;         ///< exit waves, then residuals chi, by mode; may be pointed elsewhere
  std::vector<const cfloat*> p;     ///< shifted probes by mode, as exit_waves() left them
  /// psi points at psi_store again.
  void reset();
};

class ForwardModel {
public:
  ForwardModel(const Kernels& kernels, operators::Propagator propagator, const Patterns& patterns,
               const core::Array<float, 2>& valid, float saturation, Likelihood likelihood)
      : kernels_(&kernels),
        propagator_(std::move(propagator)),
        patterns_(&patterns),
        valid_(&valid),
        saturation_(saturation),
        likelihood_(likelihood) {}

  /// w.psi_m = (S p_m) o and w.p_m = S p_m for a ready slot.
  void exit_waves(const State&, Index slot, Workspace& w) const;
  /// w.p only, no exit waves.
  void shifted_probes(const State&, Index slot, Workspace& w) const;
  /// Any tile shifted as the slot's probe is; returns `tile` itself where there is no shift.
  const cfloat* shifted(const State&, Index slot, const cfloat* tile, cfloat* out, Workspace& w) const;

  /// w.psi: exit waves -> residuals chi at the sample, by way of the detector.
  /// `newton`: see ModulusTask; without it chi is the (negative) gradient of the cost.
  ModulusSums residuals(const State&, Index slot, Workspace& w, bool newton = false) const;
  /// As residuals(), but only the sums (one propagation; w.psi is spoilt).
  ModulusSums compare(const State&, Index slot, Workspace& w) const;

  /// From the sample to the detector, the modulus step there, and back, for tiles that are made and taken row by row
  /// while these are in cache: make(mode, range) writes rows of w.psi; when all have been to the detector,
  /// compared(sums) is told, and take(mode, range) finds the rows of the residuals. Ranges come in order, mode by mode.
  template <class Make, class Compared, class Take>
  ModulusSums through(const ModulusTask& task, Workspace& w, Make&& make, Compared&& compared, Take&& take) const {
    const Shape shape = patterns_->shape();
    const bool parts = propagator_.has_parts(task.modes);
    // Some rows at a time: the kernels share what neighbouring rows need.
    const Index step = parts ? std::max<Index>(kRowsTogether, propagator_.transform().row_step()) : shape.ny;
    for (int m = 0; m < task.modes; ++m)
      for (Index y = 0; y < shape.ny; y += step) {
        if (m == 0) fetch_counts(task, {y, y + step});
        make(m, RowRange{y, y + step});
        if (parts) propagator_.transform().forward_rows(w.psi[static_cast<std::size_t>(m)] + y * shape.nx, step);
      }
    const ModulusSums sums = parts ? columns(task, w) : at_detector(task, w, true);
    compared(sums);
    for (int m = 0; m < task.modes; ++m)
      for (Index y = 0; y < shape.ny; y += step) {
        if (parts) propagator_.transform().inverse_rows(w.psi[static_cast<std::size_t>(m)] + y * shape.nx, step);
        take(m, RowRange{y, y + step});
      }
    return sums;
  }
  /// exit_waves() and residuals() with take() as above; afterwards w.psi and w.p are as those two leave them.
  template <class Take>
  ModulusSums residuals_by_rows(const State& state, Index slot, Workspace& w, bool newton, Take&& take) const {
    ModulusTask t = task(state, slot, w);
    t.newton = newton;
    t.background_gradient = w.background_gradient.empty() ? nullptr : w.background_gradient.data();
    const cfloat* probe = nullptr;
    return through(
        t, w,
        [&](int m, RowRange rows) {
          if (rows.begin == 0) probe = unshifted_mode(state, slot, m, w);
          exit_wave(state, slot, m, rows, probe, w);
        },
        [](const ModulusSums&) {}, take);
  }
  /// w.psi at the sample -> the modulus step of `task` at the detector -> w.psi at the sample, or, without `back`, only
  /// the sums (w.psi is spoilt).
  ModulusSums at_detector(const ModulusTask& task, Workspace& w, bool back) const;

  const Kernels& kernels() const { return *kernels_; }
  const operators::Propagator& propagator() const { return propagator_; }
  const Patterns& patterns() const { return *patterns_; }
  /// What the modulus kernel needs for a slot, with psi = w.psi and no background gradient.
  ModulusTask task(const State&, Index slot, const Workspace& w) const;

private:
  static constexpr Index kRowsTogether = 4;  // divides the sides of all transforms that have parts
  /// Mode m as this pattern sees it before the shift: mode 0 varies with the eigen-probes.
  const cfloat* unshifted_mode(const State&, Index slot, int m, Workspace& w) const;
  /// Rows of w.psi[m] and w.p[m].
  void exit_wave(const State&, Index slot, int m, RowRange, const cfloat* probe, Workspace& w) const;
  /// The counts' way from memory takes as long as these rows' exit wave.
  void fetch_counts(const ModulusTask& task, RowRange rows) const;
  /// The columns' part of the transforms with the modulus step in their middle.
  ModulusSums columns(const ModulusTask& task, Workspace& w) const;

  const Kernels* kernels_;
  operators::Propagator propagator_;
  const Patterns* patterns_;
  const core::Array<float, 2>* valid_;
  float saturation_;
  Likelihood likelihood_;
};

}  // namespace farfield::techniques::ptychography
