#include "farfield/io/npz/scan.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "farfield/io/arrays.hpp"
#include "farfield/io/stack_source.hpp"

namespace farfield::io::npz {

using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
// Patterns straight from the archive, in order; a Fortran-ordered array has to be turned in memory first.
class TikeSource final : public model::FrameSource {
public:
  TikeSource(Npz archive, const std::string& checksum, const OpenOptions& options) : archive_(std::move(archive)) {
    const std::string& file = archive_.name();
    auto stream = archive_.stream("data");
    const NpyHeader h = stream.header();
    const auto& s = h.shape;
    const bool four = s.size() == 4 && s[0] == 1;
    if (s.size() != 3 && !four)
      throw Error(
          ErrorCode::corrupt_data,
          fmt::format("data has shape ({}), which is not (frame, y, x) or (1, frame, y, x)", fmt::join(s, ", ")))
          .at(file);
    if (h.dtype == core::DType::c64 || h.dtype == core::DType::c128)
      throw Error(ErrorCode::unsupported, "data must be counts, not complex numbers").at(file);
    frames_ = s[s.size() - 3];
    auto& d = acquisition_.detector;
    d.ny = s[s.size() - 2];
    d.nx = s[s.size() - 1];
    d.dtype = h.dtype;
    d.dc = model::DcLocation::corner;
    frame_bytes_ = d.ny * d.nx * core::item_size(h.dtype);
    if (frames_ < 1 || frame_bytes_ < 1) throw Error(ErrorCode::corrupt_data, "the scan has no frames").at(file);
    step_ = std::clamp<Index>(options.batch_bytes / frame_bytes_, 1, frames_);
    if (h.fortran_order) whole_ = archive_.read("data");
    else stream_.emplace(std::move(stream));

    positions();
    starting_values();
    acquisition_.source = file;
    acquisition_.checksum = checksum;
    acquisition_.scan.expected_frames = frames_;
    model::validate(acquisition_, file);
  }

  const model::Acquisition& acquisition() const override { return acquisition_; }

  bool next(std::stop_token stop, const std::function<void(const model::FrameBatch&)>& take) override {
    if (stop.stop_requested() || done_ >= frames_) return false;
    const auto& d = acquisition_.detector;
    const Index count = std::min(step_, frames_ - done_);
    const std::byte* at = nullptr;
    if (stream_) {
      if (buffer_.empty()) buffer_ = core::Array<std::byte, 1>({step_ * frame_bytes_});
      try {
        stream_->read({buffer_.data(), static_cast<std::size_t>(count * frame_bytes_)});
      } catch (Error& e) {
        throw e.at(fmt::format("data in {}", archive_.name()));
      }
      at = buffer_.data();
    } else {
      at = static_cast<const std::byte*>(whole_.data()) + done_ * frame_bytes_;
    }
    model::FrameBatch batch;
    for (Index i = 0; i < count; ++i) {
      const Index id = done_ + i;
      batch.frames.push_back({id, {d.dtype, at + i * frame_bytes_, d.ny, d.nx, d.nx}});
      if (!y_.empty())
        batch.values.emplace_back(
            id, model::Values{{"y_px", y_[static_cast<std::size_t>(id)]}, {"x_px", x_[static_cast<std::size_t>(id)]}});
    }
    done_ += count;
    take(batch);
    return true;
  }

private:
  void positions() {
    const std::string where = fmt::format("scan in {}", archive_.name());
    const auto scan = archive_.read("scan");
    const auto& s = scan.shape();
    if (s.size() < 2 || s.back() != 2 || scan.size() != 2 * s[s.size() - 2])
      throw Error(ErrorCode::corrupt_data,
                  fmt::format("scan has shape ({}), which is not (frame, 2)", fmt::join(s, ", ")))
          .at(where);
    const auto numbers = numbers_of(scan, where);
    for (std::size_t i = 0; i + 1 < numbers.size(); i += 2) {
      y_.push_back(numbers[i]);
      x_.push_back(numbers[i + 1]);
    }
    if (y_.empty()) throw Error(ErrorCode::corrupt_data, "there are no positions").at(where);
    check_positions(y_, x_, frames_, where);
    acquisition_.scan.unit = model::PositionUnit::pixels;
  }

  void starting_values() {
    const std::string& file = archive_.name();
    auto& inputs = acquisition_.inputs;
    if (archive_.has("probe"))
      inputs["probe"] = with_rank<core::cfloat>(archive_.read("probe"), 3, "probe", "mode, y, x", file);
    for (const char* name : {"object", "psi"})
      if (archive_.has(name) && inputs.count("object") == 0)
        inputs["object"] = with_rank<core::cfloat>(archive_.read(name), 2, name, "y, x", file);
    if (archive_.has("background"))
      inputs["background"] = with_rank<float>(archive_.read("background"), 2, "background", "y, x", file);
    if (archive_.has("mask")) {
      acquisition_.detector.pixel_mask = mask_of(archive_.read("mask"), fmt::format("mask in {}", file));
      check_mask(acquisition_.detector.pixel_mask, fmt::format("mask in {}", file));
    }
  }

  Npz archive_;
  std::optional<NpyStream> stream_;
  core::AnyArray whole_;
  model::Acquisition acquisition_;
  std::vector<double> y_, x_;
  Index frames_ = 0, frame_bytes_ = 0, step_ = 1, done_ = 0;
  core::Array<std::byte, 1> buffer_;
};
}  // namespace

std::unique_ptr<model::FrameSource> open_tike(Npz archive, const std::string& checksum, const OpenOptions& options) {
  return std::make_unique<TikeSource>(std::move(archive), checksum, options);
}

}  // namespace farfield::io::npz
