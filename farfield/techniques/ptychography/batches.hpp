#pragma once
// How the patterns of a pass are grouped into batches.

#include <vector>

#include "farfield/math/random.hpp"
#include "farfield/techniques/ptychography/options.hpp"
#include "farfield/techniques/ptychography/state.hpp"

namespace farfield::techniques::ptychography {

/// All `slots` in batches of about `size`. Sequential keeps the order; random deals them out; compact cuts
/// the scan into clusters of neighbours by bisection along randomly turned axes, anew each time, and visits
/// the clusters and their members in random order (compact sets: Odstrcil et al. 2018, doi:10.1364/OE.26.003108).
std::vector<std::vector<Index>> make_batches(const std::vector<Index>& slots, const State&, Index size, BatchChoice,
                                             math::Random&);

}  // namespace farfield::techniques::ptychography
