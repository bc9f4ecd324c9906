#pragma once
// One reconstruction by several processes: the scan is cut into spatial tiles, each process keeps the patterns
// of one tile and the part of the object under their windows; neighbours exchange the object pixels that both
// hold, the probe is common (tiles and neighbour exchange: Yu et al. 2022, doi:10.1038/s41598-022-09430-3).
//
// Every member marked "collective" must be called by all processes, in the same order.

#include <optional>

#include "farfield/model/frame.hpp"
#include "farfield/techniques/ptychography/algorithm.hpp"

namespace farfield::techniques::ptychography {

/// Owner, 0 to parts - 1, of each position (px): recursive bisection across the longer side, tiles of equal
/// numbers of patterns (they differ by at most one). Throws `invalid_argument` unless parts >= 1.
std::vector<int> split_scan(std::span<const double> y, std::span<const double> x, int parts);

/// The whole reconstruction, put together from all tiles.
struct Whole {
  State state;                      ///< slots in the order of frame ids; placements are set
  std::vector<model::FrameId> ids;  ///< by slot
  std::vector<double> recorded_y, recorded_x;  ///< by slot, px
};

/// How a Reconstruction uses it, with n processes:
///   reading      every process sees every frame and keeps those that takes() says; all positions are annotated
///   end of scan  patterns = split(std::move(patterns)), then cover() as ever
///   start        the probe must be the same everywhere: mean pattern, counts ... are sums over processes
///   each pass    algorithm.iterate(), then average() unless the algorithm is full-batch, then refinements
///   cover()      align() whenever it has been called, on all processes
///   stops        agree(stop asked for here): one process alone must not leave the loop
///   the end      gather()
class TileSharing final : public Sharing {
public:
  /// `communicator` outlives this.
  explicit TileSharing(parallel::Communicator& communicator) : communicator_(communicator) {}

  int size() const override { return communicator_.size(); }
  int rank() const { return communicator_.rank(); }
  /// Process 0 reports progress and writes the product.
  bool first() const { return rank() == 0; }

  /// While reading: frames are dealt out like cards, so that no process ever holds the whole scan.
  bool takes(model::FrameId id) const { return id % size() == rank(); }

  /// Collective, after the last frame: sends every ready pattern to the process whose tile it lies in; returns
  /// this process's own, ordered by frame id. Frames without a position are left behind. While it runs a process holds
  /// up to twice its share. Throws `invalid_argument` on all processes when there are fewer patterns than processes.
  Patterns split(Patterns&& dealt);

  /// Collective, after cover() has laid out the object: agrees on who shares which pixels. Where a process's
  /// object has moved or grown since the last call (always the first time), shared pixels become the mean of what
  /// their holders have, weighted by their illumination.
  void align(State&, const ForwardModel&);

  /// Collective, after a pass of an algorithm that updates batch by batch: shared object pixels become the mean
  /// weighted by illumination, the probe the mean weighted by patterns. A fixed point of all patterns in one process
  /// is a fixed point here: weighted steps add up to the common gradient. (LSQ-ML updates the probe with all processes
  /// during the pass, so that the mean changes nothing: a mean of separate steps would be short of their sum.
  /// Eigen-probes, background and factors are common already: their refinements add up over processes themselves.)
  void average(State&, const ForwardModel&);

  void sum(std::span<double>) override;
  void sum(std::span<cfloat>) override;
  void sum_object(core::View<cfloat, 2>) override;
  void sum_object(core::View<float, 2>) override;
  double dot_object(const Kernels&, core::View<const cfloat, 2>, core::View<const cfloat, 2>) const override;

  /// Collective: true everywhere if it is true anywhere.
  bool agree(bool here);
  /// Collective: sums over all processes.
  ModulusSums total(const ModulusSums& here);

  /// Collective: everything to process 0, nothing elsewhere. Object pixels that no process holds get `fill`.
  std::optional<Whole> gather(const State&, const Patterns&, cfloat fill) const;

  /// Bytes that this process has sent, all told.
  double bytes_sent() const { return static_cast<double>(communicator_.bytes_sent()); }
  /// Object pixels that this process shares with others, counted once per neighbour.
  Index border_pixels() const;

private:
  struct Box {
    Index y0 = 0, x0 = 0, y1 = 0, x1 = 0;  ///< object coordinates, px; end exclusive
    bool operator==(const Box&) const = default;
    bool empty() const { return y1 <= y0 || x1 <= x0; }
    Index size() const { return empty() ? 0 : (y1 - y0) * (x1 - x0); }
  };
  struct Neighbour {
    int rank;
    Box overlap;  ///< in pixels of this process's object
  };
  /// Pixels x0 to x1 - 1 of row y of this process's object.
  struct Run {
    Index y, x0, x1;
  };
  std::vector<Box> boxes_of_all(const State&) const;
  void find_shared(const State&);
  template <class T>
  void sum_shared(core::View<T, 2>);
  void mean_object(State&, const ForwardModel&);

  parallel::Communicator& communicator_;
  std::vector<Box> boxes_;  ///< of every process
  std::vector<Neighbour> neighbours_;  ///< by rank
  std::vector<Run> shared_;  ///< pixels that others hold, too
  std::vector<Run> owned_;  ///< pixels that no process of lower rank holds
};

}  // namespace farfield::techniques::ptychography
