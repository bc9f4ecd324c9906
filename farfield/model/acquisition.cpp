#include "farfield/model/acquisition.hpp"

#include <fmt/format.h>

#include <cmath>

namespace farfield::model {

using core::Error;
using core::ErrorCode;

Acquisition Acquisition::clone() const {
  Acquisition copy;
  copy.title = title;
  copy.source = source;
  copy.checksum = checksum;
  copy.beam = beam;
  copy.detector = {detector.ny,
                   detector.nx,
                   detector.dtype,
                   detector.dc,
                   detector.distance_m,
                   detector.pixel_size_y_m,
                   detector.pixel_size_x_m,
                   detector.saturation_counts,
                   detector.pixel_mask.clone()};
  copy.scan = scan;
  copy.inputs = inputs;
  copy.metadata = metadata;
  return copy;
}

void validate(const Acquisition& a, const std::string& context) {
  const auto positive = [&](const std::optional<double>& v, const char* what, const char* unit) {
    if (v && !(std::isfinite(*v) && *v > 0))
      throw Error(ErrorCode::corrupt_data, fmt::format("{} {} {} must be > 0", what, *v, unit)).at(context);
  };
  const auto& d = a.detector;
  if (d.ny <= 0 || d.nx <= 0)
    throw Error(ErrorCode::corrupt_data, fmt::format("frames of {} x {} pixels must be at least 1 x 1", d.ny, d.nx))
        .at(context);
  positive(a.beam.energy_eV, "photon energy", "eV");
  positive(d.distance_m, "detector distance", "m");
  positive(d.pixel_size_y_m, "pixel size y", "m");
  positive(d.pixel_size_x_m, "pixel size x", "m");
  positive(d.saturation_counts, "saturation value", "counts");
  if (!d.pixel_mask.empty() && (d.pixel_mask.extent(0) != d.ny || d.pixel_mask.extent(1) != d.nx))
    throw Error(ErrorCode::corrupt_data, fmt::format("pixel mask of {} x {} must have the shape of the frames, {} x {}",
                                                     d.pixel_mask.extent(0), d.pixel_mask.extent(1), d.ny, d.nx))
        .at(context);
}

}  // namespace farfield::model
