#pragma once
// The verb `rebin`: another q-map applied to what every pixel measured, without the frames.

#include "farfield/model/product.hpp"

namespace farfield::techniques::xpcs {

/// `kept`: a product of `correlate` with the pixels kept (G2, IP, IF, pixel). `map`: a product that holds a q-map
/// ("qmap/..."). Gives delay, g2, g2_error, q, saxs_1d and the new map. Pixels of the new map that the old one did not
/// use were not measured: they are left out, and metric `pixels_not_measured` counts them.
/// Throws `invalid_argument` where one has no pixels or no map, `corrupt_data` for maps of different shapes.
model::Product rebin(const model::Product& kept, const model::Product& map);

}  // namespace farfield::techniques::xpcs
