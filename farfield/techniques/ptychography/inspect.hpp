#pragma once
// What a scan is like before it is reconstructed: the verb `inspect`. One pass over the frames.

#include <map>
#include <set>
#include <string>

#include "farfield/core/options.hpp"
#include "farfield/model/product.hpp"
#include "farfield/technique/technique.hpp"
#include "farfield/techniques/ptychography/inspect_counts.hpp"
#include "farfield/techniques/ptychography/options.hpp"
#include "farfield/techniques/ptychography/simulate_scan.hpp"

namespace farfield::techniques::ptychography {

struct InspectOptions {
  Propagation propagation = Propagation::far_field;
  double energy_eV = 0, distance_m = 0, detector_pixel_m = 0;  ///< over the file's; 0: as the file says
  double probe_diameter_px = 0;                                ///< 0: that of the starting probe in the scan
  DcChoice dc = DcChoice::file;
};

const core::BoundSchema<InspectOptions>& inspect_schema();

/// Everything known after some frames.
struct Inspection {
  const model::Acquisition& acquisition;  ///< with the geometry of the options
  const PatternCounter& counter;
  const std::map<model::FrameId, Position>& positions;  ///< in the unit of the scan
  core::Index refused_frames = 0, refused_positions = 0;
};

/// Datasets: "mean_pattern", "max_pattern" f32 (y, x) counts; "valid" u8 (y, x), 1 = good and not suspicious;
/// "frame_counts" f64 (frame) by rising id; "counts_histogram" f64 (bin) with "counts_edges", lower edges; and, where
/// known, "positions" f64 (frame, 2) in px or m.
///
/// Metrics (those that can be known): frames, refused_frames, frames_without_position, positions_without_frame,
/// masked_pixels, dead_pixel_candidates, hot_pixel_candidates, saturated_frames, saturated_share;
/// counts_per_pattern (median), counts_per_pattern_lowest, _highest, counts_per_pixel, peak_counts;
/// centre_of_mass_y_px, _x_px (of the mean pattern, from the zero frequency); object_pixel_size_y_m, _x_m, object_ny,
/// object_nx, field_of_view_y_m, _x_m; step_px (median distance of nearest neighbours), duplicate_positions,
/// probe_diameter_px, overlap_linear, overlap_area, oversampling (window / probe), counts_per_um2; warnings.
///
/// Warnings, a sentence each, are lines of provenance "warnings".
model::Product inspection_report(const Inspection& inspection, const InspectOptions& options);

technique::Verb inspect_verb();

}  // namespace farfield::techniques::ptychography
