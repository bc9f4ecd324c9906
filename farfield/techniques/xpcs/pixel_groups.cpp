#include "farfield/techniques/xpcs/pixel_groups.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "farfield/techniques/xpcs/product_parts.hpp"
#include "farfield/techniques/xpcs/result.hpp"

namespace farfield::techniques::xpcs {

using core::Error;
using core::ErrorCode;

bool PixelGroups::possible(const model::Product& result) {
  for (const char* name : {result::kPixelG2, result::kPixelIp, result::kPixelIf}) {
    const auto* d = result.find(name);
    if (d == nullptr || d->data.rank() != 2) return false;
  }
  const auto* pixel = result.find(result::kPixel);
  return pixel != nullptr && pixel->data.rank() == 1 && result.find("qmap/dynamic_roi_map") != nullptr;
}

PixelGroups::PixelGroups(const model::Product& result, Index groups) : groups_(groups) {
  const QMap map = map_of(result);
  const PixelOrder order = order_pixels(map, {});
  dynamic_of_ = order.dynamic_of;
  dynamic_bins_ = map.dynamic_bins();
  static_bins_ = order.static_bins();
  const auto pixel = result.find(result::kPixel)->data.to<std::uint32_t, 1>();
  const auto g2 = result.find(result::kPixelG2)->data.to<double, 2>();
  const auto ip = result.find(result::kPixelIp)->data.to<double, 2>();
  const auto if_ = result.find(result::kPixelIf)->data.to<double, 2>();
  if (g2.extent(1) != pixel.size() || ip.extents() != g2.extents() || if_.extents() != g2.extents())
    throw Error(ErrorCode::corrupt_data, fmt::format("{} pixels, but sums of {}, {} and {}", pixel.size(), g2.extent(1),
                                                     ip.extent(1), if_.extent(1)));
  delays_ = g2.extent(0);
  sums_.resize(static_cast<std::size_t>(delays_ * static_bins_ * groups_));
  pixels_.resize(static_cast<std::size_t>(static_bins_ * groups_));
  std::vector<Index> dealt(static_cast<std::size_t>(static_bins_), 0);
  for (Index i = 0; i < pixel.size(); ++i) {
    if (pixel[i] >= order.slot.size())
      throw Error(ErrorCode::corrupt_data, fmt::format("pixel {} is not on the q-map", pixel[i]));
    const auto slot = order.slot[pixel[i]];
    if (slot == PixelOrder::kUnused) continue;
    const auto above = std::upper_bound(order.first_slot.begin(), order.first_slot.end(), static_cast<Index>(slot));
    const Index bin = above - order.first_slot.begin() - 1;
    const Index at = bin * groups_ + dealt[static_cast<std::size_t>(bin)]++ % groups_;
    ++pixels_[static_cast<std::size_t>(at)];
    for (Index d = 0; d < delays_; ++d) {
      auto& s = sums_[static_cast<std::size_t>(d * static_bins_ * groups_ + at)];
      s.g2 += g2(d, i);
      s.ip += ip(d, i);
      s.if_ += if_(d, i);
    }
  }
}

core::Array<double, 2> PixelGroups::g2_without(Index left_out) const {
  core::Array<double, 2> out({delays_, dynamic_bins_});
  for (Index d = 0; d < delays_; ++d) {
    std::vector<double> bins(static_cast<std::size_t>(dynamic_bins_), 0);
    for (Index s = 0; s < static_bins_; ++s) {
      const auto dynamic = dynamic_of_[static_cast<std::size_t>(s)];
      if (dynamic == 0) continue;
      Sums sum;
      double n = 0;
      for (Index g = 0; g < groups_; ++g) {
        if (g == left_out) continue;
        const Index at = s * groups_ + g;
        const auto& one = sums_[static_cast<std::size_t>(d * static_bins_ * groups_ + at)];
        sum.g2 += one.g2;
        sum.ip += one.ip;
        sum.if_ += one.if_;
        n += pixels_[static_cast<std::size_t>(at)];
      }
      // <G2> / (<IP> <IF>) with means over n pixels; a bin without light is passed over.
      if (!(sum.ip * sum.if_ > 0)) continue;
      out(d, static_cast<Index>(dynamic) - 1) += n * sum.g2 / (sum.ip * sum.if_);
      ++bins[dynamic - 1];
    }
    for (Index q = 0; q < dynamic_bins_; ++q) {
      const double n = bins[static_cast<std::size_t>(q)];
      out(d, q) = n > 0 ? out(d, q) / n : std::numeric_limits<double>::quiet_NaN();
    }
  }
  return out;
}

}  // namespace farfield::techniques::xpcs
