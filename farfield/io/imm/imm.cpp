#include "farfield/io/imm/imm.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "farfield/core/error.hpp"
#include "farfield/io/sparse_batch.hpp"

namespace farfield::io::imm {

using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
constexpr Index kBatchBytes = Index{1} << 20;
constexpr Index kMostFramesPerBatch = 4096;

Header header_at(const Bytes& bytes, Index offset) {
  std::array<std::byte, kHeaderBytes> stored{};
  bytes.read(offset, stored);
  return parse(stored);
}

// Where a frame stands in the file, and why it cannot be read, if so.
struct Entry {
  Index offset = 0;
  Header header{};
  std::string damage{};
};

// Reads all headers. After a header that is damaged nothing tells where the next one is, unless all frames are as
// long as each other.
std::vector<Entry> index_of(const Bytes& bytes, const std::string& name) {
  std::vector<Entry> entries;
  Index offset = 0;
  const auto is_like_first = [&](const Header& h) {
    const Header& first = entries.front().header;
    return h.rows == first.rows && h.cols == first.cols && h.bytes == first.bytes && h.compression == first.compression;
  };
  while (offset < bytes.size()) {
    Entry e{offset};
    if (bytes.size() - offset < kHeaderBytes) {
      e.damage = fmt::format("the file ends within the header at byte {}", offset);
      entries.push_back(std::move(e));
      break;
    }
    e.header = header_at(bytes, offset);
    const char* reason = e.header.implausible();
    if (reason == nullptr && !entries.empty() && !is_like_first(e.header)) reason = "it differs from the first header";
    if (reason != nullptr && entries.empty())
      throw Error(ErrorCode::corrupt_data, fmt::format("this is no IMM header: {}", reason)).at(name);
    if (reason != nullptr) {
      e.damage = fmt::format("damaged header at byte {}: {}", offset, reason);
      const Header& first = entries.front().header;
      if (first.sparse()) {
        e.damage += fmt::format("; the {} bytes from there on cannot be read", bytes.size() - offset);
        entries.push_back(std::move(e));
        break;
      }
      e.header = first;
    }
    const Index end = offset + kHeaderBytes + e.header.payload_bytes();
    if (end > bytes.size() && e.damage.empty())
      e.damage = fmt::format("the file ends {} bytes before the frame does", end - bytes.size());
    entries.push_back(std::move(e));
    offset = end;
  }
  return entries;
}

class Source final : public model::FrameSource {
public:
  Source(std::unique_ptr<Bytes> bytes, const std::string& name, const std::string& checksum, const OpenOptions& options)
      : bytes_(std::move(bytes)),
        entries_(index_of(*bytes_, name)),
        first_(entries_.front().header),
        limit_(std::clamp<Index>(options.batch_bytes, 1, kBatchBytes)),
        batch_(first_.rows, first_.cols) {
    acquisition_.source = name;
    acquisition_.checksum = checksum;
    acquisition_.detector.ny = first_.rows;
    acquisition_.detector.nx = first_.cols;
    acquisition_.detector.dtype = first_.sparse() || first_.bytes == 4 ? core::DType::u32 : core::DType::u16;
    acquisition_.scan.expected_frames = static_cast<Index>(entries_.size());
    if (first_.exposure_s > 0) acquisition_.metadata["exposure_time_s"] = fmt::format("{}", first_.exposure_s);
    model::validate(acquisition_, name);
  }

  const model::Acquisition& acquisition() const override { return acquisition_; }

  bool next(std::stop_token stop, const std::function<void(const model::FrameBatch&)>& take) override {
    if (stop.stop_requested() || next_ == entries_.size()) return false;
    // As many frames as fit, read at once: they stand one behind the other.
    std::size_t last = next_ + 1;
    const auto end_of = [&](std::size_t i) {
      const Entry& e = entries_[i];
      return e.damage.empty() ? e.offset + kHeaderBytes + e.header.payload_bytes() : e.offset;
    };
    while (last < entries_.size() && end_of(last) - entries_[next_].offset <= limit_ &&
           last - next_ < static_cast<std::size_t>(kMostFramesPerBatch))
      ++last;
    const Index begin = entries_[next_].offset;
    stored_.resize(static_cast<std::size_t>(end_of(last - 1) - begin));
    bytes_->read(begin, stored_);
    first_.sparse() ? take(sparse(last, begin)) : take(dense(last, begin));
    next_ = last;
    return true;
  }

private:
  const std::byte* payload(const Entry& e, Index begin) const {
    return stored_.data() + (e.offset - begin) + kHeaderBytes;
  }

  const model::FrameBatch& sparse(std::size_t last, Index begin) {
    batch_.clear();
    for (std::size_t i = next_; i < last; ++i) {
      const Entry& e = entries_[i];
      const auto id = static_cast<model::FrameId>(i);
      if (!e.damage.empty()) {
        batch_.end_bad_frame(id, e.damage);
        continue;
      }
      const auto events = batch_.grow(e.header.length);
      const auto outside = e.header.bytes == 2 ? decode<std::uint16_t>(payload(e, begin), events)
                                               : decode<std::uint32_t>(payload(e, begin), events);
      if (outside > 0) {
        batch_.end_bad_frame(id, fmt::format("{} of {} pixel numbers are not within the {} x {} pixels", outside,
                                             events.size(), first_.rows, first_.cols));
        continue;
      }
      batch_.end_frame(id);
      batch_.add_values(id, {{"time_s", e.header.elapsed_s}});
    }
    return batch_.lend();
  }

  // Pixel numbers, then values; returns how many pixels lie outside. The bytes have no alignment to speak of.
  template <class T>
  Index decode(const std::byte* stored, std::span<model::PixelCount> out) const {
    const std::byte* values = stored + out.size() * sizeof(std::uint32_t);
    const auto pixels = static_cast<std::uint32_t>(Index{first_.rows} * first_.cols);
    Index outside = 0;
    for (std::size_t i = 0; i < out.size(); ++i) {
      std::uint32_t pixel = 0;
      T value = 0;
      std::memcpy(&pixel, stored + i * sizeof pixel, sizeof pixel);
      std::memcpy(&value, values + i * sizeof value, sizeof value);
      out[i] = {pixel, value};
      outside += pixel >= pixels ? 1 : 0;
    }
    return outside;
  }

  const model::FrameBatch& dense(std::size_t last, Index begin) {
    const Index frame_bytes = first_.payload_bytes();
    frames_.resize(static_cast<std::size_t>(frame_bytes) * (last - next_));
    dense_ = {};
    std::byte* out = frames_.data();
    for (std::size_t i = next_; i < last; ++i) {
      const Entry& e = entries_[i];
      const auto id = static_cast<model::FrameId>(i);
      if (!e.damage.empty()) {
        dense_.bad.emplace_back(id, e.damage);
        continue;
      }
      std::memcpy(out, payload(e, begin), static_cast<std::size_t>(frame_bytes));
      dense_.frames.push_back({id, {acquisition_.detector.dtype, out, first_.rows, first_.cols, first_.cols}});
      dense_.values.emplace_back(id, model::Values{{"time_s", e.header.elapsed_s}});
      out += frame_bytes;
    }
    return dense_;
  }

  std::unique_ptr<Bytes> bytes_;
  std::vector<Entry> entries_;
  Header first_;
  Index limit_;
  model::Acquisition acquisition_;
  std::size_t next_ = 0;
  std::vector<std::byte> stored_, frames_;
  SparseBatch batch_;
  model::FrameBatch dense_;
};

}  // namespace

bool is_imm(const Bytes& bytes) {
  if (bytes.size() < kHeaderBytes) return false;
  const Header h = header_at(bytes, 0);
  return h.implausible() == nullptr && h.elapsed_s >= 0 && h.exposure_s >= 0;
}

std::unique_ptr<model::FrameSource> open(std::unique_ptr<Bytes> bytes, const std::string& name,
                                         const std::string& checksum, const OpenOptions& options) {
  if (bytes->size() < kHeaderBytes)
    throw Error(ErrorCode::corrupt_data,
                fmt::format("{} bytes hold no header of {} bytes", bytes->size(), kHeaderBytes))
        .at(name);
  return std::make_unique<Source>(std::move(bytes), name, checksum, options);
}

Writer::Writer(const std::filesystem::path& path, Index ny, Index nx, bool compressed, double exposure_s)
    : file_(path), ny_(ny), nx_(nx), compressed_(compressed), exposure_s_(exposure_s) {
  constexpr Index kMostPixels = Index{1} << 31;
  if (ny < 1 || nx < 1 || ny > (1 << 20) || nx > (1 << 20) || ny * nx >= kMostPixels)
    throw Error(ErrorCode::invalid_argument, fmt::format("frames of {} x {} pixels must have 1 to 2^31 pixels", ny, nx))
        .at(path.string());
  image_.resize(static_cast<std::size_t>(ny * nx));
}

void Writer::append(const model::FrameView& frame, double time_s) {
  const std::string place = file_.path().string();
  if (frame.ny() != ny_ || frame.nx() != nx_)
    throw Error(ErrorCode::invalid_argument, fmt::format("frame {} has {} x {} pixels, the file {} x {}", frame.id,
                                                         frame.ny(), frame.nx(), ny_, nx_))
        .at(place);
  std::fill(image_.begin(), image_.end(), 0U);
  if (frame.is_sparse()) {
    for (const auto& e : frame.sparse.events) {
      if (e.pixel >= image_.size() || __builtin_add_overflow(image_[e.pixel], e.count, &image_[e.pixel]))
        throw Error(ErrorCode::invalid_argument, fmt::format("pixel {} of frame {} is not possible", e.pixel, frame.id))
            .at(place);
    }
  } else {
    core::visit_dtype(frame.image.dtype, [&](auto zero) {
      using T = decltype(zero);
      if constexpr (std::is_integral_v<T> && std::is_unsigned_v<T> && sizeof(T) <= 4) {
        const auto image = frame.image.view<T>();
        for (Index y = 0; y < ny_; ++y) std::copy_n(&image(y, 0), nx_, image_.data() + y * nx_);
      } else {
        throw Error(ErrorCode::invalid_argument,
                    fmt::format("frames of type {} must be u8, u16 or u32", core::name(frame.image.dtype)))
            .at(place);
      }
    });
  }
  std::vector<std::uint32_t> pixels;
  std::vector<std::uint16_t> values;
  for (std::size_t i = 0; i < image_.size(); ++i) {
    if (image_[i] > 0xffff)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("count {} of pixel {} in frame {} must be at most 65535", image_[i], i, frame.id))
          .at(place);
    if (compressed_ && image_[i] == 0) continue;
    if (compressed_) pixels.push_back(static_cast<std::uint32_t>(i));
    values.push_back(static_cast<std::uint16_t>(image_[i]));
  }
  Header h;
  h.compression = compressed_ ? kCompressed : 0;
  h.rows = static_cast<std::int32_t>(ny_);
  h.cols = static_cast<std::int32_t>(nx_);
  h.elapsed_s = time_s;
  h.exposure_s = exposure_s_;
  h.length = static_cast<std::uint32_t>(values.size());
  h.number = h.buffer_number = frames_++;
  file_.write(format(h));
  file_.write(std::as_bytes(std::span(pixels)));
  file_.write(std::as_bytes(std::span(values)));
}

}  // namespace farfield::io::imm
