#include "farfield/techniques/ptychography/forward_model.hpp"

#include <algorithm>

namespace farfield::techniques::ptychography {

Workspace::Workspace(Shape shape, int modes)
    : psi_store({modes, shape.ny, shape.nx}),
      shifted_store({modes, shape.ny, shape.nx}),
      term({shape.ny, shape.nx}),
      varied({shape.ny, shape.nx}),
      row({row_scratch(shape.nx)}),
      psi(static_cast<std::size_t>(modes)),
      p(static_cast<std::size_t>(modes)) {
  reset();
}

void Workspace::reset() {
  const Index n = term.size();
  for (std::size_t m = 0; m < psi.size(); ++m) psi[m] = psi_store.data() + static_cast<Index>(m) * n;
}

namespace {

/// Mode m as this pattern sees it before the shift: mode 0 varies with the eigen-probes.
const cfloat* unshifted_mode(const Kernels& k, const State& state, Index slot, int m, Workspace& w) {
  const int opr = state.opr_modes();
  if (m > 0 || opr == 0) return state.probe_mode(m);
  const Index n = state.shape.size();
  std::copy(state.probe.data(), state.probe.data() + n, w.varied.data());
  for (int e = 0; e < opr; ++e)
    k.axpy(n, state.opr_weights[static_cast<std::size_t>(slot * opr + e)], state.eigen_probes.data() + e * n,
           w.varied.data());
  return w.varied.data();
}

}  // namespace

void ForwardModel::exit_waves(const State& state, Index slot, Workspace& w) const {
  const auto& place = state.placements[static_cast<std::size_t>(slot)];
  const cfloat* object = state.window(slot);
  for (int m = 0; m < state.modes(); ++m) {
    const cfloat* probe = unshifted_mode(*kernels_, state, slot, m, w);
    cfloat* out = w.shifted_store.data() + m * state.shape.size();
    kernels_->exit_wave(state.shape, place.shift, probe, object, state.object_stride(), out,
                        w.psi[static_cast<std::size_t>(m)], w.row.data());
    w.p[static_cast<std::size_t>(m)] = place.shift.identity ? probe : out;
  }
}

void ForwardModel::shifted_probes(const State& state, Index slot, Workspace& w) const {
  for (int m = 0; m < state.modes(); ++m)
    w.p[static_cast<std::size_t>(m)] = shifted(state, slot, unshifted_mode(*kernels_, state, slot, m, w),
                                               w.shifted_store.data() + m * state.shape.size(), w);
}

const cfloat* ForwardModel::shifted(const State& state, Index slot, const cfloat* tile, cfloat* out,
                                    Workspace& w) const {
  const auto& shift = state.placements[static_cast<std::size_t>(slot)].shift;
  if (shift.identity) return tile;
  kernels_->exit_wave(state.shape, shift, tile, nullptr, 0, out, nullptr, w.row.data());
  return out;
}

ModulusTask ForwardModel::task(const State& state, Index slot, const Workspace& w) const {
  ModulusTask t;
  t.n = state.shape.size();
  t.modes = state.modes();
  t.psi = w.psi.data();
  t.counts = patterns_->counts(slot);
  t.dtype = patterns_->dtype();
  t.valid = valid_->empty() ? nullptr : valid_->data();
  t.saturation = saturation_;
  t.background = state.background.empty() ? nullptr : state.background.data();
  t.intensity_scale = propagator_.intensity_scale();
  t.residual_scale = propagator_.adjoint_scale();
  t.likelihood = likelihood_;
  return t;
}

ModulusSums ForwardModel::at_detector(const ModulusTask& task, Workspace& w, bool back) const {
  if (!propagator_.has_around(task.modes)) {
    for (cfloat* psi : w.psi) propagator_.forward(psi);
    const ModulusSums sums = kernels_->modulus(task);
    if (back)
      for (cfloat* psi : w.psi) propagator_.adjoint(psi);
    return sums;
  }
  struct Visitor {
    const Kernels& kernels;
    const ModulusTask& task;
    Index nx;
    ModulusLanes lanes{};
    ModulusSums sums{};
  } visitor{*kernels_, task, patterns_->shape().nx};
  const auto visit = [](void* context, const math::FftBlock& block) {
    Visitor& v = *static_cast<Visitor*>(context);
    v.kernels.modulus_block(v.task, v.nx, block, v.lanes);
    if (block.first_row + 1 == block.row_step) v.lanes.gather(v.sums);  // the last block of its columns
  };
  if (back) propagator_.around(w.psi, visit, &visitor);
  else propagator_.visit(w.psi, visit, &visitor);
  return visitor.sums;
}

ModulusSums ForwardModel::residuals(const State& state, Index slot, Workspace& w, bool newton) const {
  ModulusTask t = task(state, slot, w);
  t.newton = newton;
  t.background_gradient = w.background_gradient.empty() ? nullptr : w.background_gradient.data();
  return at_detector(t, w, true);
}

ModulusSums ForwardModel::compare(const State& state, Index slot, Workspace& w) const {
  return at_detector(task(state, slot, w), w, false);
}

}  // namespace farfield::techniques::ptychography
