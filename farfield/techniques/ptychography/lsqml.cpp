// LSQ-ML (Odstrcil, Menzel, Guizar-Sicairos 2018, doi:10.1364/OE.26.003108): preconditioned descent
// directions from a batch of patterns, and steps along them that are optimal in the least-squares sense.
//
// For the residuals chi_j of a batch (sums over its patterns and modes):
//   g = sum conj(P_j) chi_j,  l = sum |P_j|^2,  dO = g / (l + d max l)                       (the paper's eq. 24)
//   a_O = argmin sum ||chi_j - a dO P_j||^2 = <g, dO> / <|dO|^2, l>                          (eq. 22)
// Both inner products live on the object, so that the optimal step needs no second look at the patterns.
// The probe is common to the whole scan: its gradient is gathered over many batches of object updates
// before its own step, <G, G> / <|G|^2, sum |O_j|^2> along G = sum conj(O_j) chi_j.

#include <algorithm>
#include <cmath>

#include "farfield/math/complex.hpp"
#include "farfield/techniques/ptychography/algorithm.hpp"
#include "farfield/techniques/ptychography/batches.hpp"

namespace farfield::techniques::ptychography {
namespace {
static double env(const char* n, double d) { const char* e = getenv(n); return e ? atof(e) : d; }

/// The part of the object that a batch touches.
struct Box {
  Index y0 = 0, x0 = 0, y1 = 0, x1 = 0;
  Index height() const { return y1 - y0; }
  Index width() const { return x1 - x0; }
};

Box box_of(const State& s, const std::vector<Index>& batch) {
  Box box{s.object.extent(0), s.object.extent(1), 0, 0};
  for (const Index slot : batch) {
    const auto& p = s.placements[static_cast<std::size_t>(slot)];
    box.y0 = std::min(box.y0, p.oy);
    box.x0 = std::min(box.x0, p.ox);
    box.y1 = std::max(box.y1, p.oy + s.shape.ny);
    box.x1 = std::max(box.x1, p.ox + s.shape.nx);
  }
  return box;
}

/// One thread's share of the sums. The object's part is as large as the batch's box and stays in cache
/// from batch to batch.
struct Share {
  std::vector<cfloat> object;     ///< (y, x) of the box: sum conj(P) chi
  std::vector<float> illumination;
  core::Array<cfloat, 3> probe;   ///< (mode, y, x): sum S^T conj(O) chi
  core::Array<float, 2> object2;  ///< tile: sum |O_j|^2 over every kObjectSample-th pattern
  Index patterns = 0, sampled = 0;
  float strongest = 0;            ///< of illumination
  ModulusSums sums;
  StepSums steps;
};
constexpr Index kObjectSample = 8;

class LsqMl final : public Algorithm {
public:
  ModulusSums iterate(Pass& pass) override {
    prepare(pass);
    const Options& o = pass.options;
    const Index size = o.batch_size > 0 ? o.batch_size : std::min<Index>((Index)env("CAP",64), std::max<Index>((Index)(env("B0",4)*std::pow(2.,std::floor((double)pass.iteration/env("G",8)))), 2 * pass.pool.size()));
    const Index pb = (Index)std::min<double>(env("PC",256),(env("PB", 16)*std::pow(2.,std::floor((double)pass.iteration/env("GP",3)))));
    ModulusSums total;
    Index since_probe = 0;
    for (const auto& batch : make_batches(pass.slots, pass.state, size, o.batches == BatchChoice::automatic ? BatchChoice::compact : o.batches, pass.random)) {
      if (pass.stop.stop_requested()) break;
      total += update_object(pass, batch);
      since_probe += static_cast<Index>(batch.size());
      if (pass.update_probe && since_probe >= pb) {
        update_probe(pass);
        since_probe = 0;
      }
    }
    if (pass.update_probe && since_probe > pb/2) update_probe(pass);
    return total;
  }

private:
  void prepare(const Pass& pass) {
    const State& s = pass.state;
    const auto threads = static_cast<std::size_t>(pass.pool.size());
    if (shares_.size() == threads && shares_[0].probe.extents() == s.probe.extents()) return;
    shares_.clear();
    for (std::size_t t = 0; t < threads; ++t) {
      shares_.emplace_back();
      shares_.back().probe = core::Array<cfloat, 3>(s.probe.extents());
      shares_.back().object2 = core::Array<float, 2>({s.shape.ny, s.shape.nx});
    }
  }

  /// Residuals and gradients of this thread's patterns of the batch.
  void gather(Pass& pass, const std::vector<Index>& batch, const Box& box, int thread) {
    State& s = pass.state;
    const Kernels& k = pass.model.kernels();
    Share& share = shares_[static_cast<std::size_t>(thread)];
    Workspace& w = pass.workspaces[static_cast<std::size_t>(thread)];
    const Index n = s.shape.size(), stride = s.object_stride(), width = box.width();
    const auto area = static_cast<std::size_t>(box.height() * width);
    share.object.assign(area, cfloat{});
    share.illumination.assign(area, 0.0F);
    share.sums = {};
    for (Index i = thread; i < static_cast<Index>(batch.size()); i += pass.pool.size()) {
      const Index slot = batch[static_cast<std::size_t>(i)];
      pass.model.exit_waves(s, slot, w);
      const ModulusSums sums = pass.model.residuals(s, slot, w);
      share.sums += sums;
      pass.observe(slot, sums, w);
      const auto& place = s.placements[static_cast<std::size_t>(slot)];
      const Index at = (place.oy - box.y0) * width + place.ox - box.x0;
      for (int m = 0; m < s.modes(); ++m) {
        const auto mode = static_cast<std::size_t>(m);
        if (pass.update_probe)
          k.back_project(s.shape, place.shift, w.psi[mode], w.p[mode], s.window(slot), stride, share.object.data() + at, width,
                         share.illumination.data() + at, share.probe.data() + m * n, w.term.data(), w.row.data());
        else
          k.gradients(s.shape, w.psi[mode], w.p[mode], s.window(slot), stride, share.object.data() + at, width,
                      share.illumination.data() + at, nullptr);
      }
      if (pass.update_probe && share.patterns++ % kObjectSample == 0) {
        ++share.sampled;
        for (Index y = 0; y < s.shape.ny; ++y) k.add_abs2(s.shape.nx, s.window(slot) + y * stride, share.object2.data() + y * s.shape.nx);
      }
    }
    share.strongest = k.largest(static_cast<Index>(area), share.illumination.data());
  }

  ModulusSums update_object(Pass& pass, const std::vector<Index>& batch) {
    State& s = pass.state;
    const Kernels& k = pass.model.kernels();
    const Box box = box_of(s, batch);
    pass.pool.run([&](int thread) { gather(pass, batch, box, thread); });
    ModulusSums total;
    float strongest = 0;
    for (const Share& share : shares_) {
      total += share.sums;
      strongest += share.strongest;
    }
    if (!pass.update_object || strongest == 0) return total;

    const float floor = static_cast<float>(pass.options.damping) * strongest;
    const int parts = static_cast<int>(shares_.size());
    pass.pool.split(box.height(), [&](Index begin, Index end, int thread) {
      std::vector<const cfloat*> g(shares_.size());
      std::vector<const float*> l(shares_.size());
      StepSums& steps = shares_[static_cast<std::size_t>(thread)].steps;
      const Index at = begin * box.width();
      for (std::size_t t = 0; t < shares_.size(); ++t) {
        g[t] = shares_[t].object.data() + at;
        l[t] = shares_[t].illumination.data() + at;
      }
      steps = k.direction((end - begin) * box.width(), parts, g.data(), l.data(), floor, shares_[0].object.data() + at);
    });
    double with_g = 0, with_l = 0;
    for (const Share& share : shares_) {
      with_g += share.steps.a_chi;
      with_l += share.steps.aa;
    }
    const float step = static_cast<float>(pass.options.object_step * (with_l > 0 ? with_g / with_l : 0));
    pass.pool.split(box.height(), [&](Index begin, Index end, int) {
      for (Index y = begin; y < end; ++y)
        k.axpy(box.width(), step, shares_[0].object.data() + y * box.width(),
               s.object.data() + (box.y0 + y) * s.object_stride() + box.x0);
    });
    return total;
  }

  void update_probe(Pass& pass) {
    State& s = pass.state;
    const Kernels& k = pass.model.kernels();
    const Index n = s.shape.size();
    Share& first = shares_[0];
    for (std::size_t t = 1; t < shares_.size(); ++t) {
      k.axpy(n * s.modes(), 1, shares_[t].probe.data(), first.probe.data());
      for (Index i = 0; i < n; ++i) first.object2.data()[i] += shares_[t].object2.data()[i];
      first.patterns += shares_[t].patterns;
      first.sampled += shares_[t].sampled;
    }
    double with_g = 0, with_o = 0;
    for (int m = 0; m < s.modes(); ++m)
      for (Index i = 0; i < n; ++i) {
        const double g2 = static_cast<double>(math::abs2(first.probe.data()[m * n + i]));
        with_g += g2;
        with_o += g2 * static_cast<double>(first.object2.data()[i]);
      }
    if (with_o > 0) {
      static const double kap=env("KAP",1);
      const double scale = static_cast<double>(first.sampled) / static_cast<double>(first.patterns);
      k.axpy(n * s.modes(), static_cast<float>(kap*pass.options.probe_step * scale * with_g / with_o), first.probe.data(), s.probe.data());
    }
    for (Share& share : shares_) {
      share.probe.fill({});
      share.object2.fill(0);
      share.patterns = share.sampled = 0;
    }
  }

  std::vector<Share> shares_;
};

}  // namespace

std::unique_ptr<Algorithm> make_lsqml(const Options&) { return std::make_unique<LsqMl>(); }

}  // namespace farfield::techniques::ptychography
