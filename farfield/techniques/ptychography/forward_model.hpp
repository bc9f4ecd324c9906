#pragma once
// One pattern: probe and object -> exit waves -> detector -> comparison with the counts -> back.

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
  /// w.psi at the sample -> the modulus step of `task` at the detector -> w.psi at the sample, or, without `back`, only
  /// the sums (w.psi is spoilt).
  ModulusSums at_detector(const ModulusTask& task, Workspace& w, bool back) const;

  const Kernels& kernels() const { return *kernels_; }
  const operators::Propagator& propagator() const { return propagator_; }
  const Patterns& patterns() const { return *patterns_; }
  /// What the modulus kernel needs for a slot, with psi = w.psi and no background gradient.
  ModulusTask task(const State&, Index slot, const Workspace& w) const;

private:
  const Kernels* kernels_;
  operators::Propagator propagator_;
  const Patterns* patterns_;
  const core::Array<float, 2>* valid_;
  float saturation_;
  Likelihood likelihood_;
};

}  // namespace farfield::techniques::ptychography
