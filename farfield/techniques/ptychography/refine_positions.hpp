#pragma once
// Scan positions from the patterns themselves. With psi = P(r) O(r + p), a window moved by d changes the exit wave
// by d . P dO/dr; chi is the wanted change, so the least-squares correction of a pattern solves
//   sum_m <P_m dO/da, P_m dO/db> d_b = sum_m Re<P_m dO/da, chi_m>,  a, b in {y, x}
// (Odstrcil et al. 2018, doi:10.1364/OE.26.003108, section 2.4): one full step per pattern and pass, whatever the size
// of the batches. A pattern whose structure P dO/dr is no more than what the noise of chi makes of an empty object is
// held back.

#include <span>

#include "farfield/techniques/ptychography/algorithm.hpp"

namespace farfield::techniques::ptychography {

/// Map of recorded positions r (px) to current ones: r + t + M (r - c).
struct PositionMap {
  double t_y = 0, t_x = 0;
  double yy = 0, yx = 0, xy = 0, xx = 0;  ///< M
  double c_y = 0, c_x = 0;
  double sigma_px = 0;                    ///< robust spread of the positions about the map, per axis
  double rms_px = 0;                      ///< plain RMS distance from it, per axis
};

/// Robust fit (Huber weights, iterated) over the slots of all processes. Scans along a line or in one point get the
/// smallest M that explains them.
PositionMap fit_positions(const State&, const Patterns&, std::span<const Index> slots, PositionModel, Sharing&);

struct PositionChange {
  double rms_px = 0;      ///< of the corrections applied, all processes
  Index outliers = 0;     ///< put onto the model
};

/// After a pass over `slots` with Pass::refine_positions: corrects state.y and state.x, each by at most
/// position_step_limit_px, without their mean (it would only move the object). Then positions are drawn towards the
/// model by the fraction position_regularisation, in full where the pattern says nothing, not at all where its
/// structure is far above noise; those further than position_outlier_sigma from it are put onto it. Placements of the
/// slots become invalid: call cover() next, which grows the object where a window would leave it.
PositionChange refine_positions(State&, const Patterns&, std::span<const Index> slots,
                                std::span<const Observation> observations, const Options&, Sharing&);

}  // namespace farfield::techniques::ptychography
