#include "farfield/model/source_conformance.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace farfield::model {
namespace {

std::vector<std::byte> pixels_of(const FrameView& frame) {
  std::vector<std::byte> out;
  if (frame.is_sparse()) {
    std::vector<std::uint32_t> dense(static_cast<std::size_t>(frame.sparse.ny * frame.sparse.nx));
    for (const auto& e : frame.sparse.events) dense.at(e.pixel) += e.count;
    const auto bytes = std::as_bytes(std::span(dense));
    return {bytes.begin(), bytes.end()};
  }
  const auto& image = frame.image;
  const auto item = core::item_size(image.dtype), row = image.nx * item;
  out.resize(static_cast<std::size_t>(image.ny * row));
  for (core::Index y = 0; y < image.ny; ++y)
    std::memcpy(out.data() + y * row, static_cast<const std::byte*>(image.data) + y * image.row_stride * item,
                static_cast<std::size_t>(row));
  return out;
}

bool same_mask(const core::Array<std::uint32_t, 2>& a, const core::Array<std::uint32_t, 2>& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin());
}

}  // namespace

std::vector<std::string> check_source(const OpenSource& open, const ExpectedScan& expected) {
  std::vector<std::string> broken;
  const auto require = [&](bool fine, const std::string& what) {
    if (!fine) broken.push_back(what);
  };

  const auto source = open();
  const auto check_acquisition = [&](const char* when) {
    const auto &a = source->acquisition(), &b = expected.acquisition;
    require(a.detector.ny == b.detector.ny && a.detector.nx == b.detector.nx && a.detector.dtype == b.detector.dtype,
            fmt::format("acquisition: frames of {} x {} {} {}", a.detector.ny, a.detector.nx,
                        core::name(a.detector.dtype), when));
    require(a.beam.energy_eV == b.beam.energy_eV && a.detector.distance_m == b.detector.distance_m &&
                a.detector.pixel_size_y_m == b.detector.pixel_size_y_m &&
                a.detector.pixel_size_x_m == b.detector.pixel_size_x_m,
            fmt::format("acquisition: beam or geometry {}", when));
    require(a.scan.unit == b.scan.unit && a.scan.expected_frames == b.scan.expected_frames,
            fmt::format("acquisition: unit of positions or number of frames {}", when));
    require(a.detector.dc == b.detector.dc && a.detector.saturation_counts == b.detector.saturation_counts,
            fmt::format("acquisition: zero frequency or saturation {}", when));
    require(same_mask(a.detector.pixel_mask, b.detector.pixel_mask), fmt::format("acquisition: mask {}", when));
  };
  check_acquisition("before the first frame");

  std::map<FrameId, int> came;
  std::map<FrameId, Values> values;
  struct Kept {
    FrameView frame;
    std::shared_ptr<const void> keep;
  };
  std::vector<Kept> kept;
  const auto take = [&](const FrameBatch& batch) {
    for (const auto& frame : batch.frames) {
      ++came[frame.id];
      const auto it = expected.frames.find(frame.id);
      require(it != expected.frames.end() && pixels_of(frame) == it->second,
              fmt::format("frames: pixels of frame {}", frame.id));
      if (batch.keep && kept.size() < 8) kept.push_back({frame, batch.keep});
    }
    for (const auto& [id, v] : batch.values)
      for (const auto& [name, number] : v) values[id][name] = number;
    for (const auto& [id, reason] : batch.bad) require(false, fmt::format("frames: frame {} is bad: {}", id, reason));
  };
  while (source->next({}, take)) {}
  require(!source->next({}, take), "end: true came after false");
  check_acquisition("after the last frame");
  for (const auto& [id, pixels] : expected.frames)
    require(came[id] == 1, fmt::format("frames: frame {} came {} times", id, came[id]));
  require(came.size() == expected.frames.size(),
          fmt::format("frames: {} came, {} are expected", came.size(), expected.frames.size()));
  require(values == expected.values, "values: not those expected");
  for (const auto& k : kept)
    require(pixels_of(k.frame) == expected.frames.at(k.frame.id),
            fmt::format("keep: pixels of frame {} changed", k.frame.id));

  std::stop_source stopped;
  stopped.request_stop();
  const auto early = open();
  int pieces = 0;
  while (early->next(stopped.get_token(), [](const FrameBatch&) {}) && pieces < 10) ++pieces;
  require(pieces < 10, "stop: it goes on although stop was requested before");

  std::stop_source on_the_way;
  const auto late = open();
  pieces = 0;
  while (late->next(on_the_way.get_token(), [&](const FrameBatch&) { on_the_way.request_stop(); }) && pieces < 10)
    ++pieces;
  require(pieces < 10, "stop: it goes on although stop was requested");
  return broken;
}

}  // namespace farfield::model
