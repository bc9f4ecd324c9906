// LSQ-ML (Odstrcil, Menzel, Guizar-Sicairos 2018, doi:10.1364/OE.26.003108): preconditioned descent
// directions from a batch of patterns, then the steps along them that are optimal in the least-squares sense.
//
// For a batch B with residuals chi_j (eq. 12 ff. of the paper):
//   dO = sum_j conj(P_j) chi_j / (sum_j |P_j|^2 + d max),   dP = sum_j conj(O_j) chi_j / sum_j |O_j|^2
//   (a_O, a_P) = argmin sum_j || chi_j - a_O dO P_j - a_P dP O_j ||^2

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "farfield/math/complex.hpp"
#include "farfield/techniques/ptychography/algorithm.hpp"
#include "farfield/techniques/ptychography/batches.hpp"

namespace farfield::techniques::ptychography {
namespace {

struct Box {
  Index y0 = 1 << 30, x0 = 1 << 30, y1 = 0, x1 = 0;
};

/// One thread's share of a batch.
struct Accumulator {
  core::Array<cfloat, 2> object;       ///< sum conj(P) chi, object-shaped; only the batch's box is kept clean
  core::Array<float, 2> illumination;  ///< sum |P|^2
  core::Array<cfloat, 3> probe;        ///< (mode, y, x): sum S^T conj(O) chi
  ModulusSums sums;
  StepSums steps;
};

static double env(const char* n, double d) {
  const char* e = getenv(n);
  return e ? atof(e) : d;
}

class LsqMl final : public Algorithm {
public:
  explicit LsqMl(const Options&) {}

  ModulusSums iterate(Pass& pass) override {
    prepare(pass);
    const Index size = pass.options.batch_size > 0 ? pass.options.batch_size : 48;
    const BatchChoice choice =
        pass.options.batches == BatchChoice::automatic ? BatchChoice::compact : pass.options.batches;
    ModulusSums total;
    sao_ = sap_ = 0;
    nb_ = 0;
    for (const auto& batch : make_batches(pass.slots, pass.state, size, choice, pass.random)) {
      if (pass.stop.stop_requested()) break;
      total += update(pass, batch);
    }
    if (getenv("DBG")) fprintf(stderr, "steps %g %g\n", sao_ / nb_, sap_ / nb_);
    return total;
  }

private:
  double sao_ = 0, sap_ = 0;
  int nb_ = 0;
  void prepare(Pass& pass) {
    const State& s = pass.state;
    const auto threads = static_cast<std::size_t>(pass.pool.size());
    if (accumulators_.size() != threads || accumulators_[0].object.extents() != s.object.extents() ||
        accumulators_[0].probe.extents() != s.probe.extents()) {
      accumulators_.clear();
      for (std::size_t t = 0; t < threads; ++t)
        accumulators_.push_back({core::Array<cfloat, 2>(s.object.extents()),
                                 core::Array<float, 2>(s.object.extents()),
                                 core::Array<cfloat, 3>(s.probe.extents()),
                                 {},
                                 {}});
      delta_object_ = core::Array<cfloat, 2>(s.object.extents());
      velocity_o_ = core::Array<cfloat, 2>(s.object.extents());
      velocity_p_ = core::Array<cfloat, 3>(s.probe.extents());
    }
  }

  ModulusSums update(Pass& pass, const std::vector<Index>& batch) {
    State& s = pass.state;
    const Kernels& k = pass.model.kernels();
    const Index n = s.shape.size(), stride = s.object_stride();
    const int modes = s.modes();
    const auto count = static_cast<Index>(batch.size());
    const Index sampled = std::clamp<Index>(
        static_cast<Index>(std::ceil(pass.options.step_sample * static_cast<double>(count))), 1, count);
    if (static_cast<Index>(samples_.size()) < sampled * modes)
      for (Index i = static_cast<Index>(samples_.size()); i < sampled * modes; ++i)
        samples_.emplace_back(std::array<Index, 1>{n});

    Box box;
    for (const Index slot : batch) {
      const auto& p = s.placements[static_cast<std::size_t>(slot)];
      box.y0 = std::min(box.y0, p.oy);
      box.x0 = std::min(box.x0, p.ox);
      box.y1 = std::max(box.y1, p.oy + s.shape.ny);
      box.x1 = std::max(box.x1, p.ox + s.shape.nx);
    }
    const Index width = box.x1 - box.x0;

    // Residuals and gradients.
    pass.pool.run([&](int thread) {
      Accumulator& a = accumulators_[static_cast<std::size_t>(thread)];
      Workspace& w = pass.workspaces[static_cast<std::size_t>(thread)];
      a.sums = {};
      a.steps = {};
      for (Index y = box.y0; y < box.y1; ++y) {
        std::fill_n(a.object.data() + y * stride + box.x0, width, cfloat{});
        std::fill_n(a.illumination.data() + y * stride + box.x0, width, 0.0F);
      }
      a.probe.fill({});
      for (Index i = thread; i < count; i += pass.pool.size()) {
        const Index slot = batch[static_cast<std::size_t>(i)];
        for (int m = 0; m < modes; ++m)
          w.psi[static_cast<std::size_t>(m)] =
              i < sampled ? samples_[static_cast<std::size_t>(i * modes + m)].data() : w.psi_store.data() + m * n;
        pass.model.exit_waves(s, slot, w);
        const ModulusSums sums = pass.model.residuals(s, slot, w);
        a.sums += sums;
        pass.observe(slot, sums, w);
        const auto& place = s.placements[static_cast<std::size_t>(slot)];
        const Index at = place.oy * stride + place.ox;
        for (int m = 0; m < modes; ++m) {
          const auto mm = static_cast<std::size_t>(m);
          k.gradients(s.shape, w.psi[mm], w.p[mm], s.object.data() + at, stride, a.object.data() + at, stride,
                      a.illumination.data() + at, pass.update_probe ? w.term.data() : nullptr);
          if (pass.update_probe)
            k.unshift_add(s.shape, place.shift, w.term.data(), a.probe.data() + m * n, w.row.data());
        }
      }
    });

    // Directions.
    Accumulator& first = accumulators_[0];
    for (std::size_t t = 1; t < accumulators_.size(); ++t) {
      for (Index y = box.y0; y < box.y1; ++y) {
        k.axpy(width, 1, accumulators_[t].object.data() + y * stride + box.x0,
               first.object.data() + y * stride + box.x0);
        for (Index x = box.x0; x < box.x1; ++x) first.illumination(y, x) += accumulators_[t].illumination(y, x);
      }
      k.axpy(n * modes, 1, accumulators_[t].probe.data(), first.probe.data());
      first.sums += accumulators_[t].sums;
    }
    float strongest = 0;
    for (Index y = box.y0; y < box.y1; ++y)
      for (Index x = box.x0; x < box.x1; ++x) strongest = std::max(strongest, first.illumination(y, x));
    const float floor = static_cast<float>(pass.options.damping) * strongest;
    for (Index y = box.y0; y < box.y1; ++y)
      for (Index x = box.x0; x < box.x1; ++x)
        delta_object_(y, x) = first.object(y, x) / (first.illumination(y, x) + floor);
    for (auto& v : first.probe) v *= 1.0F / static_cast<float>(count);

    // Optimal steps, measured on a sample of the batch.
    pass.pool.run([&](int thread) {
      Workspace& w = pass.workspaces[static_cast<std::size_t>(thread)];
      StepSums& steps = accumulators_[static_cast<std::size_t>(thread)].steps;
      for (Index i = thread; i < sampled; i += pass.pool.size()) {
        const Index slot = batch[static_cast<std::size_t>(i)];
        pass.model.shifted_probes(s, slot, w);
        const auto& place = s.placements[static_cast<std::size_t>(slot)];
        for (int m = 0; m < modes; ++m) {
          const cfloat* dp = pass.model.shifted(s, slot, first.probe.data() + m * n, w.term.data(), w);
          steps += k.step_sums(s.shape, samples_[static_cast<std::size_t>(i * modes + m)].data(),
                               w.p[static_cast<std::size_t>(m)], s.window(slot), stride,
                               delta_object_.data() + place.oy * stride + place.ox, stride, dp);
        }
      }
    });
    StepSums steps;
    for (const auto& a : accumulators_) steps += a.steps;
    double ao = 0, ap = 0;
    const double det = steps.aa * steps.bb - steps.ab * steps.ab;
    if (pass.update_probe && pass.update_object && det > 1e-6 * steps.aa * steps.bb) {
      ao = (steps.a_chi * steps.bb - steps.b_chi * steps.ab) / det;
      ap = (steps.b_chi * steps.aa - steps.a_chi * steps.ab) / det;
    } else {
      ao = steps.aa > 0 ? steps.a_chi / steps.aa : 0;
      ap = steps.bb > 0 ? steps.b_chi / steps.bb : 0;
    }
    sao_ += ao;
    sap_ += ap;
    nb_++;
    static const double mo = env("MO", 0), mp = env("MP", 0), over = env("OVER", 1);
    ao *= over;
    const float fo = static_cast<float>(ao * pass.options.object_step),
                fp = static_cast<float>(ap * pass.options.probe_step);
    for (Index y = box.y0; y < box.y1; ++y)
      for (Index x = box.x0; x < box.x1; ++x) {
        auto& v = velocity_o_(y, x);
        v = static_cast<float>(mo) * v + fo * delta_object_(y, x);
        s.object(y, x) += v;
      }
    if (pass.update_probe)
      for (Index i = 0; i < n * modes; ++i) {
        auto& v = velocity_p_.data()[i];
        v = static_cast<float>(mp) * v + fp * first.probe.data()[i];
        s.probe.data()[i] += v;
      }
    return first.sums;
  }

  std::vector<Accumulator> accumulators_;
  std::vector<core::Array<cfloat, 1>> samples_;
  core::Array<cfloat, 2> delta_object_, velocity_o_;
  core::Array<cfloat, 3> velocity_p_;
};

}  // namespace

std::unique_ptr<Algorithm> make_lsqml(const Options& options) { return std::make_unique<LsqMl>(options); }

}  // namespace farfield::techniques::ptychography
