#include "farfield/techniques/ptychography/batch_update.hpp"

#include <algorithm>

#include "farfield/math/complex.hpp"

namespace farfield::techniques::ptychography {

void BatchUpdate::prepare(const Pass& pass) {
  const State& s = pass.state;
  const auto threads = static_cast<std::size_t>(pass.pool.size());
  if (shares_.size() == threads && shares_[0].probe.extents() == s.probe.extents()) return;
  shares_.clear();
  shares_.resize(threads);
  for (Share& share : shares_) {
    share.probe = core::Array<cfloat, 3>(s.probe.extents());
    share.object2 = core::Array<float, 2>({s.shape.ny, s.shape.nx});
  }
}

ModulusSums BatchUpdate::visit(Pass& pass, const std::vector<Index>& batch, Index object2_stride) {
  prepare(pass);
  const State& s = pass.state;
  box_ = {s.object.extent(0), s.object.extent(1), 0, 0};
  for (const Index slot : batch) {
    const auto& p = s.placements[static_cast<std::size_t>(slot)];
    box_ = {std::min(box_.y0, p.oy), std::min(box_.x0, p.ox), std::max(box_.y1, p.oy + s.shape.ny),
            std::max(box_.x1, p.ox + s.shape.nx)};
  }
  pass.pool.run([&](int thread) { visit(pass, batch, object2_stride, thread); });
  ModulusSums total;
  for (const Share& share : shares_) total += share.sums;
  if (pass.update_probe) probe_patterns_ += static_cast<Index>(batch.size());
  return total;
}

void BatchUpdate::visit(Pass& pass, const std::vector<Index>& batch, Index object2_stride, int thread) {
  const State& s = pass.state;
  const Kernels& k = pass.model.kernels();
  Share& share = shares_[static_cast<std::size_t>(thread)];
  Workspace& w = pass.workspaces[static_cast<std::size_t>(thread)];
  const Index stride = s.object_stride(), width = box_.width();
  const auto area = static_cast<std::size_t>(box_.height() * width);
  share.object.assign(area, cfloat{});
  share.illumination.assign(area, 0.0F);
  share.sums = {};
  share.steps = {};
  share.strongest = 0;
  for (Index i = thread; i < static_cast<Index>(batch.size()); i += pass.pool.size()) {
    const Index slot = batch[static_cast<std::size_t>(i)];
    pass.model.exit_waves(s, slot, w);
    const ModulusSums sums = pass.model.residuals(s, slot, w, true);
    share.sums += sums;
    pass.observe(slot, sums, w);
    const auto& place = s.placements[static_cast<std::size_t>(slot)];
    const cfloat* window = s.window(slot);
    const Index at = (place.oy - box_.y0) * width + place.ox - box_.x0;
    for (int m = 0; m < s.modes(); ++m) {
      const auto mode = static_cast<std::size_t>(m);
      cfloat* g = share.object.data() + at;
      float* l = share.illumination.data() + at;
      if (pass.update_probe && (m == 0 || pass.update_modes))
        k.back_project(s.shape, place.shift, w.psi[mode], w.p[mode], window, stride, g, width, l, &share.probe(m, 0, 0),
                       w.term.data(), w.row.data());
      else k.gradients(s.shape, w.psi[mode], w.p[mode], window, stride, g, width, l, nullptr);
    }
    if (!pass.update_probe) continue;
    ++share.patterns;
    if ((probe_patterns_ + i) % object2_stride == 0) {  // the same patterns, however many threads
      ++share.sampled;
      for (Index y = 0; y < s.shape.ny; ++y) k.add_abs2(s.shape.nx, window + y * stride, &share.object2(y, 0));
    }
  }
}

void BatchUpdate::update_object(Pass& pass, float keep, float floor, bool optimal, double step) {
  State& s = pass.state;
  const Kernels& k = pass.model.kernels();
  if (!pass.update_object || box_.height() <= 0) return;
  const int parts = static_cast<int>(shares_.size());
  Share& first = shares_[0];
  pass.pool.split(box_.height(), [&](Index begin, Index end, int thread) {
    const auto at = static_cast<std::size_t>(begin * box_.width()), last = static_cast<std::size_t>(end * box_.width());
    for (std::size_t t = 1; t < shares_.size(); ++t)
      for (std::size_t i = at; i < last; ++i) first.illumination[i] += shares_[t].illumination[i];
    shares_[static_cast<std::size_t>(thread)].strongest =
        k.largest(static_cast<Index>(last - at), first.illumination.data() + at);
  });
  float strongest = 0;
  for (const Share& share : shares_) strongest = std::max(strongest, share.strongest);
  if (strongest == 0) return;
  pass.pool.split(box_.height(), [&](Index begin, Index end, int thread) {
    const Index at = begin * box_.width();
    std::vector<const cfloat*> g;
    for (const Share& share : shares_) g.push_back(share.object.data() + at);
    shares_[static_cast<std::size_t>(thread)].steps =
        k.direction((end - begin) * box_.width(), parts, g.data(), first.illumination.data() + at, keep,
                    floor * strongest, first.object.data() + at);
  });
  if (optimal) {
    StepSums sums;
    for (const Share& share : shares_) sums += share.steps;
    step *= sums.aa > 0 ? sums.a_chi / sums.aa : 0;
  }
  object_acceleration_.add(k, pass.pool, s.object.view(), box_.y0, box_.x0,
                           {first.object.data(), {box_.height(), box_.width()}}, static_cast<float>(step));
}

BatchUpdate::Share& BatchUpdate::gather_probe(Pass& pass) {
  const Kernels& k = pass.model.kernels();
  Share& first = shares_[0];
  for (std::size_t t = 1; t < shares_.size(); ++t) {
    Share& other = shares_[t];
    k.axpy(first.probe.size(), 1, other.probe.data(), first.probe.data());
    other.probe.fill({});
    for (Index i = 0; i < first.object2.size(); ++i) first.object2.data()[i] += other.object2.data()[i];
    other.object2.fill(0);
    first.patterns += std::exchange(other.patterns, 0);
    first.sampled += std::exchange(other.sampled, 0);
  }
  const float scale = first.sampled > 0 ? static_cast<float>(first.patterns) / static_cast<float>(first.sampled) : 0;
  for (float& v : first.object2) v *= scale;
  return first;
}

void BatchUpdate::add_to_probe(Pass& pass, float step) {
  State& s = pass.state;
  Share& first = shares_[0];
  const std::array<Index, 2> flat{s.modes() * s.shape.ny, s.shape.nx};
  probe_acceleration_.add(pass.model.kernels(), pass.pool, core::View<cfloat, 2>(s.probe.data(), flat), 0, 0,
                          core::View<const cfloat, 2>(first.probe.data(), flat), step);
  first.probe.fill({});
  first.object2.fill(0);
  first.patterns = first.sampled = probe_patterns_ = 0;
}

void BatchUpdate::update_probe_optimally(Pass& pass, double step) {
  if (probe_patterns_ == 0 && (pass.sharing.size() == 1 || !pass.update_probe)) return;
  Share& first = gather_probe(pass);
  pass.sharing.sum(std::span(first.probe.data(), static_cast<std::size_t>(first.probe.size())));
  const Index n = first.object2.size();
  double gg = 0, go = 0;
  for (int m = 0; m < pass.state.modes(); ++m)
    for (Index i = 0; i < n; ++i) {
      const double g2 = static_cast<double>(math::abs2(first.probe.data()[m * n + i]));
      gg += g2;
      go += g2 * static_cast<double>(first.object2.data()[i]);
    }
  pass.sharing.sum(std::span(&go, 1));
  add_to_probe(pass, go > 0 ? static_cast<float>(step * gg / go) : 0.0F);
}

void BatchUpdate::update_probe_by_pixel(Pass& pass, float keep, float floor, double step) {
  if (probe_patterns_ == 0) return;
  Share& first = gather_probe(pass);
  const Index n = first.object2.size();
  const float least = floor * pass.model.kernels().largest(n, first.object2.data());
  if (least > 0)
    for (int m = 0; m < pass.state.modes(); ++m)
      for (Index i = 0; i < n; ++i) first.probe.data()[m * n + i] /= keep * first.object2.data()[i] + least;
  add_to_probe(pass, least > 0 ? static_cast<float>(step) : 0.0F);
}

void BatchUpdate::forget() {
  object_acceleration_.forget();
  probe_acceleration_.forget();
}

void BatchUpdate::save(technique::Sink& sink) const {
  object_acceleration_.save(sink, "object");
  probe_acceleration_.save(sink, "probe");
}

void BatchUpdate::restore(technique::Source& source) {
  object_acceleration_.restore(source, "object");
  probe_acceleration_.restore(source, "probe");
}

}  // namespace farfield::techniques::ptychography
