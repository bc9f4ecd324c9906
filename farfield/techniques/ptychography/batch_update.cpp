#include "farfield/techniques/ptychography/batch_update.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace farfield::techniques::ptychography {

void BatchUpdate::prepare(const Pass& pass) {
  const State& s = pass.state;
  object_acceleration_.reserve(s.object.extents());
  const auto threads = static_cast<std::size_t>(pass.pool.size());
  if (shares_.size() == threads && shares_[0].probe.extents() == s.probe.extents()) return;
  shares_.clear();
  shares_.resize(threads);
  for (Share& share : shares_) {
    share.probe = core::Array<cfloat, 3>(s.probe.extents());
    share.object2 = core::Array<float, 2>({s.shape.ny, s.shape.nx});
  }
}

void BatchUpdate::Share::make_room(const Box& box) {
  const auto area = static_cast<std::size_t>(box.height() * box.width());
  if (object.size() >= area) return;
  object.resize(area);
  illumination.resize(area);
}

ModulusSums BatchUpdate::update_object(Pass& pass, const Round& round, const ObjectStep& step, Index object2_stride) {
  prepare(pass);
  for (Share& share : shares_) share.sums = {};
  if (round.lanes.size() == 1) {
    for (const Batch& batch : round.lanes[0]) update_together(pass, batch, step, object2_stride);
  } else {
    pass.pool.run([&](int thread) {
      for (auto lane = static_cast<std::size_t>(thread); lane < round.lanes.size();
           lane += static_cast<std::size_t>(pass.pool.size()))
        for (const Batch& batch : round.lanes[lane]) update_apart(pass, batch, step, object2_stride, thread);
    });
  }
  ModulusSums total;
  for (const Share& share : shares_) total += share.sums;
  if (pass.update_probe)
    for (const auto& lane : round.lanes)
      for (const Batch& batch : lane) probe_patterns_ += static_cast<Index>(batch.size());
  return total;
}

void BatchUpdate::visit(Pass& pass, const Box& box, Index slot, bool sample_object2, int thread) {
  const State& s = pass.state;
  const Kernels& k = pass.model.kernels();
  Share& share = shares_[static_cast<std::size_t>(thread)];
  Workspace& w = pass.workspaces[static_cast<std::size_t>(thread)];
  const Index stride = s.object_stride(), width = box.width();
  const auto& place = s.placements[static_cast<std::size_t>(slot)];
  const cfloat* window = s.window(slot);
  const Index at = (place.oy - box.y0) * width + place.ox - box.x0, nx = s.shape.nx;
  cfloat* g = share.object.data() + at;
  float* l = share.illumination.data() + at;
  const ModulusSums sums = pass.model.residuals_by_rows(s, slot, w, true, [&](int m, RowRange rows) {
    const auto mode = static_cast<std::size_t>(m);
    if (pass.update_probe && (m == 0 || pass.update_modes)) {
      k.back_project(s.shape, rows, place.shift, w.psi[mode], w.p[mode], window, stride, g, width, l,
                     &share.probe(m, 0, 0), w.term.data(), w.row.data());
    } else {
      const Index y = rows.begin;
      k.gradients({rows.end - y, nx}, w.psi[mode] + y * nx, w.p[mode] + y * nx, window + y * stride, stride,
                  g + y * width, width, l + y * width, nullptr);
    }
  });
  share.sums += sums;
  pass.observe(slot, sums, w);
  if (!pass.update_probe) return;
  ++share.patterns;
  if (!sample_object2) return;
  ++share.sampled;
  for (Index y = 0; y < s.shape.ny; ++y) k.add_abs2(s.shape.nx, 1, window + y * stride, &share.object2(y, 0));
}

void BatchUpdate::update_apart(Pass& pass, const Batch& batch, const ObjectStep& how, Index object2_stride,
                               int thread) {
  State& s = pass.state;
  const Kernels& k = pass.model.kernels();
  Share& share = shares_[static_cast<std::size_t>(thread)];
  const Box box = box_of(batch, s);
  share.make_room(box);
  const bool by_pattern = how.length == Length::by_pattern;
  if (by_pattern && share.kept.size() < batch.size()) share.kept.resize(batch.size());
  for (std::size_t i = 0; i < batch.size(); ++i) {
    visit(pass, box, batch[i], static_cast<Index>(i) % object2_stride == 0, thread);
    if (!by_pattern) continue;
    const Workspace& w = pass.workspaces[static_cast<std::size_t>(thread)];
    auto& kept = share.kept[i];
    const std::array<Index, 4> extents{2, s.modes(), s.shape.ny, s.shape.nx};
    if (kept.extents() != extents) kept = core::Array<cfloat, 4>(extents);
    for (std::size_t m = 0; m < w.psi.size(); ++m) {
      std::copy_n(w.psi[m], s.shape.size(), &kept(0, static_cast<Index>(m), 0, 0));
      std::copy_n(w.p[m], s.shape.size(), &kept(1, static_cast<Index>(m), 0, 0));
    }
  }
  const Index height = box.height(), width = box.width(), area = height * width;
  const float strongest = pass.update_object ? k.largest(area, share.illumination.data()) : 0;
  if (strongest > 0) {
    const cfloat* g = share.object.data();
    const StepSums sums =
        k.direction(area, 1, &g, share.illumination.data(), how.keep, how.floor * strongest, share.object.data());
    const double length = how.length != Length::by_batch ? 1 : sums.aa > 0 ? sums.a_chi / sums.aa : 0;
    const double step = how.step * length;
    if (by_pattern) scale_by_pattern(pass, batch, box, share);
    const core::View<const cfloat, 2> delta(share.object.data(), {height, width});
    object_acceleration_.add_rows(k, s.object.view(), box.y0, box.x0, delta, static_cast<float>(step),
                                  object_acceleration_.rms(k, delta), 0, height);
  }
  std::fill_n(share.object.begin(), area, cfloat{});
  std::fill_n(share.illumination.begin(), area, 0.0F);
}

void BatchUpdate::scale_by_pattern(Pass& pass, const Batch& batch, const Box& box, Share& share) {
  const State& s = pass.state;
  const Kernels& k = pass.model.kernels();
  const Index width = box.width();
  const auto area = static_cast<std::size_t>(box.height() * width);
  if (share.lengths.size() < area) share.lengths.resize(area);
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const Placement& place = s.placements[static_cast<std::size_t>(batch[i])];
    const Index at = (place.oy - box.y0) * width + place.ox - box.x0;
    const auto& kept = share.kept[i];
    StepSums sums;
    for (int m = 0; m < s.modes(); ++m)
      sums += k.object_step_sums(s.shape, &kept(0, m, 0, 0), &kept(1, m, 0, 0), share.object.data() + at, width);
    const double length = sums.aa > 0 ? std::max(0.0, sums.a_chi / sums.aa) : 0.0;
    for (int m = 0; m < s.modes(); ++m)
      for (Index y = 0; y < s.shape.ny; ++y)
        k.add_abs2(s.shape.nx, static_cast<float>(length), &kept(1, m, y, 0), share.lengths.data() + at + y * width);
  }
  for (std::size_t i = 0; i < area; ++i)
    share.object[i] *= share.illumination[i] > 0 ? std::exchange(share.lengths[i], 0.0F) / share.illumination[i] : 0.0F;
}

void BatchUpdate::update_together(Pass& pass, const Batch& batch, const ObjectStep& how, Index object2_stride) {
  if (pass.pool.size() == 1 || how.length == Length::by_pattern)
    return update_apart(pass, batch, how, object2_stride, 0);
  State& s = pass.state;
  const Kernels& k = pass.model.kernels();
  const Box box = box_of(batch, s);
  const Index height = box.height(), width = box.width();
  pass.pool.run([&](int thread) {
    shares_[static_cast<std::size_t>(thread)].make_room(box);
    for (Index i = thread; i < static_cast<Index>(batch.size()); i += pass.pool.size())
      visit(pass, box, batch[static_cast<std::size_t>(i)], i % object2_stride == 0, thread);
  });
  const int parts = static_cast<int>(shares_.size());
  Share& first = shares_[0];
  // The whole illumination in the first share.
  pass.pool.split(height, [&](Index begin, Index end, int thread) {
    const auto at = static_cast<std::size_t>(begin * width), last = static_cast<std::size_t>(end * width);
    for (std::size_t t = 1; t < shares_.size(); ++t)
      for (std::size_t i = at; i < last; ++i) first.illumination[i] += std::exchange(shares_[t].illumination[i], 0.0F);
    shares_[static_cast<std::size_t>(thread)].strongest =
        k.largest(static_cast<Index>(last - at), first.illumination.data() + at);
  });
  const float strongest = take_strongest();
  const bool move = pass.update_object && strongest > 0;
  if (move)
    pass.pool.split(height, [&](Index begin, Index end, int thread) {
      const Index at = begin * width;
      std::vector<const cfloat*> g;
      for (const Share& share : shares_) g.push_back(share.object.data() + at);
      shares_[static_cast<std::size_t>(thread)].steps =
          k.direction((end - begin) * width, parts, g.data(), first.illumination.data() + at, how.keep,
                      how.floor * strongest, first.object.data() + at);
    });
  const StepSums sums = take_steps();
  const double step = how.step * (how.length == Length::plain ? 1 : sums.aa > 0 ? sums.a_chi / sums.aa : 0);
  const core::View<const cfloat, 2> delta(first.object.data(), {height, width});
  const double rms = move ? object_acceleration_.rms(k, delta) : 0;
  pass.pool.split(height, [&](Index begin, Index end, int) {
    if (move)
      object_acceleration_.add_rows(k, s.object.view(), box.y0, box.x0, delta, static_cast<float>(step), rms, begin,
                                    end);
    const Index at = begin * width, n = (end - begin) * width;
    for (Share& share : shares_) std::fill_n(share.object.begin() + at, n, cfloat{});
    std::fill_n(first.illumination.begin() + at, n, 0.0F);
  });
}

BatchUpdate::Share& BatchUpdate::gather_probe(Pass& pass) {
  const Kernels& k = pass.model.kernels();
  Share& first = shares_[0];
  for (std::size_t t = 1; t < shares_.size(); ++t) {
    first.patterns += std::exchange(shares_[t].patterns, 0);
    first.sampled += std::exchange(shares_[t].sampled, 0);
  }
  const float scale = first.sampled > 0 ? static_cast<float>(first.patterns) / static_cast<float>(first.sampled) : 0;
  const Index n = first.object2.size();
  pass.pool.split(n, [&](Index begin, Index end, int) {
    for (std::size_t t = 1; t < shares_.size(); ++t) {
      Share& other = shares_[t];
      for (int m = 0; m < pass.state.modes(); ++m) {
        k.axpy(end - begin, 1, other.probe.data() + m * n + begin, first.probe.data() + m * n + begin);
        std::fill_n(other.probe.data() + m * n + begin, end - begin, cfloat{});
      }
      for (Index i = begin; i < end; ++i) first.object2.data()[i] += std::exchange(other.object2.data()[i], 0.0F);
    }
    for (Index i = begin; i < end; ++i) first.object2.data()[i] *= scale;
  });
  return first;
}

void BatchUpdate::add_to_probe(Pass& pass, float step) {
  State& s = pass.state;
  const Kernels& k = pass.model.kernels();
  Share& first = shares_[0];
  const std::array<Index, 2> flat{s.modes() * s.shape.ny, s.shape.nx};
  const core::View<cfloat, 2> probe(s.probe.data(), flat);
  const core::View<const cfloat, 2> delta(first.probe.data(), flat);
  probe_acceleration_.reserve(flat);
  const double rms = probe_acceleration_.rms(k, delta);
  const Index nx = s.shape.nx;
  pass.pool.split(flat[0], [&](Index begin, Index end, int) {
    probe_acceleration_.add_rows(k, probe, 0, 0, delta, step, rms, begin, end);
    std::fill(first.probe.data() + begin * nx, first.probe.data() + end * nx, cfloat{});
    const Index last = std::min(end, s.shape.ny);
    if (begin < last) std::fill(first.object2.data() + begin * nx, first.object2.data() + last * nx, 0.0F);
  });
  first.patterns = first.sampled = probe_patterns_ = 0;
}

void BatchUpdate::update_probe_optimally(Pass& pass, double step) {
  if (probe_patterns_ == 0 && (pass.sharing.size() == 1 || !pass.update_probe)) return;
  Share& first = gather_probe(pass);
  pass.sharing.sum(std::span(first.probe.data(), static_cast<std::size_t>(first.probe.size())));
  const StepSums sums = probe_direction(pass, 0, 1);  // G itself
  double go = sums.aa;
  pass.sharing.sum(std::span(&go, 1));
  add_to_probe(pass, go > 0 ? static_cast<float>(step * sums.a_chi / go) : 0.0F);
}

void BatchUpdate::update_probe_by_pixel(Pass& pass, float keep, float floor, double step) {
  if (probe_patterns_ == 0) return;
  Share& first = gather_probe(pass);
  const Kernels& k = pass.model.kernels();
  pass.pool.split(first.object2.size(), [&](Index begin, Index end, int thread) {
    shares_[static_cast<std::size_t>(thread)].strongest = k.largest(end - begin, first.object2.data() + begin);
  });
  const float least = floor * take_strongest();
  if (least > 0) probe_direction(pass, keep, least);
  add_to_probe(pass, least > 0 ? static_cast<float>(step) : 0.0F);
}

StepSums BatchUpdate::probe_direction(Pass& pass, float keep, float floor) {
  const Kernels& k = pass.model.kernels();
  Share& first = shares_[0];
  const Index n = first.object2.size();
  pass.pool.split(n, [&](Index begin, Index end, int thread) {
    StepSums& sums = shares_[static_cast<std::size_t>(thread)].steps;
    for (int m = 0; m < pass.state.modes(); ++m) {
      cfloat* g = first.probe.data() + m * n + begin;
      sums += k.direction(end - begin, 1, &g, first.object2.data() + begin, keep, floor, g);
    }
  });
  return take_steps();
}

float BatchUpdate::take_strongest() {
  float strongest = 0;
  for (Share& share : shares_) strongest = std::max(strongest, std::exchange(share.strongest, 0.0F));
  return strongest;
}

StepSums BatchUpdate::take_steps() {
  StepSums sums;
  for (Share& share : shares_) sums += std::exchange(share.steps, {});
  return sums;
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
