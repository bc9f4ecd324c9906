#pragma once
// Fourier ring correlation of two images of the same thing, and the thresholds that turn it into a resolution
// (van Heel & Schatz 2005, doi:10.1016/j.jsb.2005.05.009).
//
//   FRC(ring) = Re sum F_a conj(F_b) / sqrt(sum |F_a|^2 sum |F_b|^2)
//   half bit:  T = (0.2071 + 1.9102 / sqrt(n)) / (1.2071 + 0.9102 / sqrt(n))
//   one bit:   T = (0.5    + 2.4142 / sqrt(n)) / (1.5    + 1.4142 / sqrt(n))
//
// n counts the independent values of a ring. The apodisation w correlates neighbours by rho, the normalised
// transform of w^2, which leaves n = N^2 / sum over pairs (k, l) of the ring of |rho(k - l)|^2 of its N values.

#include <optional>
#include <vector>

#include "farfield/core/any_array.hpp"

namespace farfield::techniques::ptychography {

struct RingCorrelation {
  std::vector<double> frequency;  ///< ring centres, cycles per pixel, to 0.5
  std::vector<double> frc;
  std::vector<double> half_bit, one_bit;  ///< thresholds
  std::vector<double> independent;        ///< n of each ring
};

/// Rings are one frequency step of the shorter side wide. Means are subtracted and a Hann window applied. Real images
/// (imaginary part 0) are recognised by `real`: their two half planes are one.
/// Throws `invalid_argument` unless both have one shape, at least 16 x 16.
RingCorrelation ring_correlation(core::View<const core::cfloat, 2> a, core::View<const core::cfloat, 2> b, bool real);

/// Where the curve first falls below the threshold and stays there for three rings or to the end: a single ring of few
/// values falls below by chance. Linear between rings, from the third ring: the lowest two hold the window's shape.
/// 0: it is below from the start. Empty: it never falls below.
std::optional<double> crossing(const RingCorrelation& curve, const std::vector<double>& threshold);

}  // namespace farfield::techniques::ptychography
