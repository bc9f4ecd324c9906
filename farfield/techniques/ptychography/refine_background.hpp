#pragma once
// Incoherent background common to all patterns: I_model = sum |psi|^2 + b, b >= 0. With q = sqrt(I / I_model) (amplitude;
// its square for Poisson), the multiplicative update b <- b mean_j(q)^2, or b mean_j(q) for Poisson, is Richardson-Lucy's
// (Lucy 1974, doi:10.1086/111605) with b as one emitter of each pixel: it keeps b >= 0 and rests where the gradient is 0.

#include <span>

#include "farfield/techniques/ptychography/algorithm.hpp"

namespace farfield::techniques::ptychography {

/// Before a pass. With `wanted`: gives the state a background, if it has none, of a hundredth of the mean of the given
/// patterns, and clears the accumulators of the workspaces; else releases them (the background stays).
void begin_background(State&, const Patterns&, std::span<const Index> slots, std::span<Workspace>, bool wanted, Sharing&);

/// After a pass over `patterns` patterns (of this process) with begin_background(wanted). A pixel changes by at most a
/// factor of 2; invalid pixels keep their value.
void refine_background(State&, std::span<Workspace>, Index patterns, Likelihood, Sharing&);

}  // namespace farfield::techniques::ptychography
