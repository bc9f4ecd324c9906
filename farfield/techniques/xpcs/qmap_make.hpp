#pragma once
// Q-maps from the geometry of the experiment.

#include <string>
#include <vector>

#include "farfield/core/options.hpp"
#include "farfield/techniques/xpcs/qmap.hpp"

namespace farfield::techniques::xpcs {

enum class MapKind { q_phi, x_y };
enum class Spacing { linear, logarithmic };

/// Bins along one axis: equal steps (or equal ratios) from `range[0]` to `range[1]`, or between given edges. Each
/// dynamic bin is cut into `static_per_bin` static bins, so that static bins never straddle dynamic ones.
struct AxisBins {
  std::vector<double> range;   ///< two values; empty: all that the detector sees
  std::vector<double> edges;   ///< growing; instead of range and bins
  Index bins = 1;
  Index static_per_bin = 1;
  Spacing spacing = Spacing::linear;
};

struct QMapOptions {
  std::vector<double> shape{512, 1024};   ///< rows, columns
  std::vector<double> beam_center_px;     ///< row, column; the centre of pixel (0, 0) is 0, 0. Empty: the middle
  double distance_m = 0, pixel_size_m = 0, energy_eV = 0;  ///< needed for q
  MapKind kind = MapKind::q_phi;
  AxisBins first{{}, {}, 18, 10, Spacing::linear};  ///< q in 1/A, or x in px from the beam centre (columns)
  AxisBins second{};                      ///< phi in degrees, or y in px from the beam centre (rows)
  Index symmetry = 1;  ///< sectors of phi that a rotation by 360 / symmetry degrees maps onto each other are one
};

const core::BoundSchema<QMapOptions>& qmap_schema();

/// q = 4 pi / lambda sin(atan(r / d) / 2) in 1/A at distance r from the beam centre; a flat detector across the beam.
double q_at(double r_m, double distance_m, double energy_eV);

/// Throws `invalid_argument` for geometry that is missing or not possible, for edges that do not grow, for a range from
/// 0 on a logarithmic scale, for more static bins than pixels, and where no pixel falls into a bin. Bins without a
/// pixel get no number: numbers run from 1 without gaps, in order of (first, second) axis. phi grows counter-clockwise
/// from the direction of growing columns, with row 0 on top, in [-180, 180).
QMap make_qmap(const QMapOptions& options);

}  // namespace farfield::techniques::xpcs
