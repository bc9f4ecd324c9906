#include "farfield/techniques/xpcs/qmap.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include "farfield/techniques/xpcs/product_parts.hpp"

namespace farfield::techniques::xpcs {

using core::Error;
using core::ErrorCode;

namespace {

constexpr const char* kPrefix = "qmap/";

Error broken(const std::string& what, const std::string& context) {
  return Error(ErrorCode::corrupt_data, what).at(context);
}

/// Reads the parts of a map out of an acquisition.
class Inputs {
public:
  explicit Inputs(const model::Acquisition& acquisition) : acquisition_(acquisition) {}

  const core::AnyArray* find(const std::string& name) const {
    const auto it = acquisition_.inputs.find(kPrefix + name);
    return it == acquisition_.inputs.end() || it->second.empty() ? nullptr : &it->second;
  }

  /// Whole numbers >= 0 of any type.
  core::Array<std::uint32_t, 2> bins(const std::string& name) const {
    const auto* array = find(name);
    if (array == nullptr)
      throw Error(ErrorCode::invalid_argument, fmt::format("the scan comes without {}{}", kPrefix, name));
    if (array->rank() != 2)
      throw broken(fmt::format("{}{} of rank {} must be an image (y, x)", kPrefix, name, array->rank()),
                   acquisition_.source);
    const auto numbers = array->to<double, 2>();
    core::Array<std::uint32_t, 2> out(numbers.extents());
    for (Index i = 0; i < numbers.size(); ++i) {
      const double v = numbers.data()[i];
      if (!(v >= 0 && v < PixelOrder::kUnused && v == std::floor(v)))
        throw broken(fmt::format("{}{} has the bin number {}; they are whole, from 0", kPrefix, name, v),
                     acquisition_.source);
      out.data()[i] = static_cast<std::uint32_t>(v);
    }
    return out;
  }

  std::vector<double> list(const std::string& name) const {
    const auto* array = find(name);
    if (array == nullptr) return {};
    core::AnyArray flat(core::DType::f64, {array->size()});
    core::visit_dtype(array->dtype(), [&](auto zero) {
      using T = decltype(zero);
      const auto* from = static_cast<const T*>(array->data());
      auto* to = static_cast<double*>(flat.data());
      for (Index i = 0; i < array->size(); ++i) {
        if constexpr (std::is_arithmetic_v<T>) to[i] = static_cast<double>(from[i]);
        else to[i] = static_cast<double>(from[i].real());
      }
    });
    const auto v = flat.view<double, 1>();
    return {v.begin(), v.end()};
  }
  std::vector<Index> mapping(const std::string& name) const {
    std::vector<Index> out;
    for (const double v : list(name)) {
      if (!(v >= 0 && v < PixelOrder::kUnused))
        throw broken(fmt::format("{}{} holds {}; it must be an index", kPrefix, name, v), acquisition_.source);
      out.push_back(static_cast<Index>(v));
    }
    return out;
  }
  std::optional<double> number(const std::string& name) const {
    const auto v = list(name);
    return v.empty() ? std::nullopt : std::optional<double>(v.front());
  }
  std::vector<std::string> words(const std::string& name) const {
    const auto it = acquisition_.metadata.find(kPrefix + name);
    std::vector<std::string> out;
    if (it == acquisition_.metadata.end() || it->second.empty()) return out;
    out.emplace_back();
    for (const char c : it->second) {
      if (c == ',') out.emplace_back();
      else if (c != ' ' || !out.back().empty()) out.back() += c;
    }
    return out;
  }

private:
  const model::Acquisition& acquisition_;
};

Index highest(const core::Array<std::uint32_t, 2>& map) {
  return map.empty() ? 0 : static_cast<Index>(*std::max_element(map.begin(), map.end()));
}

std::string joined(const QMap& map, std::string QMapAxis::* member) {
  std::string out;
  for (const auto& axis : map.axes) out += (out.empty() ? "" : ",") + axis.*member;
  return out;
}

}  // namespace

Index QMap::dynamic_bins() const { return highest(dynamic_roi_map); }
Index QMap::static_bins() const { return highest(static_roi_map); }

std::vector<double> QMap::q() const {
  std::vector<double> out(static_cast<std::size_t>(dynamic_bins()), std::numeric_limits<double>::quiet_NaN());
  const auto& centres = dynamic_v_list[0];
  const auto across = std::max<Index>(static_cast<Index>(dynamic_v_list[1].size()), 1);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const Index flat = dynamic_index_mapping.empty()      ? static_cast<Index>(i)
                       : i < dynamic_index_mapping.size() ? dynamic_index_mapping[i]
                                                          : -1;
    const auto row = static_cast<std::size_t>(flat / across);
    if (flat >= 0 && row < centres.size()) out[i] = centres[row];
  }
  return out;
}

QMap qmap_from(const model::Acquisition& acquisition) {
  const Inputs in(acquisition);
  QMap map;
  map.dynamic_roi_map = in.bins("dynamic_roi_map");
  map.static_roi_map = in.find("static_roi_map") == nullptr ? map.dynamic_roi_map.clone() : in.bins("static_roi_map");
  for (const char* name : {"mask", "blemish"}) {
    if (in.find(name) == nullptr) continue;
    const auto image = in.bins(name);
    if (image.extents() != map.dynamic_roi_map.extents())
      throw broken(fmt::format("{}{} of {} x {} pixels must have the shape of the maps, {} x {}", kPrefix, name,
                               image.extent(0), image.extent(1), map.ny(), map.nx()),
                   acquisition.source);
    if (map.mask.empty()) map.mask = core::Array<std::uint8_t, 2>(image.extents(), 1);
    for (Index i = 0; i < image.size(); ++i)
      if (image.data()[i] == 0) map.mask.data()[i] = 0;
  }
  const auto names = in.words("map_names"), units = in.words("map_units");
  for (std::size_t i = 0; i < names.size(); ++i) map.axes.push_back({names[i], i < units.size() ? units[i] : ""});
  for (int d = 0; d < 2; ++d) {
    map.dynamic_v_list[d] = in.list(fmt::format("dynamic_v_list_dim{}", d));
    map.static_v_list[d] = in.list(fmt::format("static_v_list_dim{}", d));
  }
  map.dynamic_index_mapping = in.mapping("dynamic_index_mapping");
  map.static_index_mapping = in.mapping("static_index_mapping");
  map.beam_center_y_px = in.number("beam_center_y");
  map.beam_center_x_px = in.number("beam_center_x");
  map.detector_distance_m = in.number("detector_distance");
  map.pixel_size_m = in.number("pixel_size");
  if (const auto keV = in.number("energy")) map.energy_eV = *keV * 1000;
  validate(map, acquisition.source);
  return map;
}

std::map<std::string, core::AnyArray> to_inputs(const QMap& map) {
  std::map<std::string, core::AnyArray> out;
  const auto put = [&](const std::string& name, core::AnyArray array) { out[kPrefix + name] = std::move(array); };
  const auto number = [&](const char* name, const std::optional<double>& v, double scale = 1) {
    if (v) put(name, array_of(std::vector<double>{*v * scale}));
  };
  put("dynamic_roi_map", core::AnyArray(map.dynamic_roi_map));
  put("static_roi_map", core::AnyArray(map.static_roi_map));
  if (!map.mask.empty()) put("mask", core::AnyArray(map.mask));
  for (int d = 0; d < 2; ++d) {
    if (!map.dynamic_v_list[d].empty()) put(fmt::format("dynamic_v_list_dim{}", d), array_of(map.dynamic_v_list[d]));
    if (!map.static_v_list[d].empty()) put(fmt::format("static_v_list_dim{}", d), array_of(map.static_v_list[d]));
  }
  if (!map.dynamic_index_mapping.empty()) put("dynamic_index_mapping", array_of(map.dynamic_index_mapping));
  if (!map.static_index_mapping.empty()) put("static_index_mapping", array_of(map.static_index_mapping));
  number("beam_center_y", map.beam_center_y_px);
  number("beam_center_x", map.beam_center_x_px);
  number("detector_distance", map.detector_distance_m);
  number("pixel_size", map.pixel_size_m);
  number("energy", map.energy_eV, 1e-3);
  return out;
}

std::string axis_names(const QMap& map) { return joined(map, &QMapAxis::name); }
std::string axis_units(const QMap& map) { return joined(map, &QMapAxis::unit); }

void validate(const QMap& map, const std::string& context) {
  if (map.dynamic_roi_map.empty()) throw broken("the q-map has no pixels", context);
  if (map.static_roi_map.extents() != map.dynamic_roi_map.extents())
    throw broken(fmt::format("static map of {} x {} pixels must have the shape of the dynamic map, {} x {}",
                             map.static_roi_map.extent(0), map.static_roi_map.extent(1), map.ny(), map.nx()),
                 context);
  if (!map.mask.empty() && map.mask.extents() != map.dynamic_roi_map.extents())
    throw broken("the mask of the q-map must have the shape of its maps", context);
  const Index pixels = map.dynamic_roi_map.size();
  if (pixels >= PixelOrder::kUnused) throw broken(fmt::format("a q-map of {} pixels is too large", pixels), context);
  for (const auto* m : {&map.dynamic_roi_map, &map.static_roi_map})
    if (highest(*m) > pixels)
      throw broken(fmt::format("bin number {} is above the number of pixels, {}", highest(*m), pixels), context);
  bool used = false;
  for (Index i = 0; i < pixels; ++i) {
    if (map.dynamic_roi_map.data()[i] == 0) continue;
    used = true;
    if (map.static_roi_map.data()[i] == 0)
      throw broken(fmt::format("pixel ({}, {}) is in dynamic bin {} but in no static bin", i / map.nx(), i % map.nx(),
                               map.dynamic_roi_map.data()[i]),
                   context);
  }
  if (!used) throw broken("the q-map uses no pixel: its dynamic map is 0 everywhere", context);
  const auto across = std::max<Index>(static_cast<Index>(map.dynamic_v_list[1].size()), 1);
  const auto centres = static_cast<Index>(map.dynamic_v_list[0].size()) * across;
  for (const Index flat : map.dynamic_index_mapping)
    if (centres > 0 && flat >= centres)
      throw broken(fmt::format("dynamic_index_mapping names the bin centre {}, there are {}", flat, centres), context);
}

PixelOrder order_pixels(const QMap& map, core::View<const std::uint32_t, 2> pixel_mask, Index* straddling) {
  if (!pixel_mask.empty() && (pixel_mask.extent(0) != map.ny() || pixel_mask.extent(1) != map.nx()))
    throw Error(ErrorCode::corrupt_data, fmt::format("q-map of {} x {} pixels for a detector of {} x {}", map.ny(),
                                                     map.nx(), pixel_mask.extent(0), pixel_mask.extent(1)));
  const Index pixels = map.dynamic_roi_map.size(), bins = map.static_bins();
  const auto* dynamic = map.dynamic_roi_map.data();
  const auto* fixed = map.static_roi_map.data();
  const auto used = [&](Index i) {
    return dynamic[i] != 0 && (map.mask.empty() || map.mask.data()[i] != 0) &&
           (pixel_mask.empty() || pixel_mask(i / map.nx(), i % map.nx()) == 0);
  };

  PixelOrder order;
  order.slot.assign(static_cast<std::size_t>(pixels), PixelOrder::kUnused);
  order.first_slot.assign(static_cast<std::size_t>(bins) + 1, 0);
  std::map<std::pair<std::uint32_t, std::uint32_t>, Index> shared;  // (static, dynamic) -> pixels
  for (Index i = 0; i < pixels; ++i) {
    if (!used(i)) continue;
    ++order.first_slot[fixed[i]];
    ++shared[{fixed[i], dynamic[i]}];
  }
  std::partial_sum(order.first_slot.begin(), order.first_slot.end(), order.first_slot.begin());
  if (order.first_slot.back() == 0)
    throw Error(ErrorCode::corrupt_data, "no pixel of the q-map is left: all are masked");

  order.dynamic_of.assign(static_cast<std::size_t>(bins), 0);
  std::vector<Index> most(static_cast<std::size_t>(bins), 0), parts(static_cast<std::size_t>(bins), 0);
  for (const auto& [pair, count] : shared) {
    const std::size_t s = pair.first - 1;
    ++parts[s];
    if (count > most[s]) {
      most[s] = count;
      order.dynamic_of[s] = pair.second;
    }
  }
  if (straddling != nullptr) *straddling = std::count_if(parts.begin(), parts.end(), [](Index n) { return n > 1; });

  order.pixel.resize(static_cast<std::size_t>(order.first_slot.back()));
  auto next = order.first_slot;
  for (Index i = 0; i < pixels; ++i) {
    if (!used(i)) continue;
    const auto slot = next[fixed[i] - 1]++;
    order.pixel[static_cast<std::size_t>(slot)] = static_cast<std::uint32_t>(i);
    order.slot[static_cast<std::size_t>(i)] = static_cast<std::uint32_t>(slot);
  }
  return order;
}

}  // namespace farfield::techniques::xpcs
