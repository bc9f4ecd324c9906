#pragma once
// How the patterns of a pass are grouped into batches.

#include <vector>

#include "farfield/math/random.hpp"
#include "farfield/techniques/ptychography/options.hpp"
#include "farfield/techniques/ptychography/state.hpp"

namespace farfield::techniques::ptychography {

using Batch = std::vector<Index>;

/// All `slots` in batches of about `size`. Sequential keeps the order; random deals them out; compact cuts
/// the scan into clusters of neighbours by bisection along randomly turned axes, anew each time, and visits
/// the clusters and their members in random order (compact sets: Odstrcil et al. 2018, doi:10.1364/OE.26.003108).
std::vector<Batch> make_batches(const std::vector<Index>& slots, const State&, Index size, BatchChoice, math::Random&);

/// The part of the object that a batch touches: rows [y0, y1), columns [x0, x1).
struct Box {
  Index y0 = 0, x0 = 0, y1 = 0, x1 = 0;
  Index height() const { return y1 - y0; }
  Index width() const { return x1 - x0; }
  bool meets(const Box& o) const { return y0 < o.y1 && o.y0 < y1 && x0 < o.x1 && o.x0 < x1; }
};
/// Lanes that rounds have for so many threads: one and two threads do the same in the same order.
inline Index lanes_for(int threads) { return threads < 2 ? 2 : threads; }

Box box_of(const Batch&, const State&);

/// Batches that several threads work off at once, each its own lane, one batch after the other: no box of a lane meets
/// one of another lane, so that the order between lanes does not matter. A single lane is for all threads together.
struct Round {
  std::vector<std::vector<Batch>> lanes;
};
/// Deals the batches out in rounds of `lanes` lanes with up to `each` batches, all lanes of a round the same number.
/// Batches keep their order but for those that wait until nothing is in their way.
std::vector<Round> make_rounds(std::vector<Batch> batches, const State&, Index lanes, Index each);

}  // namespace farfield::techniques::ptychography
