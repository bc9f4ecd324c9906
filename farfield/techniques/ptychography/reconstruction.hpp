#pragma once
// The verb `reconstruct`: object and probe from diffraction patterns.
//
// Frames: counts (y, x). Values of a frame: its position, "y_m", "x_m" or "y_px", "x_px" (corner of its window on the
// object, any origin), and "monitor" (beam intensity, any unit; starts its intensity factor with fit-intensity).
// Inputs of the acquisition that are used where there are any: "probe", "object", "background".
//
// Patterns may arrive between steps, in any order, before or after their positions: each step takes in
// those that are complete, and the object grows. A pattern that comes twice counts once.

#include <memory>

#include "farfield/technique/technique.hpp"
#include "farfield/techniques/ptychography/options.hpp"

namespace farfield::techniques::ptychography {

/// Throws `invalid_argument` for options that contradict each other.
///
/// Of the technique's members: begin() throws `invalid_argument` (options that do not fit the frames),
/// `corrupt_data` (mask that hides everything), `resource_exhausted` (more than Resources.memory_limit_bytes);
/// annotate() throws `invalid_argument` for metres without a geometry; step() throws `corrupt_data` for a scan
/// that cannot be reconstructed: no usable pattern, positions all equal or in the wrong unit, no counts;
/// restore() throws `conflict` for a checkpoint of other options or patterns, `corrupt_data` for a damaged one.
std::unique_ptr<technique::Technique> make_reconstruction(const Options&, const technique::Resources&);

technique::Verb reconstruct_verb();

}  // namespace farfield::techniques::ptychography
