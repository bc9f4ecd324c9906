#pragma once
// Sums over all patterns into one object-shaped array, by several threads without locks and without a copy of the
// object for each: patterns are shared out in bands of rows. A thread adds to the common array in the rows that
// only it touches, and keeps a spill for the rows below that the next threads' patterns reach too.

#include <vector>

#include "farfield/techniques/ptychography/algorithm.hpp"

namespace farfield::techniques::ptychography {

/// Whether a pass ends early. Several processes end it together: one alone would leave the others waiting for sums.
inline bool stopped(const Pass& pass) { return pass.sharing.size() == 1 && pass.stop.stop_requested(); }

class FullBatch {
public:
  /// Some rows of a pattern's window, and where they are summed.
  struct Rows {
    Index first = 0, count = 0;   ///< rows of the tile
    cfloat* object = nullptr;     ///< (count, nx), stride of the object
    float* illumination = nullptr;
  };

  /// Shares out pass.slots and clears the sums. Neighbours follow each other in each share, so that the part of the
  /// object in use stays in the cache.
  void begin(const Pass&);
  const std::vector<Index>& share(int thread) const { return shares_[static_cast<std::size_t>(thread)].slots; }
  /// The one or two pieces into which a slot's window falls; returns their number.
  int rows(const State&, Index slot, int thread, Rows (&out)[2]);
  cfloat* probe_sum(int thread) { return shares_[static_cast<std::size_t>(thread)].probe.data(); }
  ModulusSums& sums(int thread) { return shares_[static_cast<std::size_t>(thread)].sums; }
  /// Adds up the threads, then the processes.
  void finish(core::ThreadPool&, const Kernels&, Sharing&);

  // After finish():
  core::Array<cfloat, 2>& object() { return object_; }
  core::Array<float, 2>& illumination() { return illumination_; }
  /// (mode, y, x)
  core::Array<cfloat, 3>& probe() { return shares_[0].probe; }
  /// Of this process.
  const ModulusSums& total() const { return total_; }

private:
  struct Share {
    std::vector<Index> slots;
    Index end = 0;                ///< rows from here on go to the spill
    core::Array<cfloat, 2> spill;
    core::Array<float, 2> spilt_illumination;
    core::Array<cfloat, 3> probe;
    ModulusSums sums;
  };
  core::Array<cfloat, 2> object_;
  core::Array<float, 2> illumination_;
  std::vector<Share> shares_;
  ModulusSums total_;
};

}  // namespace farfield::techniques::ptychography
