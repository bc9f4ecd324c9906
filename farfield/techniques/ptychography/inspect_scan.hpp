#pragma once
// Geometry, overlap and sampling of a scan from its positions.

#include <optional>
#include <vector>

#include "farfield/core/view.hpp"
#include "farfield/model/acquisition.hpp"
#include "farfield/techniques/ptychography/options.hpp"
#include "farfield/techniques/ptychography/simulate_scan.hpp"

namespace farfield::techniques::ptychography {

/// Distance of each point to its nearest neighbour; infinite for a single point.
std::vector<double> nearest_neighbours(const std::vector<Position>& points);

/// Overlap of two discs of one diameter whose centres are `step` apart (Bunk et al. 2008,
/// doi:10.1016/j.ultramic.2007.12.003): along the line of centres 1 - step / diameter (negative: a gap), and by area.
struct Overlap {
  double linear = 0, area = 0;
};
Overlap disc_overlap(double step, double diameter);

/// Pixel size in the sample plane: lambda distance / (n detector pixel) in the far field, the detector pixel in the
/// near field. Empty where the geometry is not known.
struct PixelSize {
  std::optional<double> y_m, x_m;
};
PixelSize object_pixel_size(const model::Acquisition& acquisition, Propagation propagation);

double median(std::vector<double> values);

}  // namespace farfield::techniques::ptychography
