#pragma once
// A factor on each pattern's exit wave (unsteady beam). The cost sum (a sqrt(I_model) - sqrt(I))^2 is least at
// a = sum sqrt(I_model I) / sum I_model, and the numerator is known from the sums of the pass:
// cost = I_model + I - 2 sqrt(I_model I), each summed over valid pixels. (With a background, which is not scaled,
// a is an approximation with the same fixed point where the background is fitted too.)

#include <span>

#include "farfield/techniques/ptychography/algorithm.hpp"

namespace farfield::techniques::ptychography {

/// After a pass over `slots`: moves state.amplitude of each 0.3 of the way to its best factor (at most 2), keeps the
/// mean of their squares over all processes at 1; the common factor goes into the probe, so that the model stays as it
/// is. A pattern without counts in the model keeps its factor. Placements of the slots become invalid: call cover()
/// next.
void refine_intensity(State&, std::span<const Index> slots, std::span<const Observation> observations, Sharing&);

}  // namespace farfield::techniques::ptychography
