#include "farfield/model/acquisition.hpp"

#include <fmt/format.h>

#include <limits>

namespace farfield::model {

using core::Error;
using core::ErrorCode;

Detector Detector::clone() const {
  Detector copy;
  copy.ny = ny;
  copy.nx = nx;
  copy.dtype = dtype;
  copy.dc = dc;
  copy.distance_m = distance_m;
  copy.pixel_size_y_m = pixel_size_y_m;
  copy.pixel_size_x_m = pixel_size_x_m;
  copy.saturation_counts = saturation_counts;
  copy.pixel_mask = pixel_mask.clone();
  return copy;
}

Acquisition Acquisition::clone() const {
  Acquisition copy;
  copy.title = title;
  copy.source = source;
  copy.checksum = checksum;
  copy.beam = beam;
  copy.detector = detector.clone();
  copy.scan = scan;
  copy.inputs = inputs;
  copy.metadata = metadata;
  return copy;
}

void validate(const Acquisition& a, const std::string& context) {
  const auto refuse = [&](const std::string& what) { throw Error(ErrorCode::corrupt_data, what).at(context); };
  const auto within = [&](const std::optional<double>& v, double low, double high, const char* what, const char* unit) {
    if (v && !(*v > 0 && *v >= low && *v <= high))
      refuse(fmt::format("{} {} {} must be {} and at most {} {}", what, *v, unit,
                         low > 0 ? fmt::format("at least {}", low) : "> 0", high, unit));
  };
  constexpr core::Index kMostPixels = 1 << 20;
  constexpr double kAny = std::numeric_limits<double>::max();
  const auto& d = a.detector;
  if (d.ny < 1 || d.nx < 1 || d.ny > kMostPixels || d.nx > kMostPixels)
    refuse(fmt::format("frames of {} x {} pixels must have 1 to {} pixels a side", d.ny, d.nx, kMostPixels));
  within(a.beam.energy_eV, 0.1, 1e9, "photon energy", "eV");
  within(d.distance_m, 0, 1e4, "detector distance", "m");
  within(d.pixel_size_y_m, 0, 0.1, "pixel size y", "m");
  within(d.pixel_size_x_m, 0, 0.1, "pixel size x", "m");
  if (d.saturation_counts && !(*d.saturation_counts > 0 && *d.saturation_counts <= kAny))
    refuse(fmt::format("saturation value {} counts must be > 0", *d.saturation_counts));
  if (!d.pixel_mask.empty() && (d.pixel_mask.extent(0) != d.ny || d.pixel_mask.extent(1) != d.nx))
    refuse(fmt::format("pixel mask of {} x {} must have the shape of the frames, {} x {}", d.pixel_mask.extent(0),
                       d.pixel_mask.extent(1), d.ny, d.nx));
}

}  // namespace farfield::model
