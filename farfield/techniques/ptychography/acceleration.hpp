#pragma once
// What becomes of an update before it is added: plain, heavy-ball momentum (Polyak 1964,
// doi:10.1016/0041-5553(64)90137-5), Nesterov's form of it, or ADAM (Kingma, Ba 2015, arXiv:1412.6980).

#include "farfield/technique/technique.hpp"
#include "farfield/techniques/ptychography/algorithm.hpp"

namespace farfield::techniques::ptychography {

/// Accelerates updates of one complex image, of which each update may touch only a part.
class Accelerator {
public:
  Accelerator(Acceleration kind, double momentum) : kind_(kind), momentum_(static_cast<float>(momentum)) {}

  /// image(y0.., x0..) += the accelerated form of step * delta; delta(y, x) contiguous.
  void add(const Kernels&, core::ThreadPool&, core::View<cfloat, 2> image, Index y0, Index x0,
           core::View<const cfloat, 2> delta, float step);
  /// The same for rows [begin, end) of delta, by several threads at once, each its own: after reserve() for the image's
  /// extents, and with `rms` = rms(delta).
  void add_rows(const Kernels&, core::View<cfloat, 2> image, Index y0, Index x0, core::View<const cfloat, 2> delta,
                float step, double rms, Index begin, Index end);
  void reserve(std::array<Index, 2> extents);
  /// Root mean square of delta where the kind needs it, else 0.
  double rms(const Kernels&, core::View<const cfloat, 2> delta) const;
  /// The image was re-laid.
  void regrid(const State&, const Regrid&);
  /// What was accumulated refers to another image: start again.
  void forget();
  void save(technique::Sink&, const std::string& name) const;
  void restore(technique::Source&, const std::string& name);

private:
  Acceleration kind_;
  float momentum_;
  core::Array<cfloat, 2> velocity_;
  core::Array<float, 2> square_;  ///< ADAM: mean |delta|^2
  core::Array<float, 2> visits_;  ///< ADAM: number of updates of each pixel
};

}  // namespace farfield::techniques::ptychography
