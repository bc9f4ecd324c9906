#pragma once
// What the tests of this folder share.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "farfield/model/source_conformance.hpp"
#include "farfield/stream/dectris/encode.hpp"
#include "farfield/stream/dectris/series.hpp"

namespace farfield::stream::dectris::testing {

/// A series of its own feed.
class FedSeries final : public model::FrameSource {
public:
  explicit FedSeries(std::vector<MemoryFeed::Parts> messages, SeriesOptions options = {})
      : feed_(std::move(messages)), receiver_(feed_, std::move(options)), series_(receiver_.next({})) {}
  bool has_series() const { return series_ != nullptr; }
  Series& series() { return *series_; }
  SeriesReceiver& receiver() { return receiver_; }
  const model::Acquisition& acquisition() const override { return series_->acquisition(); }
  bool next(std::stop_token stop, const std::function<void(const model::FrameBatch&)>& take) override {
    return series_->next(std::move(stop), take);
  }

private:
  MemoryFeed feed_;
  SeriesReceiver receiver_;
  std::unique_ptr<Series> series_;
};

/// Frames of counts with everything that an acquisition can say.
inline model::ExpectedScan scan(core::DType type, Index frames, Index ny = 50, Index nx = 70) {
  model::ExpectedScan out;
  auto& a = out.acquisition;
  a.title = "test";
  a.beam.energy_eV = 8047.78;
  auto& d = a.detector;
  d.ny = ny;
  d.nx = nx;
  d.dtype = type;
  d.dc = model::DcLocation::corner;
  d.distance_m = 1.93;
  d.pixel_size_y_m = 75e-6;
  d.pixel_size_x_m = 76e-6;
  d.saturation_counts = 12000;
  d.pixel_mask = core::Array<std::uint32_t, 2>({ny, nx});
  if (ny > 3 && nx > 4) d.pixel_mask(3, 4) = model::pixel_mask::kDead;
  a.scan.unit = model::PositionUnit::metres;
  a.scan.expected_frames = frames;
  std::mt19937_64 random(7);
  for (model::FrameId id = 0; id < frames; ++id) {
    auto& pixels = out.frames[id];
    pixels.resize(static_cast<std::size_t>(ny * nx * core::item_size(type)));
    core::visit_dtype(type, [&](auto zero) {
      using T = decltype(zero);
      if constexpr (std::is_arithmetic_v<T>)
        for (Index i = 0; i < ny * nx; ++i) {
          const T count = static_cast<T>(random() % 8 == 0 ? random() % 100 : 0);
          std::memcpy(pixels.data() + i * static_cast<Index>(sizeof(T)), &count, sizeof count);
        }
    });
    // Times in whole nanoseconds come back as they were; positions as JSON do in any case.
    out.values[id] = {{"time_s", 0.5 * static_cast<double>(id)},
                      {"exposure_s", 0.25},
                      {"x_m", 1e-6 / 3 * static_cast<double>(id)},
                      {"y_m", -2e-7}};
  }
  return out;
}

inline model::FrameView view(const model::ExpectedScan& scan, model::FrameId id) {
  const auto& d = scan.acquisition.detector;
  return {id, {d.dtype, scan.frames.at(id).data(), d.ny, d.nx, d.nx}};
}

inline std::vector<MemoryFeed::Parts> messages(const model::ExpectedScan& scan, const EncodeOptions& options,
                                               const SeriesId& id = {6, "u6"}) {
  const Encoder encoder(scan.acquisition, id, options);
  std::vector<MemoryFeed::Parts> out{encoder.start()};
  for (const auto& [frame, pixels] : scan.frames)
    out.push_back(encoder.image(view(scan, frame), scan.values.at(frame)));
  out.push_back(encoder.end());
  return out;
}

inline Message parsed(const MemoryFeed::Parts& parts) {
  const std::vector<std::span<const std::byte>> spans(parts.begin(), parts.end());
  return core::value_or_throw(parse(spans));
}

}  // namespace farfield::stream::dectris::testing
