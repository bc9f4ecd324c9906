#pragma once
// When a reconstruction is done.

#include <optional>
#include <span>

#include "farfield/technique/technique.hpp"
#include "farfield/techniques/ptychography/options.hpp"

namespace farfield::techniques::ptychography {

/// How far it has come. Passes made while the scan was still coming are not compared with each other, since
/// their patterns differ, and do not count towards `iterations`.
struct Course {
  bool scan_ended = false;
  std::span<const double> cost;   ///< of every pass so far
  std::int64_t live_passes = 0;   ///< of these, before the end of the scan
  double seconds = 0;
  double empty_cost = 0;          ///< of a model without any counts: the mean measured ones

  std::int64_t passes() const { return static_cast<std::int64_t>(cost.size()); }
};

/// Passes from the first to the last: live_passes + those after the scan. 0: not known while the scan is coming.
std::int64_t planned_passes(const Options&, const Course&);

/// finished: iterations or time are used up; converged: the mean cost of the last convergence-window passes is
/// less than convergence-tolerance (relative) below that of the window before; not_converged: the last cost is not
/// finite, or a hundred times the first and the empty one. Nothing: go on.
std::optional<technique::StepState> verdict(const Options&, const Course&);

}  // namespace farfield::techniques::ptychography
