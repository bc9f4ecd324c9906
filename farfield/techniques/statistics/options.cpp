#include "farfield/techniques/statistics/options.hpp"

namespace farfield::techniques::statistics {

const core::BoundSchema<MeanOptions>& mean_schema() {
  static const auto schema = [] {
    core::BoundSchema<MeanOptions> s;
    s.add("ddof", &MeanOptions::ddof,
          "divide the variance by (frames - ddof): 1 for the unbiased estimate, 0 for the mean square deviation",
          {.min = 0, .max = 1, .group = "Statistics"});
    return s;
  }();
  return schema;
}

const core::BoundSchema<SimulateOptions>& simulate_schema() {
  static const auto schema = [] {
    core::BoundSchema<SimulateOptions> s;
    s.add("frames", &SimulateOptions::frames, "number of frames", {.min = 1, .max = 1e8, .group = "Simulation"});
    s.add("shape", &SimulateOptions::shape, "edge of the square frames",
          {.min = 1, .max = 16384, .unit = "px", .group = "Simulation"});
    s.add("mean-counts", &SimulateOptions::mean_counts, "counts per pixel and frame, averaged over the image",
          {.min = 0, .max = 1e4, .unit = "counts", .group = "Simulation"});
    s.add("dead-pixels", &SimulateOptions::dead_pixels, "pixels that always read 65535 and are masked",
          {.min = 0, .max = 1e6, .unit = "px", .group = "Simulation"});
    return s;
  }();
  return schema;
}

}  // namespace farfield::techniques::statistics
