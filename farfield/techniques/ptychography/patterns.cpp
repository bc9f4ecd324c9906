#include "farfield/techniques/ptychography/patterns.hpp"

#include <fmt/format.h>

#include <cmath>

namespace farfield::techniques::ptychography {

using core::DType;
using core::Error;
using core::ErrorCode;

namespace {

/// Counts stay in the type they are stored in where the kernels read it; binned ones need more room.
DType tile_type(DType frame, Index bin) {
  switch (frame) {
    case DType::u8: return bin == 1 ? DType::u8 : bin <= 16 ? DType::u16 : DType::u32;
    case DType::i8:
    case DType::i16:
    case DType::u16: return bin == 1 ? DType::u16 : DType::u32;
    case DType::i32:
    case DType::u32:
    case DType::i64:
    case DType::u64: return DType::u32;
    case DType::f32:
    case DType::f64: return DType::f32;
    default: throw Error(ErrorCode::unsupported, fmt::format("frames of {} cannot be counts", core::name(frame)));
  }
}

}  // namespace

FramePreparation::FramePreparation(const model::Detector& d, const Options& o)
    : frame_ny_(d.ny), frame_nx_(d.nx), dtype_(tile_type(d.dtype, o.bin)), bin_(o.bin) {
  Index ny = d.ny, nx = d.nx, step_y = d.nx, step_x = 1;  // of the frame after transposing, as offsets in memory
  if (o.transpose) {
    std::swap(ny, nx);
    std::swap(step_y, step_x);
  }
  Index origin = 0;
  if (o.flip_y) {
    origin += (ny - 1) * step_y;
    step_y = -step_y;
  }
  if (o.flip_x) {
    origin += (nx - 1) * step_x;
    step_x = -step_x;
  }
  const bool near_field = o.propagation != Propagation::far_field;
  const bool corner = o.dc == DcChoice::corner || (o.dc == DcChoice::file && d.dc == model::DcLocation::corner);
  // Frames with zero frequency in the corner are centred first, so that crop, bin and pad mean the same for both.
  const bool roll_in = corner && !near_field;
  const Index crop_y = o.crop_px > 0 ? o.crop_px : ny - ny % bin_, crop_x = o.crop_px > 0 ? o.crop_px : nx - nx % bin_;
  if (crop_y > ny || crop_x > nx)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("option crop = {} must be at most the frame, {} x {} px", o.crop_px, ny, nx));
  const Index binned_y = crop_y / bin_, binned_x = crop_x / bin_;
  shape_ = o.pad_px > 0 ? Shape{o.pad_px, o.pad_px} : Shape{binned_y, binned_x};
  if (shape_.ny < binned_y || shape_.nx < binned_x)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("option pad = {} must be at least the cropped and binned frame, {} x {} px", o.pad_px,
                            binned_y, binned_x));
  // Index n/2 of the frame is zero frequency; it stays so through crop and pad, and ends in the corner.
  const Index first_y = ny / 2 - (binned_y / 2) * bin_, first_x = nx / 2 - (binned_x / 2) * bin_;
  const Index pad_y = shape_.ny / 2 - binned_y / 2, pad_x = shape_.nx / 2 - binned_x / 2;
  source_.assign(static_cast<std::size_t>(shape_.size()), -1);
  const auto wrap = [](Index v, Index n) { return ((v % n) + n) % n; };
  const bool simple_bin = bin_ == 1 || !roll_in || (ny % 2 == 0 && nx % 2 == 0);
  if (!simple_bin) throw Error(ErrorCode::unsupported, "binning frames of odd size with zero frequency in the corner");
  for (Index y = 0; y < binned_y; ++y)
    for (Index x = 0; x < binned_x; ++x) {
      Index fy = std::min(std::max<Index>(first_y + y * bin_, 0), ny - bin_),
            fx = std::min(std::max<Index>(first_x + x * bin_, 0), nx - bin_);
      if (roll_in) {
        fy = wrap(fy - ny / 2, ny);
        fx = wrap(fx - nx / 2, nx);
      }
      Index ty = y + pad_y, tx = x + pad_x;
      if (!near_field) {
        ty = wrap(ty - shape_.ny / 2, shape_.ny);
        tx = wrap(tx - shape_.nx / 2, shape_.nx);
      }
      source_[static_cast<std::size_t>(ty * shape_.nx + tx)] =
          static_cast<std::int32_t>(origin + fy * step_y + fx * step_x);
    }
  bin_step_y_ = static_cast<std::int32_t>(step_y);
  bin_step_x_ = static_cast<std::int32_t>(step_x);

  const double saturation = o.saturation > 0 ? o.saturation : d.saturation_counts.value_or(0);
  saturation_ = static_cast<float>(bin_ == 1 ? saturation : 0);  // binned: judged per frame pixel, see copy()
  frame_good_.assign(static_cast<std::size_t>(d.ny * d.nx), 1);
  if (!d.pixel_mask.empty())
    for (Index i = 0; i < d.ny * d.nx; ++i) frame_good_[static_cast<std::size_t>(i)] = d.pixel_mask.data()[i] == 0;
  bool all_good = true;
  valid_ = core::Array<float, 2>({shape_.ny, shape_.nx});
  for (Index i = 0; i < shape_.size(); ++i) {
    const std::int32_t at = source_[static_cast<std::size_t>(i)];
    bool good = at >= 0;
    for (Index v = 0; good && v < bin_; ++v)
      for (Index u = 0; u < bin_; ++u)
        good = good && frame_good_[static_cast<std::size_t>(at + v * bin_step_y_ + u * bin_step_x_)] != 0;
    valid_.data()[i] = good ? 1.0F : 0.0F;
    all_good = all_good && good;
  }
  double usable = 0;
  for (const float v : valid_) usable += static_cast<double>(v);
  if (usable == 0) throw Error(ErrorCode::corrupt_data, "the pixel mask hides every pixel of the frames");
  if (all_good) valid_ = {};
}

template <class From, class To>
std::optional<std::string> FramePreparation::copy(const core::AnyImage& image, To* tile) const {
  const auto view = image.view<From>();
  const bool contiguous = image.row_stride == image.nx;
  const auto at = [&](std::int32_t offset) -> From {
    return contiguous ? view.data()[offset] : view(offset / frame_nx_, offset % frame_nx_);
  };
  for (std::size_t i = 0; i < source_.size(); ++i) {
    tile[i] = To{};
    if (source_[i] < 0 || (!valid_.empty() && valid_.data()[i] == 0)) continue;
    double sum = 0;
    for (Index v = 0; v < bin_; ++v)
      for (Index u = 0; u < bin_; ++u) {
        const From value =
            at(source_[i] + static_cast<std::int32_t>(v) * bin_step_y_ + static_cast<std::int32_t>(u) * bin_step_x_);
        if constexpr (std::is_floating_point_v<From>)
          if (!std::isfinite(value)) return fmt::format("pixel {} is not a finite number", source_[i]);
        if constexpr (std::is_signed_v<From>)
          if (value < From{})
            return fmt::format("pixel {} has {} counts; counts must be >= 0 (mask it, or subtract no offset)",
                               source_[i], value);
        sum += static_cast<double>(value);
      }
    if constexpr (std::is_integral_v<To>) {
      if (sum > static_cast<double>(std::numeric_limits<To>::max()))
        return fmt::format("pixel {} has {} counts, more than {} allowed", source_[i], sum,
                           std::numeric_limits<To>::max());
    } else if (sum > 1e30) {
      return fmt::format("pixel {} has {} counts, more than 1e30 allowed", source_[i], sum);
    }
    tile[i] = static_cast<To>(sum);
  }
  return std::nullopt;
}

std::optional<std::string> FramePreparation::prepare(const core::AnyImage& image, void* tile) const {
  if (image.ny != frame_ny_ || image.nx != frame_nx_)
    return fmt::format("frame of {} x {} px in a scan of {} x {} px", image.ny, image.nx, frame_ny_, frame_nx_);
  return core::visit_dtype(image.dtype, [&](auto from) -> std::optional<std::string> {
    using From = decltype(from);
    if constexpr (std::is_arithmetic_v<From>) {
      switch (dtype_) {
        case DType::u8: return copy<From>(image, static_cast<std::uint8_t*>(tile));
        case DType::u16: return copy<From>(image, static_cast<std::uint16_t*>(tile));
        case DType::u32: return copy<From>(image, static_cast<std::uint32_t*>(tile));
        default: return copy<From>(image, static_cast<float*>(tile));
      }
    } else {
      return "complex pixels cannot be counts";
    }
  });
}

Patterns::Patterns(Shape shape, DType dtype)
    : shape_(shape), dtype_(dtype), tile_bytes_(shape.size() * core::item_size(dtype)) {
  constexpr Index kBlockBytes = 8 << 20;
  per_block_ = std::max<Index>(1, kBlockBytes / tile_bytes_);
}

void* Patterns::add(model::FrameId id) {
  const Index slot = slots();
  if (!slot_of_.try_emplace(id, slot).second) return nullptr;
  if (slot / per_block_ >= static_cast<Index>(blocks_.size()))
    // A margin lets vector loads of narrow counts read past the last tile.
    blocks_.emplace_back(std::array<Index, 1>{per_block_ * tile_bytes_ + 64});
  ids_.push_back(id);
  y_.push_back(0);
  x_.push_back(0);
  has_position_.push_back(0);
  if (const auto early = early_.find(id); early != early_.end()) {
    const auto [y, x] = early->second;
    early_.erase(early);
    set_position(id, y, x);
  }
  return blocks_[static_cast<std::size_t>(slot / per_block_)].data() + (slot % per_block_) * tile_bytes_;
}

void Patterns::drop_last() {
  if (has_position_.back() != 0) ready_.pop_back();
  slot_of_.erase(ids_.back());
  ids_.pop_back();
  y_.pop_back();
  x_.pop_back();
  has_position_.pop_back();
}

void Patterns::set_position(model::FrameId id, double y, double x) {
  const auto found = slot_of_.find(id);
  if (found == slot_of_.end()) {
    early_[id] = {y, x};
    return;
  }
  const auto slot = static_cast<std::size_t>(found->second);
  y_[slot] = y;
  x_[slot] = x;
  if (has_position_[slot] == 0) {
    has_position_[slot] = 1;
    ready_.push_back(found->second);
  }
}

}  // namespace farfield::techniques::ptychography
