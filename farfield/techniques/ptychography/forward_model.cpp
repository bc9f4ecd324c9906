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

const cfloat* ForwardModel::unshifted_mode(const State& state, Index slot, int m, Workspace& w) const {
  const int opr = state.opr_modes();
  if (m > 0 || opr == 0) return state.probe_mode(m);
  const Index n = state.shape.size();
  std::copy(state.probe.data(), state.probe.data() + n, w.varied.data());
  for (int e = 0; e < opr; ++e)
    kernels_->axpy(n, state.opr_weights[static_cast<std::size_t>(slot * opr + e)], state.eigen_probes.data() + e * n,
                   w.varied.data());
  return w.varied.data();
}

void ForwardModel::exit_wave(const State& state, Index slot, int m, RowRange rows, const cfloat* probe,
                             Workspace& w) const {
  const SubPixelShift& shift = state.placements[static_cast<std::size_t>(slot)].shift;
  cfloat* shifted = w.shifted_store.data() + m * state.shape.size();
  kernels_->exit_wave(state.shape, rows, shift, probe, state.window(slot), state.object_stride(), shifted,
                      w.psi[static_cast<std::size_t>(m)], w.row.data());
  w.p[static_cast<std::size_t>(m)] = shift.identity ? probe : shifted;
}

void ForwardModel::exit_waves(const State& state, Index slot, Workspace& w) const {
  for (int m = 0; m < state.modes(); ++m)
    exit_wave(state, slot, m, all_rows(state.shape), unshifted_mode(state, slot, m, w), w);
}

void ForwardModel::fetch_counts(const ModulusTask& task, RowRange rows) const {
  constexpr Index kLine = 64;
  const Index row = patterns_->shape().nx * core::item_size(task.dtype);
  const auto* counts = static_cast<const char*>(task.counts);
  for (Index at = rows.begin * row; at < rows.end * row; at += kLine) __builtin_prefetch(counts + at, 0, 2);
}

void ForwardModel::shifted_probes(const State& state, Index slot, Workspace& w) const {
  for (int m = 0; m < state.modes(); ++m)
    w.p[static_cast<std::size_t>(m)] =
        shifted(state, slot, unshifted_mode(state, slot, m, w), w.shifted_store.data() + m * state.shape.size(), w);
}

const cfloat* ForwardModel::shifted(const State& state, Index slot, const cfloat* tile, cfloat* out,
                                    Workspace& w) const {
  const auto& shift = state.placements[static_cast<std::size_t>(slot)].shift;
  if (shift.identity) return tile;
  kernels_->exit_wave(state.shape, all_rows(state.shape), shift, tile, nullptr, 0, out, nullptr, w.row.data());
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

namespace {

/// What a transform calls with each part of the detector planes.
struct ModulusVisitor {
  const Kernels& kernels;
  const ModulusTask& task;
  Index nx;
  ModulusLanes lanes{};
  ModulusSums sums{};
  static void visit(void* context, const math::FftBlock& block) {
    auto& v = *static_cast<ModulusVisitor*>(context);
    v.kernels.modulus_block(v.task, v.nx, block, v.lanes);
    if (block.first_row + 1 == block.row_step) v.lanes.gather(v.sums);  // the last block of its columns
  }
};

}  // namespace

ModulusSums ForwardModel::at_detector(const ModulusTask& task, Workspace& w, bool back) const {
  if (!propagator_.has_parts(task.modes)) {
    for (cfloat* psi : w.psi) propagator_.forward(psi);
    const ModulusSums sums = kernels_->modulus(task);
    if (back)
      for (cfloat* psi : w.psi) propagator_.adjoint(psi);
    return sums;
  }
  ModulusVisitor visitor{*kernels_, task, patterns_->shape().nx};
  if (back) propagator_.transform().around(w.psi, ModulusVisitor::visit, &visitor);
  else propagator_.transform().visit(w.psi, ModulusVisitor::visit, &visitor);
  return visitor.sums;
}

ModulusSums ForwardModel::columns(const ModulusTask& task, Workspace& w) const {
  ModulusVisitor visitor{*kernels_, task, patterns_->shape().nx};
  propagator_.transform().around_columns(w.psi, ModulusVisitor::visit, &visitor);
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
