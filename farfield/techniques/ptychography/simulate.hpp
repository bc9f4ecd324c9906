#pragma once
// Frames of a known object: the verb `simulate`. Equations: simulate_optics.hpp.

#include <memory>

#include "farfield/core/options.hpp"
#include "farfield/technique/technique.hpp"

namespace farfield::techniques::ptychography {

/// Streams the patterns in bounded memory: object, probe and one piece of frames per thread at a time.
/// Every frame draws from a random stream of its own, so that the bits do not depend on the number of threads.
///
/// next() uses Resources.pool; nothing else may use that pool meanwhile.
///
/// Values of a frame: "y_m", "x_m" (or "y_px", "x_px" with pixel-units).
/// Inputs: "probe" c64 (mode, y, x), unless start-probe = none.
/// Truth: "object" c64 (y, x), "probe" c64 (mode, y, x), "positions" f64 (frame, 2) true (y, x) in px of the object,
/// "recorded_positions" f64 (frame, 2) px, "intensity" f64 (frame) relative photons, and where they were asked for
/// "background" f32 (y, x), "eigen_probe" c64 (y, x) with "eigen_weights" f64 (frame). Metrics: "frames" streamed
/// so far and their "noise_floor" = mean over valid pixels of (sqrt(I_true) - sqrt(I_noisy))^2.
std::unique_ptr<technique::Simulation> make_simulation(const core::OptionValues& options,
                                                       const technique::Resources& resources);

technique::Verb simulate_verb();

}  // namespace farfield::techniques::ptychography
