#pragma once
// The definitions, word by word: the oracle of the tests. Slow.

#include <vector>

#include "farfield/core/array.hpp"
#include "farfield/techniques/xpcs/lags.hpp"
#include "farfield/techniques/xpcs/qmap.hpp"

namespace farfield::techniques::xpcs {

struct ReferenceG2 {
  std::vector<Lag> lags;
  core::Array<double, 2> g2, error;  ///< (lag, dynamic bin)
};
/// `intensity` is (pixel, time); a time step where pixel 0 is NaN is missing. Equations: correlator.hpp.
ReferenceG2 correlate_reference(core::View<const double, 2> intensity, const QMap& map, const LagScheme& scheme);

/// c2(t1, t2) of one dynamic bin: 1/N sum over its N pixels of J_p(t1) J_p(t2), J_p(t) = I_p(t) / the mean at t over
/// the dynamic bin, or (`by_static`) over the static bin that p is in. (t1, t2). NaN where a time step is missing (NaN
/// in intensity) or the dynamic bin is dark; a dark static bin adds 0.
core::Array<double, 2> twotime_reference(core::View<const double, 2> intensity, const QMap& map, Index dynamic_bin,
                                         bool by_static);

}  // namespace farfield::techniques::xpcs
