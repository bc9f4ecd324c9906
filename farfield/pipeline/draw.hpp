#pragma once
// How a product is drawn: one rule from the type and axes of its datasets, the same for every technique.

#include <cstddef>
#include <string>
#include <vector>

#include "farfield/model/product.hpp"

namespace farfield::pipeline {

struct Picture {
  std::string name;  ///< file name, e.g. "object_phase.png"
  std::vector<std::byte> bytes;
};

/// By type and axes of each dataset:
/// - complex (y, x): NAME_phase.png (cyclic colours, the mean phase at 0) and NAME_amplitude.png;
/// - complex (mode, y, x): NAME.png, the modes side by side, phase as hue and amplitude as brightness;
/// - real (y, x): NAME.png; colours around 0 where values have both signs;
/// - real (frame, yx): NAME.png, a map of points; further ones in the same unit are in the picture of the first;
/// - real over one axis: NAME.png, a curve. Curves over the same axis in the same unit share the picture of the
///   first one, except over "iteration". The x values are the dataset with draw = "abscissa", else
///   the first one if it grows strictly and others follow, else 0, 1, 2 ... (iterations from 1);
/// - real over two axes with draw = "curves": NAME.png, at most 9 of them spread over the second axis, with the error
/// bars
///   of NAME... over the same axes that has draw = "error", and lines through them from the one with draw = "model";
/// - real over two axes with draw = "image": NAME.png, a square map with the first axis upwards, on a scale that leaves
///   the diagonal out (where shot noise lies in a two-time correlation); at most 4 of a kind, spread over them;
/// - everything else, numbers of time ("...seconds") and draw = "none": no picture.
/// Images carry a scale bar in micrometres where the product has a pixel size, else (and for images in counts, which
/// are the detector's) in pixels. A dataset with draw = "valid" or "weight" cuts off and greys out what is not valid,
/// or below a tenth of the typical weight, in the other images of its shape.
std::vector<Picture> draw(const model::Product& product);

}  // namespace farfield::pipeline
