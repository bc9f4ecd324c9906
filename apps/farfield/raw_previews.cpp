#include "apps/farfield/raw_previews.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>
#include <span>
#include <string>

#include "farfield/codec/zstd.hpp"

namespace farfield::apps {
namespace {

using core::Index;
using services::compute::Preview;

static_assert(std::endian::native == std::endian::little, "values go out as they are in memory");

constexpr Index kMostValues = Index{4} << 20;
constexpr int kLevel = 1;
constexpr double kLargest = 65535;

struct Range {
  double low, high;
};

Range range_of(std::span<const double> values) {
  Range range{std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()};
  for (const double v : values) {
    if (!std::isfinite(v)) continue;
    range.low = std::min(range.low, v);
    range.high = std::max(range.high, v);
  }
  return range.low <= range.high ? range : Range{0, 0};
}

class Maker {
public:
  Maker(const model::Dataset& dataset, std::int64_t step) : data_(dataset), step_(step) {}

  std::vector<Preview> make() const {
    if (data_.data.dtype() == core::DType::u8) {
      const auto* bytes = static_cast<const std::byte*>(data_.data.data());
      return {packed("", "u8", {bytes, static_cast<std::size_t>(data_.data.size())}, {0, 255})};
    }
    if (data_.data.dtype() == core::DType::c64 || data_.data.dtype() == core::DType::c128) {
      const auto image = data_.data.to<core::cdouble, 2>();
      const std::span values(image.data(), static_cast<std::size_t>(image.size()));
      std::vector<double> phase(values.size()), amplitude(values.size());
      for (std::size_t i = 0; i < values.size(); ++i) {
        phase[i] = std::arg(values[i]);
        amplitude[i] = std::abs(values[i]);
      }
      return {scaled("_phase", phase, {-std::numbers::pi, std::numbers::pi}),
              scaled("_amplitude", amplitude, {0, range_of(amplitude).high})};
    }
    const auto image = data_.data.to<double, 2>();
    const std::span values(image.data(), static_cast<std::size_t>(image.size()));
    return {scaled("", values, range_of(values))};
  }

private:
  Preview scaled(const char* suffix, std::span<const double> values, const Range& range) const {
    const double scale = range.high > range.low ? kLargest / (range.high - range.low) : 0;
    std::vector<std::uint16_t> levels(values.size());
    std::transform(values.begin(), values.end(), levels.begin(), [&](double v) {
      return std::isfinite(v)
                 ? static_cast<std::uint16_t>(std::clamp(std::round((v - range.low) * scale), 0.0, kLargest))
                 : std::uint16_t{0};
    });
    return packed(suffix, "u16", std::as_bytes(std::span(levels)), range);
  }
  Preview packed(const char* suffix, const char* dtype, std::span<const std::byte> values, const Range& range) const {
    const auto bytes = codec::zstd_encode(values, kLevel);
    Preview p;
    p.name = data_.name + suffix + ".raw";
    p.kind = "zstd";
    p.step = step_;
    p.dtype = dtype;
    p.shape.assign(data_.data.shape().begin(), data_.data.shape().end());
    p.low = range.low;
    p.high = range.high;
    p.bytes.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return p;
  }

  const model::Dataset& data_;
  std::int64_t step_;
};

}  // namespace

std::vector<Preview> raw_previews(const model::Product& product, std::int64_t step) {
  std::vector<Preview> all;
  for (const model::Dataset& d : product.datasets) {
    if (d.data.empty() || d.data.rank() != 2 || d.axes != std::vector<std::string>{"y", "x"} || d.draw == "none" ||
        d.data.size() == 0 || d.data.size() > kMostValues)
      continue;
    for (Preview& preview : Maker(d, step).make()) all.push_back(std::move(preview));
  }
  return all;
}

}  // namespace farfield::apps
