#pragma once
// Images of a product as numbers, for viewers that choose colours and scale themselves.

#include <cstdint>
#include <vector>

#include "farfield/model/product.hpp"
#include "farfield/services/compute/protocol.hpp"

namespace farfield::apps {

/// One for each dataset over (y, x), in zstd, u8 as it is and all else as u16 between the lowest and the highest finite
/// value (Preview::low, high; what is not finite is low): NAME.raw, of complex ones NAME_phase.raw (rad, -pi to pi) and
/// NAME_amplitude.raw (from 0). Left out: what is not drawn, and images of more than 4 Mi values.
std::vector<services::compute::Preview> raw_previews(const model::Product& product, std::int64_t step);

}  // namespace farfield::apps
