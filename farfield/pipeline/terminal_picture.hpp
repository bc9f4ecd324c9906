#pragma once
// Pictures for terminals: a product's image in coloured half blocks or as sixels, and a curve in one line.

#include <optional>
#include <span>
#include <string>

#include "farfield/core/array.hpp"
#include "farfield/model/product.hpp"
#include "farfield/plot/colour.hpp"

namespace farfield::pipeline {

using core::Index;
using Pixels = core::Array<plot::Colour, 2>;

/// What there is to see of a product: its first image (y, x), phase where it is complex, cut to what was measured where
/// the product says so; at most `ny` x `nx` pixels, each the one nearest to its place. Nothing where it has no image.
std::optional<Pixels> thumbnail(const model::Product& product, Index ny, Index nx);

/// Two rows of pixels for each line of text, in 24-bit colours; lines end in a reset and "\n".
std::string half_blocks(const Pixels& image);
/// DEC sixels (VT340), in a palette of 6 x 6 x 6 colours.
std::string sixels(const Pixels& image);

/// The last `width` values as bars of eight heights, between their least and greatest, logarithmic where all are > 0.
std::string sparkline(std::span<const double> values, std::size_t width);

}  // namespace farfield::pipeline
