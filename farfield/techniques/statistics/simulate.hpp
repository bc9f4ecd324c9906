#pragma once
// Data with a known answer.

#include <memory>

#include "farfield/technique/technique.hpp"
#include "farfield/techniques/statistics/options.hpp"

namespace farfield::techniques::statistics {

/// u16 frames (shape, shape) of Poisson counts about a mean that grows linearly from left to right, from
/// half of `mean_counts` to one and a half. truth() holds "mean" and "variance" f64 (y, x), which are equal.
/// Frame i depends on (seed, i) only.
std::unique_ptr<technique::Simulation> make_simulation(const SimulateOptions& options, std::uint64_t seed);

}  // namespace farfield::techniques::statistics
