#include "farfield/pipeline/corrections.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace farfield::pipeline {

using core::Error;
using core::ErrorCode;

namespace {

/// The window of a 2-D calibration image as float; `what` names it in messages.
core::Array<float, 2> calibration(const core::AnyArray& image, const char* what, Index ny, Index nx, const Crop& crop) {
  if (image.rank() != 2 || image.shape()[0] != ny || image.shape()[1] != nx)
    throw Error(ErrorCode::corrupt_data, fmt::format("{} of shape ({}) must have the shape of the frames, ({}, {})",
                                                     what, fmt::join(image.shape(), ", "), ny, nx));
  const auto whole = image.to<float, 2>();
  core::Array<float, 2> out({crop.ny, crop.nx});
  for (Index y = 0; y < crop.ny; ++y)
    for (Index x = 0; x < crop.nx; ++x) out(y, x) = whole(crop.y + y, crop.x + x);
  return out;
}

void check_window(const model::Acquisition& raw, const CorrectionOptions& options, const Crop& crop) {
  const auto& d = raw.detector;
  if (crop.y < 0 || crop.x < 0 || crop.ny < 1 || crop.nx < 1 || crop.ny > d.ny || crop.nx > d.nx ||
      crop.y > d.ny - crop.ny || crop.x > d.nx - crop.nx)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("crop of {} x {} pixels at ({}, {}) must lie within the detector of {} x {}", crop.ny,
                            crop.nx, crop.y, crop.x, d.ny, d.nx));
  if (options.bin < 1 || crop.ny % options.bin != 0 || crop.nx % options.bin != 0)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("bin {} must be >= 1 and divide the {} x {} pixels", options.bin, crop.ny, crop.nx));
  if (!options.crop && options.bin == 1) return;
  if (d.dc == model::DcLocation::corner)
    throw Error(ErrorCode::unsupported,
                "crop and bin need patterns with the zero frequency in the centre; here it is in the corner");
  if (raw.scan.unit == model::PositionUnit::pixels)
    throw Error(ErrorCode::unsupported,
                "crop and bin would change what positions in pixels mean; they need positions in metres");
}

}  // namespace

Corrector::Corrector(const model::Acquisition& raw, const CorrectionOptions& options)
    : ny_(raw.detector.ny),
      nx_(raw.detector.nx),
      raw_type_(raw.detector.dtype),
      bin_(options.bin),
      sparse_(options.sparse),
      corrected_(raw.clone()) {
  crop_ = options.crop.value_or(Crop{0, 0, ny_, nx_});
  check_window(raw, options, crop_);

  auto& detector = corrected_.detector;
  core::Array<std::uint32_t, 2> mask({crop_.ny, crop_.nx});
  if (!detector.pixel_mask.empty())
    for (Index y = 0; y < crop_.ny; ++y)
      for (Index x = 0; x < crop_.nx; ++x) mask(y, x) = detector.pixel_mask(crop_.y + y, crop_.x + x);

  if (const auto it = raw.inputs.find("dark"); options.dark && it != raw.inputs.end()) {
    dark_ = calibration(it->second, "dark field", ny_, nx_, crop_);
    for (Index i = 0; i < dark_.size(); ++i)
      if (!std::isfinite(dark_.data()[i])) {
        mask.data()[i] |= model::pixel_mask::kDead;
        dark_.data()[i] = 0;
      }
  }
  if (const auto it = raw.inputs.find("flat"); options.flat && it != raw.inputs.end()) {
    gain_ = calibration(it->second, "flat field", ny_, nx_, crop_);
    for (Index i = 0; i < gain_.size(); ++i) {
      float& v = gain_.data()[i];
      if (!(std::isfinite(v) && v > 0)) mask.data()[i] |= model::pixel_mask::kDead;
      v = std::isfinite(v) && v > 0 ? 1 / v : 0;
    }
  }
  if (options.dark) corrected_.inputs.erase("dark");
  if (options.flat) corrected_.inputs.erase("flat");
  core::Array<float, 2> highest_energy;
  if (options.gain && (raw.inputs.contains("gain_pedestal") || raw.inputs.contains("gain_factor"))) {
    highest_energy = use_gain(raw, mask);
    corrected_.inputs.erase("gain_pedestal");
    corrected_.inputs.erase("gain_factor");
  }
  if (const auto it = raw.inputs.find("countrate"); options.countrate && it != raw.inputs.end()) {
    if (switching_) throw Error(ErrorCode::unsupported, "a detector that switches its gain has no count-rate table");
    use_countrate(it->second);
    corrected_.inputs.erase("countrate");
  }
  arithmetic_ = bin_ > 1 || !dark_.empty() || !gain_.empty() || !countrate_.empty() || switching_;
  if (!arithmetic_ && !options.crop) return;  // the scan as it is

  detector.ny = crop_.ny / bin_;
  detector.nx = crop_.nx / bin_;
  if (detector.pixel_size_y_m) *detector.pixel_size_y_m *= static_cast<double>(bin_);
  if (detector.pixel_size_x_m) *detector.pixel_size_x_m *= static_cast<double>(bin_);
  detector.pixel_mask = core::Array<std::uint32_t, 2>({detector.ny, detector.nx});
  for (Index y = 0; y < crop_.ny; ++y)
    for (Index x = 0; x < crop_.nx; ++x) detector.pixel_mask(y / bin_, x / bin_) |= mask(y, x);
  if (!arithmetic_) return;

  if (raw_type_ == core::DType::c64 || raw_type_ == core::DType::c128)
    throw Error(ErrorCode::unsupported, "frames of complex numbers cannot be corrected");
  detector.dtype = core::DType::f32;
  saturation_ = raw.detector.saturation_counts;
  if (!countrate_.empty()) {
    // What exceeds the table cannot be put right.
    const double beyond = std::nextafter(countrate_(countrate_.extent(0) - 1, 0), INFINITY);
    saturation_ = std::min(saturation_.value_or(beyond), beyond);
  }
  if (switching_) saturation_ = INFINITY;  // pixels say by themselves that they are saturated
  if (saturation_) {
    const auto limit = static_cast<double>(countrate_.empty() ? static_cast<float>(*saturation_)
                                                              : true_counts(static_cast<float>(*saturation_)));
    double highest = dark_.empty() && gain_.empty() && !switching_ ? limit : 0;
    if (highest == 0)
      for (Index i = 0; i < crop_.ny * crop_.nx; ++i)
        if (mask.data()[i] == 0)
          highest = std::max(highest,
                             ((switching_ ? highest_energy.data()[i] : limit) - (dark_.empty() ? 0 : dark_.data()[i])) *
                                 (gain_.empty() ? 1 : gain_.data()[i]));
    // As a float, rounded up: the comparison in a technique is with float pixels.
    const double corrected = highest * static_cast<double>(bin_ * bin_);
    detector.saturation_counts = static_cast<double>(std::nextafter(static_cast<float>(corrected), INFINITY));
  }
}

void Corrector::use_countrate(const core::AnyArray& table) {
  const auto refuse = [](std::string what) { throw Error(ErrorCode::corrupt_data, "count-rate table " + what); };
  if (table.rank() != 2 || table.shape()[0] < 1 || table.shape()[1] != 2)
    refuse(fmt::format("of shape ({}) must be pairs, (i, 2)", fmt::join(table.shape(), ", ")));
  countrate_ = table.to<float, 2>();
  for (Index i = 0; i < countrate_.extent(0); ++i) {
    const float measured = countrate_(i, 0), counts = countrate_(i, 1);
    if (!std::isfinite(measured) || !std::isfinite(counts) || measured < 0 || counts < 0 ||
        (i > 0 && (measured <= countrate_(i - 1, 0) || counts < countrate_(i - 1, 1))))
      refuse(fmt::format("must hold growing, finite numbers >= 0; pair {} is ({}, {})", i, measured, counts));
  }
}

/// Below the table from (0, 0), beyond it its last value.
float Corrector::true_counts(float measured) const {
  const Index n = countrate_.extent(0);
  Index after = 0;
  for (Index count = n; count > 0;) {  // the first pair above
    const Index half = count / 2;
    if (countrate_(after + half, 0) <= measured) {
      after += half + 1;
      count -= half + 1;
    } else {
      count = half;
    }
  }
  if (after == n) return countrate_(n - 1, 1);
  const float x0 = after == 0 ? 0 : countrate_(after - 1, 0), y0 = after == 0 ? 0 : countrate_(after - 1, 1);
  return y0 + (measured - x0) / (countrate_(after, 0) - x0) * (countrate_(after, 1) - y0);
}

core::Array<float, 2> Corrector::use_gain(const model::Acquisition& raw, core::View<std::uint32_t, 2> mask) {
  if (raw_type_ != core::DType::u16)
    throw Error(ErrorCode::unsupported,
                fmt::format("gains are told by the bits of 16-bit words; the frames hold {}", core::name(raw_type_)));
  const auto constants = [&](const char* role) {
    const auto it = raw.inputs.find(role);
    if (it == raw.inputs.end()) throw Error(ErrorCode::corrupt_data, fmt::format("gains without \"{}\"", role));
    const auto& array = it->second;
    if (array.rank() != 3 || array.shape() != std::vector<Index>{kGains, ny_, nx_})
      throw Error(ErrorCode::corrupt_data, fmt::format("{} of shape ({}) must be ({}, {}, {})", role,
                                                       fmt::join(array.shape(), ", "), kGains, ny_, nx_));
    const auto whole = array.to<float, 3>();
    core::Array<float, 3> window({kGains, crop_.ny, crop_.nx});
    for (Index g = 0; g < kGains; ++g)
      for (Index y = 0; y < crop_.ny; ++y)
        for (Index x = 0; x < crop_.nx; ++x) window(g, y, x) = whole(g, crop_.y + y, crop_.x + x);
    return window;
  };
  GainConstants gains{constants("gain_pedestal"), constants("gain_factor")};
  constexpr float kMostAdu = 16383;
  core::Array<float, 2> highest({crop_.ny, crop_.nx});
  for (Index y = 0; y < crop_.ny; ++y)
    for (Index x = 0; x < crop_.nx; ++x) {
      bool usable = false;
      for (Index g = 0; g < kGains; ++g) {
        const float pedestal = gains.pedestal_ADU(g, y, x), factor = gains.factor(g, y, x);
        if (!std::isfinite(pedestal) || !std::isfinite(factor) || factor == 0) continue;
        usable = true;
        highest(y, x) = std::max({highest(y, x), -pedestal * factor, (kMostAdu - pedestal) * factor});
      }
      if (!usable) mask(y, x) |= model::pixel_mask::kDead;
    }
  switching_.emplace(std::move(gains));
  return highest;
}

Index Corrector::frame_bytes() const {
  return corrected_.detector.ny * corrected_.detector.nx * core::item_size(corrected_.detector.dtype);
}

bool Corrector::passes(const model::FrameView& frame) const {
  const auto& image = frame.image;
  return !arithmetic_ && !frame.is_sparse() && crop_.ny == ny_ && crop_.nx == nx_ && image.ny == ny_ &&
         image.nx == nx_ && image.dtype == raw_type_;
}

Index Corrector::bytes_of(const model::FrameView& frame) const {
  return keeps_sparse(frame) ? static_cast<Index>(frame.sparse.events.size_bytes()) : frame_bytes();
}

model::FrameView Corrector::apply(const model::FrameView& raw, std::byte* out, std::vector<std::byte>& scratch) const {
  model::FrameView result{raw.id, {}};
  if (!raw.is_sparse()) {
    result.image = apply(raw.image, out);
    return result;
  }
  const auto& events = raw.sparse.events;
  const auto pixels = static_cast<std::uint64_t>(ny_) * static_cast<std::uint64_t>(nx_);
  if (raw.sparse.ny != ny_ || raw.sparse.nx != nx_)
    throw Error(ErrorCode::corrupt_data,
                fmt::format("frame of {} x {} pixels instead of {} x {}", raw.sparse.ny, raw.sparse.nx, ny_, nx_));
  if (const auto outside = std::find_if(events.begin(), events.end(), [&](const auto& e) { return e.pixel >= pixels; });
      outside != events.end())
    throw Error(ErrorCode::corrupt_data,
                fmt::format("event at pixel {} of a frame of {} x {}", outside->pixel, ny_, nx_));

  if (keeps_sparse(raw)) {
    auto* kept = reinterpret_cast<model::PixelCount*>(out);
    std::size_t count = 0;
    if (crop_.ny == ny_ && crop_.nx == nx_) {
      count = events.size();
      if (count > 0) std::memcpy(kept, events.data(), events.size_bytes());
    } else {
      for (const auto& e : events) {
        const Index y = e.pixel / nx_ - crop_.y, x = e.pixel % nx_ - crop_.x;
        if (y >= 0 && y < crop_.ny && x >= 0 && x < crop_.nx)
          kept[count++] = {static_cast<std::uint32_t>(y * crop_.nx + x), e.count};
      }
    }
    result.sparse = {crop_.ny, crop_.nx, {kept, count}};
    return result;
  }
  scratch.assign(static_cast<std::size_t>(ny_ * nx_ * core::item_size(raw_type_)), std::byte{0});
  core::visit_dtype(raw_type_, [&](auto zero) {
    using T = decltype(zero);
    auto* image = reinterpret_cast<T*>(scratch.data());
    for (const auto& e : events) {
      if constexpr (std::is_arithmetic_v<T>) {
        const T sum = static_cast<T>(image[e.pixel] + static_cast<T>(e.count));
        if (!(static_cast<double>(sum) == static_cast<double>(image[e.pixel]) + e.count))
          throw Error(ErrorCode::corrupt_data, fmt::format("pixel {} counts {} more, which frames of {} cannot hold",
                                                           e.pixel, e.count, core::name(raw_type_)));
        image[e.pixel] = sum;
      } else {
        image[e.pixel] += static_cast<typename T::value_type>(e.count);
      }
    }
  });
  result.image = apply(core::AnyImage{raw_type_, scratch.data(), ny_, nx_, nx_}, out);
  return result;
}

core::AnyImage Corrector::apply(const core::AnyImage& raw, std::byte* out) const {
  if (raw.ny != ny_ || raw.nx != nx_ || raw.dtype != raw_type_)
    throw Error(ErrorCode::corrupt_data,
                fmt::format("frame of {} x {} pixels of type {} instead of {} x {} of {}", raw.ny, raw.nx,
                            core::name(raw.dtype), ny_, nx_, core::name(raw_type_)));
  const auto& d = corrected_.detector;
  const core::AnyImage result{d.dtype, out, d.ny, d.nx, d.nx};
  if (!arithmetic_) {
    const Index item = core::item_size(raw_type_), row = d.nx * item;
    const auto* in = static_cast<const std::byte*>(raw.data) + (crop_.y * raw.row_stride + crop_.x) * item;
    for (Index y = 0; y < d.ny; ++y)
      std::memcpy(out + y * row, in + y * raw.row_stride * item, static_cast<std::size_t>(row));
    return result;
  }
  const core::View<float, 2> sum(reinterpret_cast<float*>(out), {d.ny, d.nx});
  std::fill(sum.begin(), sum.end(), 0.0F);
  const auto flagged = static_cast<float>(d.saturation_counts.value_or(0));
  /// `counts_of`: of a pixel as it came; NaN where it is saturated.
  const auto add_up = [&](const auto& image, const auto& counts_of) {
    for (Index y = 0; y < crop_.ny; ++y)
      for (Index x = 0; x < crop_.nx; ++x) {
        float& bin = sum(y / bin_, x / bin_);
        const auto raw_counts = image(y, x);
        const float counts = counts_of(raw_counts);
        if (saturation_ && (static_cast<double>(raw_counts) >= *saturation_ || std::isnan(counts))) {
          bin = flagged;
        } else if (!saturation_ || bin < flagged) {
          const float dark = dark_.empty() ? 0 : dark_(y, x), gain = gain_.empty() ? 1 : gain_(y, x);
          bin += (counts - dark) * gain;
        }
      }
  };
  const auto as_it_is = [](auto counts) { return static_cast<float>(counts); };
  if (switching_) {
    thread_local std::vector<float> energies;
    energies.resize(static_cast<std::size_t>(crop_.ny * crop_.nx));
    const core::View<float, 2> energy(energies.data(), {crop_.ny, crop_.nx});
    switching_->apply(raw.view<std::uint16_t>().window({crop_.y, crop_.x}, {crop_.ny, crop_.nx}), energy);
    add_up(energy, as_it_is);
    return result;
  }
  core::visit_dtype(raw_type_, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (std::is_arithmetic_v<T>) {
      const auto image = raw.view<T>().window({crop_.y, crop_.x}, {crop_.ny, crop_.nx});
      if (countrate_.empty()) add_up(image, as_it_is);
      else add_up(image, [this](T counts) { return true_counts(static_cast<float>(counts)); });
    }
  });
  return result;
}

}  // namespace farfield::pipeline
