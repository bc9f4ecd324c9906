#pragma once
// The state as blocks of a checkpoint.

#include "farfield/technique/blocks.hpp"
#include "farfield/techniques/ptychography/state.hpp"

namespace farfield::techniques::ptychography {

using technique::get_values;
using technique::PrefixedSink;
using technique::PrefixedSource;
using technique::put_values;

/// Blocks "state/...".
void save_state(const State&, technique::Sink&);
/// A state of `slots` patterns and tiles of `shape`. Throws `corrupt_data` where sizes contradict each other.
/// Placements are computed anew.
State restore_state(technique::Source&, Shape shape, Index slots);

}  // namespace farfield::techniques::ptychography
