#pragma once
// Which delays are measured: the multi-tau scheme, or every delay up to a limit.
// K. Schätzel, Quantum Optics 2, 287 (1990), doi:10.1088/0954-8998/2/4/002.

#include <vector>

#include "farfield/core/view.hpp"

namespace farfield::techniques::xpcs {

using core::Index;

/// A delay of k samples of level `level`, whose samples are 2^level time steps long.
struct Lag {
  Index level = 0, k = 0;
  Index steps() const { return k << level; }
};

/// Multi-tau: at level 0 the lags 1 ... 2 dpl, at level l >= 1 the dpl lags (dpl + 1) ... 2 dpl of step 2^l. Linear:
/// the lags 1 ... `first` of level 0 alone.
struct LagScheme {
  Index first = 8;       ///< lags of level 0, from 1
  Index per_level = 4;   ///< dpl, lags of every further level; 0: there is none
  Index max_steps = 0;   ///< the longest delay in time steps; 0: as long as there are samples

  static LagScheme multi_tau(Index dpl, Index max_steps = 0) { return {2 * dpl, dpl, max_steps}; }
  static LagScheme linear(Index lags) { return {lags, 0, lags}; }

  Index history(Index level) const { return level == 0 ? first : 2 * per_level; }
  Index first_lag(Index level) const { return level == 0 ? 1 : per_level + 1; }
  Index lags(Index level) const { return level == 0 ? first : per_level; }
};

/// The lags that have at least one pair among `samples` time steps: M - k >= 1 with M = floor(samples / 2^level).
/// In order of their length. Level and delay are ever growing: the lags of fewer samples are the first of these.
std::vector<Lag> lags_of(const LagScheme& scheme, Index samples);
/// Levels that have a lag, or will have one, as soon as there is a first sample of theirs: 2^level <= samples, and
/// the level's shortest delay is not above max_steps.
Index levels_of(const LagScheme& scheme, Index samples);

}  // namespace farfield::techniques::xpcs
