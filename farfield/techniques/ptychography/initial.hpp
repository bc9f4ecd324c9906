#pragma once
// Where a reconstruction starts: probe and its modes, object, background.

#include <span>

#include "farfield/core/thread_pool.hpp"
#include "farfield/model/acquisition.hpp"
#include "farfield/techniques/ptychography/forward_model.hpp"
#include "farfield/techniques/ptychography/geometry.hpp"
#include "farfield/techniques/ptychography/options.hpp"
#include "farfield/techniques/ptychography/state.hpp"

namespace farfield::techniques::ptychography {

class Sharing;

/// What the start is made of. Everything outlives the calls.
struct StartInputs {
  const Options& options;
  const model::Acquisition& acquisition;
  const Geometry& geometry;
  const ForwardModel& model;      ///< with its patterns
  std::span<const double> counts; ///< total of each slot
  core::ThreadPool& pool;
  Sharing& sharing;               ///< sums over patterns are sums over all processes
  std::uint64_t seed = 0;
};

/// Field (y, x) on a window of another size: "probe" of a file for tiles of `to`. A probe sampled for the whole
/// frame follows the preparation of the frames: bins take its central part (p grows), crop and pad change its
/// sampling (its spectrum is cropped or padded). Any other probe keeps its sampling and is cropped or padded
/// about its centre.
core::Array<cfloat, 2> fit_probe(core::View<const cfloat, 2> probe, Shape frame, Shape to, Index bin);

/// probe(mode, y, x) with all its modes, defocused as options say, centred on (ny/2, nx/2), of any power.
/// Throws `invalid_argument` for a start that lacks its input or a length, `corrupt_data` for a probe of the
/// scan that is zero or not finite.
core::Array<cfloat, 3> starting_probe(const StartInputs&);

/// Modes from `given` on, made from the first: Hermite polynomials, shifts or random phases; orthogonal to the
/// others, `power` of the total spread evenly over all modes beyond the first.
void add_modes(core::View<cfloat, 3> probe, Index given, ModeStart, double power, std::uint64_t seed);

/// Fills the pixels of s.object outside the rectangle that it covered before (first pixel at old_y, old_x;
/// extents zero: all of it). A pixel's value depends on where it is, not on when it was added.
void fill_object(State& s, double old_y, double old_x, std::array<Index, 2> old_extents, const StartInputs&);

/// Scales the probe such that model and measurement have the same counts over a sample of the patterns.
/// Throws `corrupt_data` when nothing was counted.
void rescale_probe(State&, const StartInputs&);

/// Start of the background in the order of a tile, from the scan's "background" (y, x) of whole frames.
/// Empty where the scan has none. Throws `corrupt_data` for another shape or values < 0.
core::Array<float, 2> starting_background(const model::Acquisition&, const Options&);

/// Sum of all counts of a tile, saturated and masked ones as they are.
double total_counts(const void* counts, core::DType, Index n);

}  // namespace farfield::techniques::ptychography
