// LSQ-ML: least-squares maximum likelihood (Odstrcil, Menzel, Guizar-Sicairos 2018,
// doi:10.1364/OE.26.003108). Descent directions from a batch of patterns, preconditioned by the batch's
// illumination, and steps along them that are optimal in the least-squares sense.
//
// Two things differ from the paper. Unless asked for the paper's steps of each pattern, the optimal step of the object
// is one for a batch and read off the object itself (see BatchUpdate), so that no pattern is looked at twice. And
// batches grow: few neighbouring patterns give many updates of each pixel in one pass, which is fast while the image is
// wrong; later, when the noise of the counts drives the updates, larger batches average it (Smith et al. 2018,
// arXiv:1711.00489). The probe, common to the whole scan, gathers its gradient over several batches.

#include <algorithm>
#include <span>

#include "farfield/techniques/ptychography/batch_update.hpp"
#include "farfield/techniques/ptychography/batches.hpp"

namespace farfield::techniques::ptychography {
namespace {

/// `first` doubled every `period` iterations, at most `most`.
Index doubling(Index first, std::int64_t iteration, std::int64_t period, Index most) {
  return std::min(most, first << std::min<std::int64_t>(iteration / period, 20));
}

class LsqMl final : public Algorithm {
public:
  explicit LsqMl(const Options& options) : update_(options) {}

  ModulusSums iterate(Pass& pass) override {
    const Options& o = pass.options;
    const int processes = pass.sharing.size();
    auto patterns = static_cast<double>(pass.slots.size());
    pass.sharing.sum(std::span(&patterns, 1));
    const auto everywhere = static_cast<Index>(patterns), n = everywhere / processes;
    const Index size =
        o.batch_size > 0 ? o.batch_size : doubling(4, pass.iteration, 8, std::clamp<Index>(n / 4, 4, 64));
    // At least four updates of the probe in a pass, or a small scan's probe hardly moves.
    ProbeTurns turns(pass, everywhere,
                     std::max(size, doubling(16, pass.iteration, 3, std::clamp<Index>(everywhere / 4, 4, 256))));
    const Index for_probe = turns.for_probe();
    const BatchChoice choice = o.batches == BatchChoice::automatic ? BatchChoice::compact : o.batches;
    const auto damping = static_cast<float>(o.damping);
    using Length = BatchUpdate::Length;
    const Length steps = o.step_choice == StepChoice::pattern ? Length::by_pattern : Length::by_batch;
    ModulusSums total;
    // Threads work in different regions, each on batches of its own, and meet when the probe is due.
    const Index lanes = lanes_for(pass.pool.size()), each = std::max<Index>(1, for_probe / (lanes * size * processes));
    auto batches = make_batches(pass.slots, pass.state, size, choice, pass.random);
    for (const Round& round : make_rounds(std::move(batches), pass.state, lanes, each)) {
      total += update_.update_object(pass, round, {1, damping, steps, o.object_step}, kObjectSample);
      if (processes == 1) {
        if (update_.probe_patterns() >= for_probe) update_.update_probe_optimally(pass, o.probe_step);
      } else {
        for (Index due = turns.due(round); due > 0; --due) update_.update_probe_optimally(pass, o.probe_step);
      }
    }
    // What is left over is a probe gradient from fewer patterns: its step is shortened in proportion.
    auto left = static_cast<double>(update_.probe_patterns());
    pass.sharing.sum(std::span(&left, 1));
    update_.update_probe_optimally(pass, o.probe_step * left / static_cast<double>(for_probe));
    return total;
  }

  void regrid(const State& s, const Regrid& r) override { update_.regrid(s, r); }
  void forget() override { update_.forget(); }
  void save(technique::Sink& sink) const override { update_.save(sink); }
  void restore(technique::Source& source) override { update_.restore(source); }

private:
  /// The mean |O|^2 behind the probe's step changes slowly from pattern to pattern: a few tell it.
  static constexpr Index kObjectSample = 8;
  BatchUpdate update_;
};

}  // namespace

std::unique_ptr<Algorithm> make_lsqml(const Options& options) { return std::make_unique<LsqMl>(options); }

}  // namespace farfield::techniques::ptychography
