#pragma once
// What all reconstruction algorithms share: one pass over the patterns.

#include <memory>
#include <mutex>
#include <stop_token>
#include <vector>

#include "farfield/core/thread_pool.hpp"
#include "farfield/math/random.hpp"
#include "farfield/parallel/communicator.hpp"
#include "farfield/technique/technique.hpp"
#include "farfield/techniques/ptychography/forward_model.hpp"
#include "farfield/techniques/ptychography/options.hpp"
#include "farfield/techniques/ptychography/refine_probe_variation.hpp"

namespace farfield::techniques::ptychography {

/// How the processes of one reconstruction share it. Each holds the patterns of one region and the part of
/// the object that they see; probe and scalars are common. Alone, every call does nothing.
class Sharing {
public:
  virtual ~Sharing() = default;
  virtual int size() const { return 1; }
  virtual void sum(std::span<double>) {}
  virtual void sum(std::span<cfloat>) {}
  /// Adds what the neighbours hold for the pixels that both have; both end with the same values.
  virtual void sum_object(core::View<cfloat, 2>) {}
  virtual void sum_object(core::View<float, 2>) {}
  /// This process's part of sum Re(conj(a) b) over the whole object, such that pixels which several hold are
  /// counted once; sum() over the processes completes it. a and b are contiguous and of the object's extents.
  virtual double dot_object(const Kernels& k, core::View<const cfloat, 2> a, core::View<const cfloat, 2> b) const {
    return k.dot(a.size(), a.data(), b.data());
  }
};

/// What one pattern taught beside gradients; collected during a pass, applied after it.
struct Observation {
  ModulusSums sums;
  StepSums position;   ///< a: along y, b: along x (only when positions are refined)
};

/// One iteration: everything an algorithm may use. `slots` are the patterns of this pass.
struct Pass {
  const Options& options;
  std::int64_t iteration = 0;                 ///< from 0
  State& state;
  const ForwardModel& model;
  const std::vector<Index>& slots;
  core::ThreadPool& pool;
  std::vector<Workspace>& workspaces;         ///< one per thread
  math::Random& random;
  Sharing& sharing;
  std::stop_token stop;

  bool update_object = true, update_probe = true, update_modes = true, update_opr = false;
  bool refine_positions = false;

  std::vector<Observation>& observations;     ///< by slot

  /// To be called once per pattern, with w.psi = chi and w.p = S p as residuals() and exit_waves() left them.
  /// Spoils w.term.
  void observe(Index slot, const ModulusSums& sums, Workspace& w) const {
    if (update_opr) observe_probe_variation(state, model, slot, w);
    Observation& o = observations[static_cast<std::size_t>(slot)];
    o.sums = sums;
    if (!refine_positions) return;
    o.position = {};
    for (int m = 0; m < state.modes(); ++m)
      o.position +=
          model.kernels().position_sums(state.shape, w.psi[static_cast<std::size_t>(m)],
                                        w.p[static_cast<std::size_t>(m)], state.window(slot), state.object_stride());
  }
};

/// The object array was re-laid: old first pixel and extents -> the state's new ones.
struct Regrid {
  double old_y, old_x;
  std::array<Index, 2> old_extents;
};

class Algorithm {
public:
  virtual ~Algorithm() = default;
  /// One iteration over pass.slots. A full-batch algorithm returns early when a stop is requested, with the state as it
  /// was and empty sums; one that works batch by batch has changed the state by then, and ends its pass. The sums are
  /// what the pass saw while it visited the patterns.
  virtual ModulusSums iterate(Pass&) = 0;
  /// Called after the object array moved or grew.
  virtual void regrid(const State&, const Regrid&) {}
  /// Everything that must survive a checkpoint (momentum, exit waves ...), beyond State.
  virtual void save(technique::Sink&) const {}
  virtual void restore(technique::Source&) {}
  /// Probe modes were mixed, or probe and object moved together, between two iterations: everything that refers to
  /// the old ones is given up. Small changes (constraints, positions, factors) need no call.
  virtual void forget() {}
  /// True: one update from all patterns, the same on all processes by way of Pass::sharing; their states agree
  /// after iterate() as they did before it.
  virtual bool full_batch() const { return false; }
  /// Bytes held per pattern beside the counts; said to the user before it starts.
  virtual double bytes_per_pattern(Shape, int /*modes*/) const { return 0; }
};

std::unique_ptr<Algorithm> make_lsqml(const Options&);
std::unique_ptr<Algorithm> make_pie(const Options&);
std::unique_ptr<Algorithm> make_cgml(const Options&);
/// Difference map or RAAR, as the options say.
std::unique_ptr<Algorithm> make_projection(const Options&);

}  // namespace farfield::techniques::ptychography
