#pragma once
// The first minimum along a descent direction, from the slope at a few trial steps at a time.

#include <array>
#include <functional>

#include "farfield/techniques/ptychography/line_kernels.hpp"

namespace farfield::techniques::ptychography {

using Trials = std::array<double, kTrials>;

/// The smallest step > 0 at which the slope turns from negative to positive. `slopes` gives the slope at four
/// steps. Tries 0 and guess times each of `spread` (rising, > 0); goes further out until the root lies between two
/// trials, further in while it lies far below the first, and ends at the root of the cubic through four values. Returns
/// 0 where the slope at 0 is not negative; the farthest trial when the slope stays negative over 30 doublings.
double find_root(const std::function<Trials(const Trials&)>& slopes, double guess,
                 const std::array<double, kTrials - 1>& spread);

}  // namespace farfield::techniques::ptychography
