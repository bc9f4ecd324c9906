#pragma once
// A probe that varies from pattern to pattern: P_j = P_0 + sum_k w_jk E_k with few eigen-probes E_k and real
// weights (orthogonal probe relaxation, Odstrcil et al. 2016, doi:10.1364/OE.24.008360). Instead of storing every
// P_j for a singular value decomposition, a pass does one step of alternating least squares:
//   weights       w_jk += Re<chi_j, E_k O_j> / |E_k O_j|^2                     while the pattern is visited,
//   eigen-probes  E_k  += sum_j w_jk O_j^* chi_j / (sum_j w_jk^2 mean|O|^2)    after the pass,
// which for a linear problem is a power iteration on the covariance of the residual probes. It starts from their
// sum under random signs (a randomised range finder, Halko et al. 2011, doi:10.1137/090771806).

#include <span>

#include "farfield/techniques/ptychography/forward_model.hpp"

namespace farfield::techniques::ptychography {

class Sharing;

/// Before a pass: makes room for `modes` eigen-probes (zero at first) in the state and clears the accumulators
/// of the workspaces. modes = 0, or a pass without this refinement: accumulators are released.
void begin_probe_variation(State&, std::span<Workspace>, int modes);

/// During a pass, with w.psi[0] = chi and w.p[0] as residuals() left them: new weights of the slot, and its share of
/// the gradient. Called by Pass::observe(); spoils w.term. One thread per workspace and slot.
void observe_probe_variation(State&, const ForwardModel&, Index slot, Workspace& w);

/// After a pass over `slots`: updates the eigen-probes, moves the weights' mean into the probe, and rewrites the
/// sum in its singular vectors: eigen-probes orthonormal (power 1), strongest first, weights uncorrelated.
void refine_probe_variation(State&, std::span<Workspace>, std::span<const Index> slots, const Kernels&, Sharing&);

}  // namespace farfield::techniques::ptychography
