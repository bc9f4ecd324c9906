#pragma once
// One update of object and probe from a batch of patterns: what LSQ-ML and the batched PIE have in common.

#include <vector>

#include "farfield/techniques/ptychography/acceleration.hpp"
#include "farfield/techniques/ptychography/algorithm.hpp"

namespace farfield::techniques::ptychography {

class BatchUpdate {
public:
  explicit BatchUpdate(const Options& o)
      : object_acceleration_(o.acceleration, o.momentum), probe_acceleration_(o.acceleration, o.momentum) {}

  /// Visits the patterns of a batch with all threads: residuals chi, then for the object, on the batch's box,
  /// g = sum conj(P) chi and l = sum |P|^2; for the probe G = sum S^T conj(O) chi and O2 = sum |O|^2, which
  /// gather over batches until update_probe(). O2 is summed over every object2_stride-th pattern.
  ModulusSums visit(Pass&, const std::vector<Index>& batch, Index object2_stride);

  /// object += step dO, dO = g / (keep l + floor max l). With `optimal` the step is multiplied by
  /// argmin_a sum ||chi - a dO P||^2 = <g, dO> / <|dO|^2, l>, which needs no second look at the patterns.
  void update_object(Pass&, float keep, float floor, bool optimal, double step);

  /// probe += step a G with a = argmin sum ||chi - a G O||^2 = <G, G> / <|G|^2, O2>; G and O2 are sums over all
  /// processes, which call this together.
  void update_probe_optimally(Pass&, double step);
  /// probe += step G / (keep O2 + floor max O2), pixel by pixel.
  void update_probe_by_pixel(Pass&, float keep, float floor, double step);
  /// Patterns since the probe's last update.
  Index probe_patterns() const { return probe_patterns_; }

  void regrid(const State& s, const Regrid& r) { object_acceleration_.regrid(s, r); }
  void forget();
  void save(technique::Sink&) const;
  void restore(technique::Source&);

private:
  /// The part of the object that a batch touches: rows [y0, y1), columns [x0, x1).
  struct Box {
    Index y0 = 0, x0 = 0, y1 = 0, x1 = 0;
    Index height() const { return y1 - y0; }
    Index width() const { return x1 - x0; }
  };
  /// One thread's sums. The object's part is as large as the batch's box, so that compact batches keep it in cache.
  struct Share {
    std::vector<cfloat> object;      ///< (y, x) of the box
    std::vector<float> illumination;
    core::Array<cfloat, 3> probe;    ///< (mode, y, x)
    core::Array<float, 2> object2;   ///< tile
    Index patterns = 0, sampled = 0; ///< behind probe and object2
    float strongest = 0;             ///< of the illumination, in this thread's rows
    ModulusSums sums;
    StepSums steps;
  };

  void prepare(const Pass&);
  void visit(Pass&, const std::vector<Index>& batch, Index object2_stride, int thread);
  /// Shares added up in the first; O2 scaled from the sampled patterns to all.
  Share& gather_probe(Pass&);
  void add_to_probe(Pass&, float step);

  Box box_;
  std::vector<Share> shares_;
  Index probe_patterns_ = 0;
  Accelerator object_acceleration_, probe_acceleration_;
};

}  // namespace farfield::techniques::ptychography
