// ePIE (Maiden, Rodenburg 2009, doi:10.1016/j.ultramic.2009.05.012) and rPIE (Maiden, Johnson, Li 2017,
// doi:10.1364/OPTICA.4.000736): patterns one after the other in random order,
//   O += s_O conj(P) chi / ((1 - alpha) |P|^2 + alpha max |P|^2),
//   P += s_P conj(O) chi / ((1 - alpha) |O|^2 + alpha max |O|^2),
// with alpha = 1 for ePIE. A batch of several patterns replaces each numerator and each |.|^2 by its sum.
// One by one, small alpha makes rPIE follow the noise of each pattern (it may even diverge on measured
// data), so its default is a batch of neighbours.

#include <algorithm>

#include "farfield/techniques/ptychography/batch_update.hpp"
#include "farfield/techniques/ptychography/batches.hpp"
#include "farfield/techniques/ptychography/checkpoint.hpp"

namespace farfield::techniques::ptychography {
namespace {

class Pie final : public Algorithm {
public:
  explicit Pie(const Options& options)
      : alpha_(options.algorithm == AlgorithmKind::epie ? 1.0F : static_cast<float>(options.alpha)), update_(options) {}

  ModulusSums iterate(Pass& pass) override {
    const Options& o = pass.options;
    const bool rpie = o.algorithm == AlgorithmKind::rpie;
    const Index threads = pass.pool.size();
    const Index size = o.batch_size > 0 ? o.batch_size : rpie ? kRpieBatch : threads;
    // Neighbours keep the part of the object that a batch touches small.
    const BatchChoice choice = o.batches != BatchChoice::automatic ? o.batches
                               : size == 1                         ? BatchChoice::random
                                                                   : BatchChoice::compact;
    auto batches = make_batches(pass.slots, pass.state, size, choice, pass.random);
    ModulusSums total;
    if (size == 1 && threads == 1 && o.acceleration == Acceleration::none) {
      for (const Batch& batch : batches) total += update_one(pass, batch[0]);
      return total;
    }
    // With a batch size of the user's the probe follows each batch, which all threads share; otherwise batches far
    // from each other are worked off at once and move the probe together.
    const bool apart = rpie && o.batch_size == 0;
    const Index lanes = apart ? lanes_for(pass.pool.size()) : 1,
                each = apart ? std::max<Index>(1, kRpieProbe / (lanes * size)) : 1;
    for (const Round& round : make_rounds(std::move(batches), pass.state, lanes, each)) {
      total += update_.update_object(pass, round, {1 - alpha_, alpha_, BatchUpdate::Length::plain, o.object_step}, 1);
      update_.update_probe_by_pixel(pass, 1 - alpha_, alpha_, o.probe_step);
    }
    return total;
  }

  void regrid(const State& s, const Regrid& r) override { update_.regrid(s, r); }
  void forget() override { update_.forget(); }
  void save(technique::Sink& sink) const override {
    update_.save(sink);
    put_values(sink, "pie.probe_max", std::span<const float>(&probe_max2_, 1));
    put_values(sink, "pie.probe_age", std::span<const std::int64_t>(&probe_age_, 1));
  }
  void restore(technique::Source& source) override {
    update_.restore(source);
    probe_max2_ = get_values<float>(source, "pie.probe_max", 1)[0];
    probe_age_ = get_values<std::int64_t>(source, "pie.probe_age", 1)[0];
  }

private:
  ModulusSums update_one(Pass& pass, Index slot) {
    State& s = pass.state;
    const Kernels& k = pass.model.kernels();
    Workspace& w = pass.workspaces[0];
    const Index n = s.shape.size(), stride = s.object_stride();
    pass.model.exit_waves(s, slot, w);
    const ModulusSums sums = pass.model.residuals(s, slot, w, true);
    pass.observe(slot, sums, w);
    if (probe_age_++ % kProbeMaxLife == 0) {  // one update hardly moves max |P|^2
      probe_max2_ = 0;
      for (int m = 0; m < s.modes(); ++m) probe_max2_ += k.max_abs2(n, s.probe_mode(m));
    }
    float object_max2 = 0;
    for (Index y = 0; y < s.shape.ny; ++y)
      object_max2 = std::max(object_max2, k.max_abs2(s.shape.nx, s.window(slot) + y * stride));
    if (probe_max2_ == 0 || object_max2 == 0) return sums;
    k.pie_update(s.shape, s.modes(), w.psi.data(), w.p.data(), s.window(slot), stride, alpha_, probe_max2_, object_max2,
                 pass.update_object ? static_cast<float>(pass.options.object_step) : 0.0F);
    if (!pass.update_probe) return sums;
    const auto step = static_cast<float>(pass.options.probe_step);
    for (int m = 0; m < (pass.update_modes ? s.modes() : 1); ++m) {
      const auto mode = static_cast<std::size_t>(m);
      const SubPixelShift& shift = s.placements[static_cast<std::size_t>(slot)].shift;
      if (shift.identity) {
        k.axpy(n, step, w.psi[mode], s.probe_mode(m));
        continue;
      }
      SubPixelShift scaled = shift;  // the step rides on the taps: S^T is linear
      for (float& tap : scaled.y) tap *= step;
      k.unshift_add(s.shape, all_rows(s.shape), scaled, w.psi[mode], s.probe_mode(m), w.row.data());
    }
    return sums;
  }

  static constexpr Index kRpieBatch = 16, kRpieProbe = 32;  ///< patterns that move the object, the probe
  static constexpr std::int64_t kProbeMaxLife = 8;
  float alpha_;
  float probe_max2_ = 0;
  std::int64_t probe_age_ = 0;
  BatchUpdate update_;
};

}  // namespace

std::unique_ptr<Algorithm> make_pie(const Options& options) { return std::make_unique<Pie>(options); }

}  // namespace farfield::techniques::ptychography
