#include "farfield/io/rigaku/rigaku.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>

#include "farfield/core/error.hpp"
#include "farfield/io/sparse_batch.hpp"
#include "farfield/io/stack_source.hpp"

namespace farfield::io::rigaku {

using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
constexpr Index kModules = 6;
// Module i of the 3M detector, row by row, is in the file of this number.
constexpr std::array<Index, kModules> kFileOfModule{5, 0, 4, 1, 3, 2};
constexpr Index kColumns = 2;
// The modules of a 3M detector set this bit of the pixel number.
constexpr std::uint32_t kModuleBit = 1U << 20;
static_assert(kModuleNy * kModuleNx <= kModuleBit);

constexpr Index kEventBytes = sizeof(model::PixelCount);
// Small batches stay in the caches of whoever takes them.
constexpr Index kBatchBytes = Index{1} << 20;
constexpr Index kMostFramesPerBatch = 4096;

/// Copies events; returns the largest pixel number.
std::uint32_t decode(std::span<const std::uint64_t> words, std::span<model::PixelCount> out) {
  std::uint32_t largest = 0;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const auto pixel = static_cast<std::uint32_t>(words[i] >> 16) & 0xffffffU;
    out[i] = {pixel, static_cast<std::uint32_t>(words[i]) & 0xffffU};
    largest = std::max(largest, pixel);
  }
  return largest;
}

std::string outside(std::span<const model::PixelCount> events, Index pixels) {
  const auto bad = std::count_if(events.begin(), events.end(), [&](auto e) { return e.pixel >= pixels; });
  const auto largest = std::max_element(events.begin(), events.end(), [](auto a, auto b) { return a.pixel < b.pixel; });
  return fmt::format("{} of {} events lie outside of the {} pixels, as pixel {}", bad, events.size(), pixels,
                     largest->pixel);
}

// What the two detectors have in common: frames 0, 1, 2 ... gathered until a batch is full.
class Source : public model::FrameSource {
public:
  Source(Index ny, Index nx, Index frames, const std::string& name, const std::string& checksum,
         const OpenOptions& options)
      : frames_(frames),
        limit_(std::clamp<Index>(options.batch_bytes / kEventBytes, 1, kBatchBytes / kEventBytes)),
        batch_(ny, nx) {
    acquisition_.source = name;
    acquisition_.checksum = checksum;
    acquisition_.detector.ny = ny;
    acquisition_.detector.nx = nx;
    acquisition_.detector.dtype = core::DType::u32;
    acquisition_.scan.expected_frames = frames;
    model::validate(acquisition_, name);
  }
  model::Acquisition& acquisition() { return acquisition_; }
  const model::Acquisition& acquisition() const override { return acquisition_; }

  bool next(std::stop_token stop, const std::function<void(const model::FrameBatch&)>& take) override {
    if (stop.stop_requested() || next_ >= frames_) return false;
    batch_.clear();
    for (Index taken = 0; next_ < frames_ && taken < kMostFramesPerBatch && batch_.events() < limit_; ++taken)
      gather(next_++, batch_);
    take(batch_.lend());
    return true;
  }

protected:
  virtual void gather(model::FrameId id, SparseBatch& batch) = 0;

private:
  model::Acquisition acquisition_;
  Index frames_, next_ = 0, limit_;
  SparseBatch batch_;
};

class OneModule final : public Source {
public:
  OneModule(EventFile file, Index ny, Index nx, const std::string& checksum, const OpenOptions& options)
      : Source(ny, nx, file.frames(), file.name(), checksum, options), file_(std::move(file)), pixels_(ny * nx) {}

protected:
  void gather(model::FrameId id, SparseBatch& batch) override {
    const auto frame = file_.take(id);
    if (!frame.damage.empty()) return batch.end_bad_frame(id, frame.damage);
    const auto events = batch.grow(frame.events.size());
    if (decode(frame.events, events) >= pixels_ && !events.empty())
      return batch.end_bad_frame(id, outside(events, pixels_));
    batch.end_frame(id);
  }

private:
  EventFile file_;
  Index pixels_;
};

class SixModules final : public Source {
public:
  SixModules(std::vector<EventFile> files, Index frames, const std::string& checksum, const OpenOptions& options)
      : Source(k3mNy, k3mNx, frames, files.front().name(), checksum, options), files_(std::move(files)) {
    auto& mask = acquisition().detector.pixel_mask;
    mask = core::Array<std::uint32_t, 2>({k3mNy, k3mNx}, model::pixel_mask::kGap);
    for (Index m = 0; m < kModules; ++m)
      for (Index y = 0; y < kModuleNy; ++y) std::fill_n(&mask(row(m) + y, column(m)), kModuleNx, 0U);
  }

protected:
  void gather(model::FrameId id, SparseBatch& batch) override {
    std::string damage;
    for (Index m = 0; m < kModules; ++m) {
      auto& file = files_[static_cast<std::size_t>(kFileOfModule[static_cast<std::size_t>(m)])];
      const auto frame = file.take(id);
      const auto events = batch.grow(frame.events.size());
      decode(frame.events, events);
      std::uint32_t largest = 0;
      for (auto& e : events) largest = std::max(largest, e.pixel &= ~kModuleBit);
      constexpr Index kPixels = kModuleNy * kModuleNx;
      const std::string wrong = largest >= kPixels ? outside(events, kPixels) : frame.damage;
      if (damage.empty() && !wrong.empty()) damage = fmt::format("{} ({})", wrong, file.name());
      for (auto& e : events) {
        const auto pixel = static_cast<Index>(e.pixel);
        e.pixel = static_cast<std::uint32_t>((row(m) + pixel / kModuleNx) * k3mNx + column(m) + pixel % kModuleNx);
      }
    }
    damage.empty() ? batch.end_frame(id) : batch.end_bad_frame(id, damage);
  }

private:
  static Index row(Index module) { return module / kColumns * (kModuleNy + k3mGapY); }
  static Index column(Index module) { return module % kColumns * (kModuleNx + k3mGapX); }
  std::vector<EventFile> files_;
};

std::pair<Index, Index> shape_of(const OpenOptions& options) {
  return options.frame_ny > 0 ? std::pair{options.frame_ny, options.frame_nx} : std::pair{kModuleNy, kModuleNx};
}
}  // namespace

std::unique_ptr<model::FrameSource> open_500k(std::unique_ptr<Bytes> bytes, const std::string& name,
                                              const std::string& checksum, const OpenOptions& options) {
  const auto [ny, nx] = shape_of(options);
  return std::make_unique<OneModule>(EventFile(std::move(bytes), name), ny, nx, checksum, options);
}

std::unique_ptr<model::FrameSource> open_3m(std::vector<std::unique_ptr<Bytes>> modules,
                                            const std::vector<std::string>& names, const std::string& checksum,
                                            const OpenOptions& options) {
  if (static_cast<Index>(modules.size()) != kModules || names.size() != modules.size())
    throw Error(ErrorCode::invalid_argument, fmt::format("{} files of modules must be {}", modules.size(), kModules));
  std::vector<EventFile> files;
  Index frames = 0;
  for (std::size_t i = 0; i < modules.size(); ++i) {
    files.emplace_back(std::move(modules[i]), names[i]);
    frames = std::max(frames, files.back().frames());
  }
  return std::make_unique<SixModules>(std::move(files), frames, checksum, options);
}

std::vector<std::filesystem::path> files_of_3m(const std::filesystem::path& path) {
  const std::string name = path.extension().string();
  if (name.size() != 4 || !name.starts_with(".00") || name[3] < '0' || name[3] >= '0' + kModules) return {};
  std::vector<std::filesystem::path> files;
  for (Index i = 0; i < kModules; ++i) {
    files.push_back(path);
    files.back().replace_extension(fmt::format(".{:03}", i));
  }
  return files;
}

bool is_rigaku(const std::filesystem::path& path, const OpenOptions& options) {
  const auto [ny, nx] = shape_of(options);
  const Index pixels = files_of_3m(path).empty() ? ny * nx : 2 * Index{kModuleBit};
  return EventFile::looks_like(*file_bytes(path), pixels);
}

std::unique_ptr<model::FrameSource> open(const std::filesystem::path& path, const OpenOptions& options) {
  const auto files = files_of_3m(path);
  const std::string checksum = options.checksum ? file_checksum(path) : "";
  if (files.empty()) return open_500k(file_bytes(path), path.string(), checksum, options);
  std::vector<std::unique_ptr<Bytes>> modules;
  std::vector<std::string> names;
  for (const auto& file : files) {
    modules.push_back(file_bytes(file));
    names.push_back(file.string());
  }
  return open_3m(std::move(modules), names, checksum, options);
}

void EventWriter::append(model::FrameId id, std::span<const model::PixelCount> events) {
  if (id <= last_ || id >= Index{1} << 24)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("frame {} after frame {}: numbers must grow and be less than 2^24", id, last_))
        .at(file_.path().string());
  last_ = id;
  words_.clear();
  for (const auto& e : events) {
    if (e.pixel >= 1U << 24 || e.count > 0xffff)
      throw Error(ErrorCode::invalid_argument, fmt::format("pixel {} with count {} does not fit: at most {} and {}",
                                                           e.pixel, e.count, (1 << 24) - 1, 0xffff))
          .at(file_.path().string());
    if (e.count > 0)
      words_.push_back(pack({static_cast<std::uint32_t>(id), e.pixel, static_cast<std::uint16_t>(e.count)}));
  }
  file_.write(std::as_bytes(std::span(words_)));
}

}  // namespace farfield::io::rigaku
