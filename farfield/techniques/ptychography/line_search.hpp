#pragma once
// The first minimum along a descent direction, from the slope at two trial steps at a time.

#include <array>
#include <functional>

#include "farfield/techniques/ptychography/line_kernels.hpp"

namespace farfield::techniques::ptychography {

using Trials = std::array<double, kTrials>;

/// The smallest step > 0 at which the slope turns from negative to positive; `slopes` gives it at two steps (0 < first
/// < second), and `slope_at_0` is known. The trials lie about `guess` at first; they go further out until the root lies
/// between two of them, and further in until the chord across the root agrees to a tenth with the parabola
/// through it and the nearest third point, whose root is returned. 0 where the slope at 0 is not negative. Where
/// the slope never turns, the last trial of 24 attempts.
double find_root(const std::function<Trials(const Trials&)>& slopes, double slope_at_0, double guess);

}  // namespace farfield::techniques::ptychography
