#pragma once
// The arithmetic, free of everything else: pure functions of views.

#include "farfield/core/any_array.hpp"
#include "farfield/core/view.hpp"

namespace farfield::techniques::statistics {

/// Whether every pixel that `valid` (contiguous, 1 = good, shape of the image) lets through is finite.
/// Both functions throw `unsupported` for complex images and use the instruction set of core::isa().
bool all_finite(const core::AnyImage& image, core::View<const std::uint8_t, 2> valid);

/// Adds frame number `count` (from 1) to the running moments of every pixel:
///   d = x - mean;  mean += d / count;  m2 += d (x - mean)
/// (Welford 1962, doi:10.1080/00401706.1962.10490022). mean(y, x) and m2(y, x) are contiguous and have
/// the shape of the image; m2 is the sum of squared deviations. Masked pixels are updated too: a branch
/// per pixel costs more than it saves, and nothing spreads from pixel to pixel.
void add_frame(const core::AnyImage& image, core::Index count, core::View<double, 2> mean, core::View<double, 2> m2);

/// The same, naively: the oracles of the tests.
bool all_finite_reference(const core::AnyImage& image, core::View<const std::uint8_t, 2> valid);
void add_frame_reference(const core::AnyImage& image, core::Index count, core::View<double, 2> mean,
                         core::View<double, 2> m2);

}  // namespace farfield::techniques::statistics
