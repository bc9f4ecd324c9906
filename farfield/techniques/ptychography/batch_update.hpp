#pragma once
// One update of object and probe from a batch of patterns: what LSQ-ML and the batched PIE have in common.

#include <algorithm>
#include <utility>
#include <vector>

#include "farfield/techniques/ptychography/acceleration.hpp"
#include "farfield/techniques/ptychography/algorithm.hpp"
#include "farfield/techniques/ptychography/batches.hpp"

namespace farfield::techniques::ptychography {

/// When the processes of a reconstruction update the common probe together during a pass: as often on each, after about
/// `for_probe` patterns of all, and not so often that they wait for it.
class ProbeTurns {
public:
  /// `everywhere`: patterns of all processes.
  ProbeTurns(const Pass& pass, Index everywhere, Index for_probe)
      : mine_(static_cast<double>(pass.slots.size())),
        all_(static_cast<double>(everywhere)),
        for_probe_(pass.sharing.size() == 1 ? for_probe : std::max(for_probe, (everywhere + kMost - 1) / kMost)),
        planned_(everywhere / for_probe_) {}
  Index for_probe() const { return for_probe_; }
  /// How many are due now that this process has visited the batches of one more round.
  Index due(const Round& round) {
    for (const auto& lane : round.lanes)
      for (const Batch& batch : lane) visited_ += static_cast<double>(batch.size());
    const Index by_now =
        std::min(planned_, static_cast<Index>(visited_ / mine_ * all_ / static_cast<double>(for_probe_)));
    return by_now - std::exchange(done_, std::max(done_, by_now));
  }

private:
  static constexpr Index kMost = 32;  ///< in a pass of several processes
  double mine_, all_, visited_ = 0;
  Index for_probe_, planned_, done_ = 0;
};

class BatchUpdate {
public:
  explicit BatchUpdate(const Options& o)
      : object_acceleration_(o.acceleration, o.momentum), probe_acceleration_(o.acceleration, o.momentum) {}

  /// How far along dO, at step 1:
  enum class Length {
    plain,  ///< 1
    by_batch,  ///< argmin_a sum ||chi - a dO P||^2 = <g, dO> / <|dO|^2, l>, which needs no second look at the patterns
    by_pattern,  ///< a_j = argmin ||chi_j - a dO P_j||^2 for each pattern, at each pixel their mean weighted by |P_j|^2
  };
  /// How a batch moves the object: object += step length dO, dO = g / (keep l + floor max l).
  struct ObjectStep {
    float keep = 1, floor = 0;
    Length length = Length::plain;
    double step = 1;
  };

  /// For each batch of the round: visits its patterns, residuals chi, and moves the object by, on the batch's box,
  /// g = sum conj(P) chi and l = sum |P|^2; for the probe G = sum S^T conj(O) chi and O2 = sum |O|^2, which gather over
  /// batches until update_probe...(). O2 is summed over every object2_stride-th pattern of a batch.
  ModulusSums update_object(Pass&, const Round&, const ObjectStep&, Index object2_stride);

  /// probe += step a G with a = argmin sum ||chi - a G O||^2 = <G, G> / <|G|^2, O2>; G and O2 are sums over all
  /// processes, which call this together.
  void update_probe_optimally(Pass&, double step);
  /// probe += step G / (keep O2 + floor max O2), pixel by pixel, from this process's patterns.
  void update_probe_by_pixel(Pass&, float keep, float floor, double step);
  /// Patterns since the probe's last update.
  Index probe_patterns() const { return probe_patterns_; }

  void regrid(const State& s, const Regrid& r) { object_acceleration_.regrid(s, r); }
  void forget();
  void save(technique::Sink&) const;
  void restore(technique::Source&);

private:
  /// One thread's sums. The object's part is as large as the batch's box, so that compact batches keep it in cache.
  struct Share {
    std::vector<cfloat> object;  ///< (y, x) of the box; zero between batches, as illumination
    std::vector<float> illumination;
    core::Array<cfloat, 3> probe;  ///< (mode, y, x)
    core::Array<float, 2> object2;  ///< tile
    Index patterns = 0, sampled = 0;  ///< behind probe and object2
    std::vector<core::Array<cfloat, 4>> kept;  ///< by_pattern, of each pattern of the batch: (chi or S p, mode, y, x)
    std::vector<float> lengths;  ///< by_pattern: (y, x) of the box; zero between batches
    float strongest = 0;  ///< of the illumination, in this thread's rows
    ModulusSums sums;
    StepSums steps;
    void make_room(const Box&);
  };

  void prepare(const Pass&);
  /// All threads on one batch.
  void update_together(Pass&, const Batch&, const ObjectStep&, Index object2_stride);
  /// One thread on one batch, while others work elsewhere.
  void update_apart(Pass&, const Batch&, const ObjectStep&, Index object2_stride, int thread);
  void visit(Pass&, const Box&, Index slot, bool sample_object2, int thread);
  /// dO in share.object, at each pixel times the patterns' mean length.
  void scale_by_pattern(Pass&, const Batch&, const Box&, Share&);
  /// Shares added up in the first; O2 scaled from the sampled patterns to all.
  Share& gather_probe(Pass&);
  /// dP = G / (keep O2 + floor) in place of G, and as Kernels::direction() its sums <G, dP> and <|dP|^2, O2>.
  StepSums probe_direction(Pass&, float keep, float floor);
  void add_to_probe(Pass&, float step);
  /// What the threads left in their shares, together.
  float take_strongest();
  StepSums take_steps();

  std::vector<Share> shares_;
  Index probe_patterns_ = 0;
  Accelerator object_acceleration_, probe_acceleration_;
};

}  // namespace farfield::techniques::ptychography
