#pragma once
// The verbs that take no frames: maps, fits, averages, simulations.

#include <vector>

#include "farfield/technique/technique.hpp"

namespace farfield::techniques::xpcs {

/// `frame_verbs`, and behind them qmap, fit, average and simulate.
std::vector<technique::Verb> with_product_verbs(std::vector<technique::Verb> frame_verbs);

}  // namespace farfield::techniques::xpcs
