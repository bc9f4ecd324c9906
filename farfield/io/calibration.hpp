#pragma once
// Darks and floods: scans of their own, of which the mean and the scatter of each pixel matter.

#include <memory>
#include <string>

#include "farfield/core/array.hpp"
#include "farfield/io/scan_file.hpp"

namespace farfield::io {

/// Of each pixel over the frames of a scan; NaN where a frame has it so. `deviation` is the standard deviation of one
/// frame (n - 1), NaN for a scan of one.
struct PixelStatistics {
  core::Array<float, 2> mean, deviation;  ///< (y, x)
  core::Index frames = 0;
};
/// Reads the source to its end. Throws `corrupt_data` where no frame can be used, or one has another shape.
PixelStatistics pixel_statistics(model::FrameSource& source);

/// The scan with the means of the scans at `dark` and `flat` (paths of any format that open_scan() reads; each may be
/// empty) as inputs: "dark" and "dark_std", "flat" (f32 (y, x)); a flat is divided by its mean over the pixels that are
/// good and have light. They take the place of what the scan brought along. Throws what open_scan() throws, and
/// `invalid_argument` for another shape than the scan's or a flat without light. `options` are those of the scan.
std::unique_ptr<model::FrameSource> with_calibrations(std::unique_ptr<model::FrameSource> scan, const std::string& dark,
                                                      const std::string& flat, const OpenOptions& options);

}  // namespace farfield::io
