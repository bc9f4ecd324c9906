#pragma once
// Numbers behind pictures: ranges that ignore outliers, reduction by averaging, parts of complex images.

#include <complex>
#include <cstdint>
#include <optional>

#include "farfield/core/any_array.hpp"
#include "farfield/core/array.hpp"

namespace farfield::plot {

struct Range {
  double low = 0, high = 1;
};

/// valid(y, x) != 0 marks pixels that count; an empty view means that all do. Shapes must agree, else
/// `invalid_argument` is thrown, here and below.
using ValidMask = core::View<const std::uint8_t, 2>;

/// From the `low` to the `high` percentile (0 to 100) of the finite, valid values; widened where both are equal,
/// 0 to 1 where there is none. `positive`: of the values > 0 only (for logarithmic pictures).
Range robust_range(core::View<const float, 2> values, ValidMask valid = {}, double low = 0.5, double high = 99.5,
                   bool positive = false);

/// Averages factor x factor pixels, those that are finite and valid; NaN where there are none. The last row and column
/// may stand for fewer. `cyclic`: values are angles in rad, their mean direction is taken.
core::Array<float, 2> reduced(core::View<const float, 2> values, core::Index factor, ValidMask valid = {},
                              bool cyclic = false);
/// The mean of complex values.
core::Array<core::cfloat, 2> reduced(core::View<const core::cfloat, 2> values, core::Index factor);

core::Array<float, 2> amplitude(core::View<const core::cfloat, 2> values);
/// In rad, -pi to pi, after turning everything by -`reference_rad`.
core::Array<float, 2> phase(core::View<const core::cfloat, 2> values, double reference_rad = 0);
/// The direction of the sum of all valid values: what phase() may take as reference, a global phase having no meaning.
double mean_phase(core::View<const core::cfloat, 2> values, ValidMask valid = {});

/// The smallest window that holds all valid pixels, widened by `margin` pixels where there is room. Nothing valid:
/// everything.
struct Window {
  core::Index y = 0, x = 0, ny = 0, nx = 0;
};
Window bounding_window(ValidMask valid, core::Index margin = 0);

}  // namespace farfield::plot
