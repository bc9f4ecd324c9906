#pragma once
// The part of an object that a scan determines well enough to be compared.

#include <optional>

#include "farfield/core/any_array.hpp"
#include "farfield/model/product.hpp"

namespace farfield::techniques::ptychography {

/// Rows [y, y + ny), columns [x, x + nx).
struct Region {
  core::Index y = 0, x = 0, ny = 0, nx = 0;
  core::Index area() const { return ny * nx; }
};

Region intersection(const Region& a, const Region& b);
inline Region moved(const Region& r, core::Index dy, core::Index dx) { return {r.y + dy, r.x + dx, r.ny, r.nx}; }

/// The largest rectangle (by area) of pixels that are not 0; mask(y, x). Empty where there is none.
Region largest_rectangle(core::View<const std::uint8_t, 2> mask);

/// "positions" (frame, 2) in pixels from the first one of the object; those in metres are divided by the pixel size.
/// Nothing where there are none, one is not finite, or the pixel size is not known.
std::optional<core::Array<double, 2>> positions_px(const model::Product& product);

/// The largest rectangle illuminated by the scan: each position lights the square inscribed in the disc of the
/// probe's effective diameter around its centre of mass; gaps up to 1.5 diameters wide are bridged. Needs positions (as
/// above) and "probe" (mode, y, x) in the product; without them the whole object. Throws `invalid_argument` when the
/// product has no complex "object" (y, x) or it is not finite.
Region illuminated_region(const model::Product& product);

/// "object" as single-precision complex numbers; errors as above.
core::Array<core::cfloat, 2> object_of(const model::Product& product);

}  // namespace farfield::techniques::ptychography
