#pragma once
// What a reconstruction hands over: image, probe, positions, error curves, where they come from.

#include <span>
#include <string>
#include <vector>

#include "farfield/model/acquisition.hpp"
#include "farfield/model/product.hpp"
#include "farfield/techniques/ptychography/geometry.hpp"
#include "farfield/techniques/ptychography/options.hpp"
#include "farfield/techniques/ptychography/state.hpp"

namespace farfield::techniques::ptychography {

/// One pattern that takes part: its slot in the state, its frame and where the scan says it was taken, px.
struct UsedPattern {
  Index slot = 0;
  model::FrameId id = 0;
  double recorded_y = 0, recorded_x = 0;
};

/// What is known when a product is made, beside the state.
struct ProductInputs {
  const Options& options;
  const model::Acquisition& acquisition;
  const Geometry& geometry;
  std::vector<UsedPattern> patterns;  ///< put into the order of frames by the product
  std::span<const double> cost, r_factor;
  std::uint64_t seed = 0;
};

/// Datasets of every product, copies of the state:
///   object c64 (y, x)            transmission; flat 1 where no beam went
///   probe c64 (mode, y, x)       sqrt(counts), centred in its window
///   illumination f32 (y, x)      counts that fell on each object pixel in all patterns together
///   positions f64 (frame, yx)    corner of each window from the object's first pixel; m where the pixel is known, else
///   px recorded_positions           likewise, as the scan has them frames i64 (frame)           their ids mode_power
///   f64 (mode)        shares cost, r_factor f64 (iteration)
/// and, where they were refined: intensity f64 (frame), eigen_probes c64 (mode, y, x), opr_weights f32 (frame, mode),
/// background f32 (y, x), as frames are after crop, bin, pad and flips, zero frequency in the centre.
///
/// Metrics: patterns, iterations; pixel_size_..._m; overlap_linear (1 - step / diameter of discs of the beam's area on
/// a grid as dense as the patterns), photons_per_um2 (mean over what was scanned); with position refinement drift_m (or
/// drift_px): how far the last tenth of the patterns lies off its recorded places, against the first tenth. A drift
/// that stretches the scan evenly looks much like a stretched object, and little of it is seen.
model::Product make_product(const State&, ProductInputs);

/// Names of those that every product has.
std::vector<std::string> product_outputs();

/// sum over the patterns of sum_m |P_m|^2 at whole pixels, (y, x) of the object.
core::Array<float, 2> illumination(const State&, std::span<const UsedPattern>);

}  // namespace farfield::techniques::ptychography
