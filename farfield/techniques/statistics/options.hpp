#pragma once
// What a user can choose, as plain structs, each with the schema that binds it to names, ranges and help.

#include "farfield/core/options.hpp"
#include "farfield/core/view.hpp"

namespace farfield::techniques::statistics {

struct MeanOptions {
  core::Index ddof = 1;  ///< the variance is divided by (frames - ddof)
};

struct SimulateOptions {
  core::Index frames = 64;
  core::Index shape = 32;        ///< frames are (shape, shape)
  double mean_counts = 10;       ///< averaged over the image
  core::Index dead_pixels = 0;   ///< masked, and reading 65535
};

const core::BoundSchema<MeanOptions>& mean_schema();
const core::BoundSchema<SimulateOptions>& simulate_schema();

}  // namespace farfield::techniques::statistics
