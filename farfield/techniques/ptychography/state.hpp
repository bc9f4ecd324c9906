#pragma once
// What a reconstruction changes: object, probes, positions, per-pattern factors, background.

#include <vector>

#include "farfield/core/array.hpp"
#include "farfield/techniques/ptychography/kernels.hpp"
#include "farfield/techniques/ptychography/patterns.hpp"

namespace farfield::techniques::ptychography {

/// Where one pattern's window lies: whole pixels from the object's corner and the fraction that the probe
/// is shifted by. The pattern's intensity factor is folded into the shift's taps.
struct Placement {
  Index oy = 0, ox = 0;
  SubPixelShift shift{};
};

struct State {
  Shape shape;                                ///< of a tile
  core::Array<cfloat, 3> probe;               ///< (mode, y, x)
  core::Array<cfloat, 3> eigen_probes;  ///< (opr mode, y, x), added to mode 0 with the pattern's weights; may be empty
  core::Array<cfloat, 2> object;  ///< (y, x)
  double origin_y = 0, origin_x = 0;  ///< position (px) of the object's first pixel
  core::Array<float, 2> background;  ///< tile, counts; empty: none

  // Per slot of Patterns:
  std::vector<double> y, x;  ///< current positions, px
  std::vector<float> amplitude;  ///< factor on the exit wave (square root of the intensity factor)
  std::vector<float> opr_weights;  ///< (slot, opr mode)
  std::vector<Placement> placements;

  int modes() const { return static_cast<int>(probe.extent(0)); }
  int opr_modes() const { return eigen_probes.empty() ? 0 : static_cast<int>(eigen_probes.extent(0)); }
  cfloat* probe_mode(int m) { return probe.data() + m * shape.size(); }
  const cfloat* probe_mode(int m) const { return probe.data() + m * shape.size(); }
  Index object_stride() const { return object.extent(1); }
  cfloat* window(Index slot) {
    const auto& p = placements[static_cast<std::size_t>(slot)];
    return object.data() + p.oy * object_stride() + p.ox;
  }
  const cfloat* window(Index slot) const { return const_cast<State*>(this)->window(slot); }

  /// Recomputes a slot's placement from its position and factor.
  void place(Index slot);
};

/// Object pixels kept free around all windows: gradients by central differences and small position
/// corrections need them.
inline constexpr Index kObjectMargin = 8;

/// Takes over new ready slots (recorded positions, factor 1) and makes the object array cover every
/// window with its margin, keeping what it holds; new pixels get `fill`. Returns true if the array moved
/// or grew; algorithms then re-lay their own object-shaped arrays with regrid().
bool cover(State&, const Patterns&, cfloat fill, Index extra_margin);

/// Copies `old` (first pixel at old_origin) into a new array of `extents` at new_origin, `fill` elsewhere.
template <class T>
core::Array<T, 2> regrid(const core::Array<T, 2>& old, double old_y, double old_x, std::array<Index, 2> extents,
                         double new_y, double new_x, T fill) {
  core::Array<T, 2> grown(extents, fill);
  const Index dy = static_cast<Index>(old_y - new_y), dx = static_cast<Index>(old_x - new_x);
  for (Index y = 0; y < old.extent(0); ++y)
    for (Index x = 0; x < old.extent(1); ++x)
      if (y + dy >= 0 && y + dy < extents[0] && x + dx >= 0 && x + dx < extents[1]) grown(y + dy, x + dx) = old(y, x);
  return grown;
}

}  // namespace farfield::techniques::ptychography
