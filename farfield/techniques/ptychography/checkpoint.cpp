#include "farfield/techniques/ptychography/checkpoint.hpp"

#include <cmath>

namespace farfield::techniques::ptychography {

using core::Error;
using core::ErrorCode;

void save_state(const State& s, technique::Sink& sink) {
  const std::vector<std::int64_t> extents{s.modes(), s.opr_modes(), s.object.extent(0), s.object.extent(1),
                                          s.background.empty() ? 0 : 1};
  put_values(sink, "state/extents", extents);
  put_values(sink, "state/origin", std::vector<double>{s.origin_y, s.origin_x});
  put_values(sink, "state/probe", s.probe);
  if (!s.eigen_probes.empty()) put_values(sink, "state/eigen_probes", s.eigen_probes);
  put_values(sink, "state/object", s.object);
  if (!s.background.empty()) put_values(sink, "state/background", s.background);
  put_values(sink, "state/y", s.y);
  put_values(sink, "state/x", s.x);
  put_values(sink, "state/amplitude", s.amplitude);
  put_values(sink, "state/opr_weights", s.opr_weights);
}

State restore_state(technique::Source& source, Shape shape, Index slots) {
  const auto extents = get_values<std::int64_t>(source, "state/extents", 5);
  constexpr std::int64_t kMostModes = 64, kLongest = 1 << 20;
  const auto refuse = [](const std::string& what) { throw Error(ErrorCode::corrupt_data, "checkpoint: " + what); };
  if (extents[0] < 1 || extents[0] > kMostModes || extents[1] < 0 || extents[1] > kMostModes)
    refuse(fmt::format("{} probe modes and {} eigen-probes must be at most {}", extents[0], extents[1], kMostModes));
  for (const std::int64_t extent : {extents[2], extents[3]})
    if (extent < 1 || extent > kLongest) refuse(fmt::format("object side of {} px must be 1 to {}", extent, kLongest));

  State s;
  s.shape = shape;
  const auto origin = get_values<double>(source, "state/origin", 2);
  s.origin_y = origin[0];
  s.origin_x = origin[1];
  s.probe = core::Array<cfloat, 3>({extents[0], shape.ny, shape.nx});
  get_values(source, "state/probe", s.probe);
  if (extents[1] > 0) {
    s.eigen_probes = core::Array<cfloat, 3>({extents[1], shape.ny, shape.nx});
    get_values(source, "state/eigen_probes", s.eigen_probes);
  }
  s.object = core::Array<cfloat, 2>({extents[2], extents[3]});
  get_values(source, "state/object", s.object);
  if (extents[4] != 0) {
    s.background = core::Array<float, 2>({shape.ny, shape.nx});
    get_values(source, "state/background", s.background);
  }
  s.y = get_values<double>(source, "state/y", slots);
  s.x = get_values<double>(source, "state/x", slots);
  s.amplitude = get_values<float>(source, "state/amplitude", slots);
  s.opr_weights = get_values<float>(source, "state/opr_weights", slots * extents[1]);
  s.placements.resize(static_cast<std::size_t>(slots));
  for (Index slot = 0; slot < slots; ++slot) {
    const auto i = static_cast<std::size_t>(slot);
    if (std::isnan(s.y[i])) continue;  // no position yet
    const double y = s.y[i] - s.origin_y, x = s.x[i] - s.origin_x;
    // One pixel around a window is read too.
    if (!(y >= 1 && x >= 1 && y + static_cast<double>(shape.ny + 1) < static_cast<double>(extents[2]) &&
          x + static_cast<double>(shape.nx + 1) < static_cast<double>(extents[3])))
      refuse(fmt::format("a window at ({}, {}) px leaves the object of {} x {} px", y, x, extents[2], extents[3]));
    s.place(slot);
  }
  return s;
}

}  // namespace farfield::techniques::ptychography
