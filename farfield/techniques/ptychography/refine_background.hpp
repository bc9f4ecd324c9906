#pragma once
// Incoherent background common to all patterns: I_model = sum |psi|^2 + b, b >= 0. Newton's step for each pixel with
// the rest held still, from the first and second derivatives of the cost, averaged over patterns j (q = sqrt(I /
// I_model)):
//   amplitude   1 - q   and   q / (2 I_model) ~ 1 / (2 I)        Poisson   1 - q^2   and   q^2 / I_model ~ 1 / I
// The gradient is gathered while the patterns are visited; the curvature is taken from the counts, which the model
// tends to, each at least b.

#include <span>

#include "farfield/techniques/ptychography/algorithm.hpp"

namespace farfield::techniques::ptychography {

/// Before a pass. With `wanted`: gives the state a background, if it has none, of 0.3 of the mean of the given
/// patterns, and clears the accumulators of the workspaces; else releases them (the background stays).
void begin_background(State&, const Patterns&, std::span<const Index> slots, std::span<Workspace>, bool wanted,
                      Sharing&);

/// After a pass over `slots` with begin_background(wanted). A pixel changes by at most a factor of 2; invalid pixels
/// keep their value.
void refine_background(State&, const Patterns&, std::span<const Index> slots, std::span<Workspace>, Likelihood,
                       Sharing&);

}  // namespace farfield::techniques::ptychography
