#include "farfield/techniques/xpcs/rebin.hpp"

#include <fmt/format.h>

#include <limits>

#include "farfield/core/error.hpp"
#include "farfield/techniques/xpcs/correlator.hpp"
#include "farfield/techniques/xpcs/product_parts.hpp"
#include "farfield/techniques/xpcs/qmap.hpp"
#include "farfield/techniques/xpcs/result.hpp"

namespace farfield::techniques::xpcs {

using core::Error;
using core::ErrorCode;

model::Product rebin(const model::Product& kept, const model::Product& map_product) {
  const auto kept_of = [&](const char* name, int rank) -> const model::Dataset& {
    return needed(kept, name, rank, "the result", "`correlate --keep-pixels` keeps what is needed");
  };
  const auto g2 = kept_of(result::kPixelG2, 2).data.to<float, 2>();
  const auto past = kept_of(result::kPixelIp, 2).data.to<float, 2>();
  const auto future = kept_of(result::kPixelIf, 2).data.to<float, 2>();
  const auto pixel = kept_of(result::kPixel, 1).data.to<std::uint32_t, 1>();
  const auto& delay = kept_of(result::kDelay, 1);
  const auto image = kept_of(result::kSaxs2d, 2).data.to<double, 2>();
  const Index lags = g2.extent(0), slots = g2.extent(1);
  if (past.extents() != g2.extents() || future.extents() != g2.extents() || pixel.size() != slots ||
      delay.data.size() != lags)
    throw Error(ErrorCode::corrupt_data, "G2, IP, IF, pixel and delay of the result contradict each other in shape");
  QMap map = map_of(map_product, "the q-map");
  if (map.dynamic_roi_map.extents() != image.extents())
    throw Error(ErrorCode::corrupt_data, fmt::format("q-map of {} x {} pixels for a result of {} x {}", map.ny(),
                                                     map.nx(), image.extent(0), image.extent(1)));

  std::vector<std::uint32_t> slot_of(static_cast<std::size_t>(image.size()), PixelOrder::kUnused);
  for (Index s = 0; s < slots; ++s) {
    if (pixel(s) >= image.size())
      throw Error(ErrorCode::corrupt_data, fmt::format("pixel {} of a result of {} pixels", pixel(s), image.size()));
    slot_of[pixel(s)] = static_cast<std::uint32_t>(s);
  }
  if (map.mask.empty()) map.mask = core::Array<std::uint8_t, 2>(image.extents(), 1);
  Index missing = 0;
  for (Index i = 0; i < image.size(); ++i)
    if (slot_of[static_cast<std::size_t>(i)] == PixelOrder::kUnused) {
      missing += map.dynamic_roi_map.data()[i] != 0 && map.mask.data()[i] != 0 ? 1 : 0;
      map.mask.data()[i] = 0;
    }
  const auto order = order_pixels(map, {});

  // What the pixels kept are means over pairs: as sums over one pair they bin like any others.
  BinSums sums;
  sums.sums = core::Array<double, 3>({lags, order.static_bins(), BinSums::kParts});
  for (Index i = 0; i < lags; ++i) {
    sums.lags.push_back({0, i + 1});
    sums.pairs.push_back(1);
    for (Index s = 0; s < order.static_bins(); ++s)
      for (Index at = order.first_slot[static_cast<std::size_t>(s)];
           at < order.first_slot[static_cast<std::size_t>(s) + 1]; ++at) {
        const Index from = slot_of[order.pixel[static_cast<std::size_t>(at)]];
        const double g = static_cast<double>(g2(i, from)), p = static_cast<double>(past(i, from)),
                     f = static_cast<double>(future(i, from)), ratio = g > 0 ? g / (p * f) : 0;
        sums.sums(i, s, BinSums::kG2) += g;
        sums.sums(i, s, BinSums::kPast) += p;
        sums.sums(i, s, BinSums::kFuture) += f;
        sums.sums(i, s, BinSums::kRatio) += ratio;
        sums.sums(i, s, BinSums::kRatio2) += ratio * ratio;
      }
  }
  const auto table = g2_of(sums, order, map.dynamic_bins());
  core::Array<double, 1> saxs({order.static_bins()}, std::numeric_limits<double>::quiet_NaN());
  for (Index s = 0; s < order.static_bins(); ++s) {
    const Index first = order.first_slot[static_cast<std::size_t>(s)];
    const Index last = order.first_slot[static_cast<std::size_t>(s) + 1];
    double sum = 0;
    for (Index at = first; at < last; ++at) sum += image.data()[order.pixel[static_cast<std::size_t>(at)]];
    if (last > first) saxs(s) = sum / static_cast<double>(last - first);
  }

  model::Product out;
  out.technique = "xpcs";
  out.verb = "correlate";  // it is what `correlate` would have given
  const auto q = map.q();
  out.datasets.push_back(delay);
  out.datasets.push_back({result::kG2, core::AnyArray(table.g2), "", {"delay", "q"}, "", "curves"});
  out.datasets.push_back({result::kG2Error, core::AnyArray(table.error), "", {"delay", "q"}, "", "error"});
  out.datasets.push_back({result::kQ,
                          core::AnyArray(core::View<const double, 1>(q.data(), {map.dynamic_bins()})),
                          map.axes.empty() ? "" : map.axes.front().unit,
                          {"q"},
                          "",
                          "none"});
  out.datasets.push_back({result::kSaxs1d, core::AnyArray(saxs), "counts", {"static"}, ""});
  for (const char* name : {result::kSaxs2d, result::kFrame, result::kFrameSum})
    if (const auto* d = kept.find(name)) out.datasets.push_back(*d);
  for (auto& [name, array] : to_inputs(map)) {
    std::vector<std::string> axes = array.rank() == 2 ? std::vector<std::string>{"y", "x"} : std::vector{name};
    out.datasets.push_back({name, std::move(array), "", std::move(axes), "the q-map as used", "none"});
  }
  out.metrics = kept.metrics;
  out.metrics["pixels"] = static_cast<double>(order.slots());
  out.metrics["pixels_not_measured"] = static_cast<double>(missing);
  out.provenance["qmap/map_names"] = axis_names(map);
  out.provenance["qmap/map_units"] = axis_units(map);
  return out;
}

}  // namespace farfield::techniques::xpcs
