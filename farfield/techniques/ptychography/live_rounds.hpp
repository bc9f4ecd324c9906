#pragma once
// Which patterns are visited while the scan is still coming. A whole pass over a long scan would keep new patterns, the
// picture and a stop waiting; a round is bounded work instead. Half of it goes to the patterns that were visited least,
// which are the newest, the other half once around all of them, so that old ones keep up with the probe.

#include <cstdint>
#include <span>
#include <vector>

#include "farfield/core/view.hpp"
#include "farfield/technique/technique.hpp"

namespace farfield::techniques::ptychography {

using core::Index;

class LiveRounds {
public:
  /// At most `most` (>= 2) of the slots in `ready`, each once, in the order of `ready`. All of them where they are no
  /// more than that.
  std::vector<Index> choose(const std::vector<Index>& ready, Index most);
  /// The patterns of `slots` were visited once more.
  void visited(std::span<const Index> slots);

  Index visits(Index slot) const;
  /// Visits of all patterns together.
  double total() const { return static_cast<double>(total_); }

  /// Blocks "visits" and "turn".
  void save(technique::Sink&) const;
  /// Throws `corrupt_data`. `slots`: of the checkpoint.
  void restore(technique::Source&, Index slots);

private:
  std::vector<std::uint32_t> visits_;  // by slot; those beyond the end: none
  std::size_t turn_ = 0;  // where in `ready` the way around goes on
  std::uint64_t total_ = 0;
};

}  // namespace farfield::techniques::ptychography
