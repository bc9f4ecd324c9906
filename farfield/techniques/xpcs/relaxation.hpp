#pragma once
// How well the relaxation times are known while the measurement runs.

#include <span>
#include <vector>

#include "farfield/core/view.hpp"

namespace farfield::techniques::xpcs {

struct Relaxation {
  double tau = 0;  ///< of g2 - 1 = beta exp(-2 t / tau), in the unit of the delays; NaN where there is none
  double relative_error = 0;  ///< of tau; infinite where there is none
};

/// One bin: the weighted straight line through ln(g2 - 1), weights ((g2 - 1) / error)^2, over the delays from the first
/// to where g2 - 1 is below two errors or a tenth of its first value. A quick judge for steering, with the errors of
/// the delays taken as independent; the fits of the finished result are another matter.
Relaxation relaxation(std::span<const double> delay, std::span<const double> g2, std::span<const double> error);

}  // namespace farfield::techniques::xpcs
