#include "farfield/io/frame_writer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "farfield/core/error.hpp"
#include "farfield/io/imm/imm.hpp"
#include "farfield/io/rigaku/rigaku.hpp"
#include "farfield/io/scan_file.hpp"

namespace farfield::io {

using core::Index;

namespace {

class CxiFrames final : public FrameWriter {
public:
  CxiFrames(const std::filesystem::path& path, const model::Acquisition& a)
      : writer_(path, a, a.scan.expected_frames) {}
  void append(const model::FrameBatch& batch) override { writer_.append(batch.frames, batch.values); }
  void commit() override { writer_.commit(); }

private:
  ScanWriter writer_;
};

class ImmFrames final : public FrameWriter {
public:
  ImmFrames(const std::filesystem::path& path, const model::Acquisition& a)
      : writer_(path, a.detector.ny, a.detector.nx, true) {}
  void append(const model::FrameBatch& batch) override {
    std::map<model::FrameId, double> times;
    for (const auto& [id, values] : batch.values)
      if (const auto time = values.find("time_s"); time != values.end()) times[id] = time->second;
    for (const auto& frame : batch.frames) writer_.append(frame, times.contains(frame.id) ? times.at(frame.id) : 0);
  }
  void commit() override { writer_.commit(); }

private:
  imm::Writer writer_;
};

class RigakuFrames final : public FrameWriter {
public:
  explicit RigakuFrames(const std::filesystem::path& path) : writer_(path) {}
  void append(const model::FrameBatch& batch) override {
    for (const auto& frame : batch.frames) {
      if (!frame.is_sparse()) gather(frame.image);
      writer_.append(frame.id, frame.is_sparse() ? frame.sparse.events : events_);
    }
  }
  void commit() override { writer_.commit(); }

private:
  void gather(const core::AnyImage& image) {
    events_.clear();
    core::visit_dtype(image.dtype, [&](auto zero) {
      using T = decltype(zero);
      if constexpr (std::is_integral_v<T> && std::is_unsigned_v<T> && sizeof(T) <= 4) {
        const auto view = image.view<T>();
        for (Index y = 0; y < image.ny; ++y)
          for (Index x = 0; x < image.nx; ++x)
            if (view(y, x) != 0) events_.push_back({static_cast<std::uint32_t>(y * image.nx + x), view(y, x)});
      } else {
        throw core::Error(core::ErrorCode::invalid_argument,
                          fmt::format("frames of type {} must be u8, u16 or u32", core::name(image.dtype)));
      }
    });
  }
  rigaku::EventWriter writer_;
  std::vector<model::PixelCount> events_;
};

}  // namespace

std::unique_ptr<FrameWriter> make_frame_writer(const std::filesystem::path& path,
                                               const model::Acquisition& acquisition) {
  if (path.extension() == ".imm") return std::make_unique<ImmFrames>(path, acquisition);
  if (path.extension() == ".bin") return std::make_unique<RigakuFrames>(path);
  return std::make_unique<CxiFrames>(path, acquisition);
}

}  // namespace farfield::io
