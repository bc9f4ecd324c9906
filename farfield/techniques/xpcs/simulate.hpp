#pragma once
// Speckle with known dynamics, as a photon-counting detector would see it.

#include <memory>
#include <vector>

#include "farfield/core/options.hpp"
#include "farfield/core/view.hpp"
#include "farfield/technique/technique.hpp"

namespace farfield::techniques::xpcs {

using core::Index;

/// How the field of a pixel at q forgets itself, g1(t1, t2):
/// diffusive  exp(-rate |t2 - t1|),        rate = 1 / tau(q)
/// ballistic  exp(-(|t2 - t1| / tau(q))^2)
/// ageing     exp(-integral of rate(t)),   rate(t) = 1 / (tau(q) (1 + t / age)): diffusive, and slowing down
enum class Dynamics { diffusive, ballistic, ageing };

struct SimulateOptions {
  Index frames = 2000;
  std::vector<double> shape{128, 128};  ///< rows, columns
  double mean_counts = 0.05;            ///< per pixel and frame
  double contrast = 0.3;                ///< g2 - 1 at delay 0, from 0 to 1
  Dynamics dynamics = Dynamics::diffusive;
  double tau_s = 0.02;                  ///< relaxation time at reference_q
  double reference_q_per_A = 0.001;
  double exponent = -2;                 ///< tau(q) = tau_s (q / reference_q)^exponent
  double age_s = 1;
  double frame_time_s = 1e-3;
  double distance_m = 5, pixel_size_m = 75e-6, energy_eV = 10000;
  std::vector<double> beam_center_px;   ///< row, column; empty: the middle
  Index dead_pixels = 0;                ///< count nothing; masked
  Index hot_pixels = 0;                 ///< count 60000 in every frame; masked
};

const core::BoundSchema<SimulateOptions>& simulate_schema();

/// u16 frames (y, x) with values "time_s". The intensity of a pixel is sqrt(contrast) |E|^2 + 1 - sqrt(contrast) times
/// the mean, with complex normal fields E that are independent from pixel to pixel, so that g2 - 1 = contrast |g1|^2
/// exactly (ballistic: E is a sum of kWaves plane waves, and contrast includes their 1 - 1 / kWaves); counts are
/// Poisson. truth(): q (y, x) in 1/A, tau (y, x) in s, metrics contrast, frame_time_s, law_prefactor (of q in 1/A),
/// law_exponent. The frames follow from the seed alone. Throws `invalid_argument` for a shape that is none, or for a
/// ballistic contrast above 1 - 1 / kWaves.
std::unique_ptr<technique::Simulation> make_simulation(const SimulateOptions& options, std::uint64_t seed);

inline constexpr Index kWaves = 16;

}  // namespace farfield::techniques::xpcs
