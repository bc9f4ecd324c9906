#include "farfield/techniques/xpcs/qmap_make.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

namespace farfield::techniques::xpcs {

using core::Error;
using core::ErrorCode;

namespace {

constexpr double kMetresPerAngstrom = 1e-10;
constexpr Index kMostBins = 1 << 20;

Error refused(const std::string& what) { return Error(ErrorCode::invalid_argument, what); }

struct Edges {
  std::vector<double> dynamic, fixed;  // fixed: static_per_bin + 1 per dynamic bin, ends shared
};

double between(double low, double high, double part, Spacing spacing) {
  return spacing == Spacing::linear ? low + (high - low) * part : low * std::pow(high / low, part);
}

Edges edges_of(const AxisBins& axis, const std::string& name, double low, double high) {
  Edges e;
  if (!axis.edges.empty()) {
    if (!axis.range.empty()) throw refused(fmt::format("{}: give a range or edges, not both", name));
    e.dynamic = axis.edges;
  } else {
    if (!axis.range.empty()) {
      if (axis.range.size() != 2)
        throw refused(fmt::format("the range of {} has {} values; it must be low,high", name, axis.range.size()));
      low = axis.range[0];
      high = axis.range[1];
    }
    if (!(low < high) || !std::isfinite(low) || !std::isfinite(high))
      throw refused(fmt::format("the range of {} from {} to {} must grow", name, low, high));
    if (axis.spacing == Spacing::logarithmic && !(low > 0))
      throw refused(fmt::format("the range of {} begins at {}; on a logarithmic scale it must be > 0", name, low));
    for (Index i = 0; i <= axis.bins; ++i)
      e.dynamic.push_back(between(low, high, static_cast<double>(i) / static_cast<double>(axis.bins), axis.spacing));
    e.dynamic.back() = high;
  }
  if (e.dynamic.size() < 2) throw refused(fmt::format("the edges of {} must be at least two", name));
  for (std::size_t i = 1; i < e.dynamic.size(); ++i)
    if (!(e.dynamic[i] > e.dynamic[i - 1]))
      throw refused(fmt::format("the edges of {} must grow: {} after {}", name, e.dynamic[i], e.dynamic[i - 1]));
  for (std::size_t i = 1; i < e.dynamic.size(); ++i)
    for (Index s = 0; s < axis.static_per_bin; ++s)
      e.fixed.push_back(between(e.dynamic[i - 1], e.dynamic[i],
                                static_cast<double>(s) / static_cast<double>(axis.static_per_bin),
                                e.dynamic[i - 1] > 0 ? axis.spacing : Spacing::linear));
  e.fixed.push_back(e.dynamic.back());
  return e;
}

/// Middle of each bin: of the interval, or of its logarithm.
std::vector<double> centres(const std::vector<double>& edges, Spacing spacing) {
  std::vector<double> out;
  for (std::size_t i = 1; i < edges.size(); ++i)
    out.push_back(between(edges[i - 1], edges[i], 0.5, edges[i - 1] > 0 ? spacing : Spacing::linear));
  return out;
}

/// The bin of `value`, -1 outside; the last bin holds its upper edge.
Index bin_of(const std::vector<double>& edges, double value) {
  if (!(value >= edges.front() && value <= edges.back())) return -1;
  const auto above = std::upper_bound(edges.begin(), edges.end(), value);
  return std::min<Index>(above - edges.begin(), static_cast<Index>(edges.size()) - 1) - 1;
}

/// Gives the occupied bins of `flat` (y, x) consecutive numbers from 1; -1 becomes 0. Returns flat index of each
/// number.
std::vector<Index> number_bins(const core::Array<std::int64_t, 2>& flat, Index bins,
                               core::Array<std::uint32_t, 2>& map) {
  std::vector<std::uint32_t> number(static_cast<std::size_t>(bins), 0);
  for (const auto b : flat)
    if (b >= 0) number[static_cast<std::size_t>(b)] = 1;
  std::vector<Index> mapping;
  for (std::size_t b = 0; b < number.size(); ++b) {
    if (number[b] == 0) continue;
    mapping.push_back(static_cast<Index>(b));
    number[b] = static_cast<std::uint32_t>(mapping.size());
  }
  for (Index i = 0; i < flat.size(); ++i)
    map.data()[i] = flat.data()[i] < 0 ? 0 : number[static_cast<std::size_t>(flat.data()[i])];
  return mapping;
}

struct Geometry {
  Index ny = 0, nx = 0;
  double cy = 0, cx = 0;
};

Geometry geometry_of(const QMapOptions& o) {
  if (o.shape.size() != 2 || o.shape[0] < 1 || o.shape[1] < 1 || o.shape[0] != std::floor(o.shape[0]) ||
      o.shape[1] != std::floor(o.shape[1]))
    throw refused("option shape must be rows,columns: two whole numbers >= 1");
  if (!o.beam_center_px.empty() && o.beam_center_px.size() != 2) throw refused("option beam-center must be row,column");
  Geometry g{static_cast<Index>(o.shape[0]), static_cast<Index>(o.shape[1])};
  g.cy = o.beam_center_px.empty() ? static_cast<double>(g.ny - 1) / 2 : o.beam_center_px[0];
  g.cx = o.beam_center_px.empty() ? static_cast<double>(g.nx - 1) / 2 : o.beam_center_px[1];
  if (!std::isfinite(g.cy) || !std::isfinite(g.cx)) throw refused("option beam-center must be finite");
  if (o.kind == MapKind::q_phi) {
    for (const auto& [name, value] :
         {std::pair{"distance", o.distance_m}, {"pixel-size", o.pixel_size_m}, {"energy", o.energy_eV}})
      if (!(value > 0)) throw refused(fmt::format("a map of q needs option {} > 0, not {}", name, value));
  }
  return g;
}

}  // namespace

double q_at(double r_m, double distance_m, double energy_eV) {
  const double wavelength_A = model::kHcEvM / energy_eV / kMetresPerAngstrom;
  return 4 * std::numbers::pi / wavelength_A * std::sin(std::atan2(r_m, distance_m) / 2);
}

QMap make_qmap(const QMapOptions& o) {
  const Geometry g = geometry_of(o);
  const bool polar = o.kind == MapKind::q_phi;
  if (o.symmetry > 1 && !polar) throw refused("option symmetry is for maps of q and phi");
  const double sector = 360.0 / static_cast<double>(o.symmetry);
  const double phi_from = !o.second.edges.empty()   ? o.second.edges.front()
                          : !o.second.range.empty() ? o.second.range.front()
                          : o.symmetry > 1          ? 0.0
                                                    : -180.0;

  core::Array<double, 2> first({g.ny, g.nx}), second({g.ny, g.nx});
  for (Index y = 0; y < g.ny; ++y)
    for (Index x = 0; x < g.nx; ++x) {
      const double dy = static_cast<double>(y) - g.cy, dx = static_cast<double>(x) - g.cx;
      if (polar) {
        first(y, x) = q_at(std::hypot(dy, dx) * o.pixel_size_m, o.distance_m, o.energy_eV);
        const double phi = std::atan2(-dy, dx) * 180 / std::numbers::pi;
        second(y, x) = phi - sector * std::floor((phi - phi_from) / sector);
      } else {
        first(y, x) = dx;
        second(y, x) = dy;
      }
    }

  const auto seen = [](const core::Array<double, 2>& v) {
    const auto [low, high] = std::minmax_element(v.begin(), v.end());
    return std::pair{*low, *high};
  };
  auto [low, high] = seen(first);
  // From the beam itself no logarithmic scale begins: from the nearest other pixel.
  if (polar && o.first.spacing == Spacing::logarithmic && low <= 0)
    low = q_at(o.pixel_size_m, o.distance_m, o.energy_eV);
  const std::string names[2] = {polar ? "q" : "x", polar ? "phi" : "y"};
  const Edges e0 = edges_of(o.first, names[0], low, high);
  const auto [low1, high1] = polar ? std::pair{phi_from, phi_from + sector} : seen(second);
  const Edges e1 = edges_of(o.second, names[1], low1, high1);
  if (polar && e1.dynamic.back() - e1.dynamic.front() > sector * (1 + 1e-12))
    throw refused(fmt::format("phi from {} to {} is more than the {} degrees of a sector", e1.dynamic.front(),
                              e1.dynamic.back(), sector));
  const auto count = [](const std::vector<double>& edges) { return static_cast<Index>(edges.size()) - 1; };
  const Index static_bins = count(e0.fixed) * count(e1.fixed);
  if (static_bins > std::min(kMostBins, g.ny * g.nx))
    throw refused(fmt::format("{} static bins are too many for {} pixels", static_bins, g.ny * g.nx));

  core::Array<std::int64_t, 2> dynamic({g.ny, g.nx}), fixed({g.ny, g.nx});
  Index used = 0;
  for (Index i = 0; i < dynamic.size(); ++i) {
    const double a = first.data()[i], b = second.data()[i];
    const Index d0 = bin_of(e0.dynamic, a), d1 = bin_of(e1.dynamic, b);
    const bool inside = d0 >= 0 && d1 >= 0;
    used += inside ? 1 : 0;
    dynamic.data()[i] = inside ? d0 * count(e1.dynamic) + d1 : -1;
    fixed.data()[i] = inside ? bin_of(e0.fixed, a) * count(e1.fixed) + bin_of(e1.fixed, b) : -1;
  }
  if (used == 0)
    throw refused(fmt::format("no pixel has {} from {} to {} and {} from {} to {}; the detector sees {} from {} to {}",
                              names[0], e0.dynamic.front(), e0.dynamic.back(), names[1], e1.dynamic.front(),
                              e1.dynamic.back(), names[0], low, high));

  QMap map;
  map.dynamic_roi_map = core::Array<std::uint32_t, 2>({g.ny, g.nx});
  map.static_roi_map = core::Array<std::uint32_t, 2>({g.ny, g.nx});
  map.mask = core::Array<std::uint8_t, 2>({g.ny, g.nx}, 1);
  map.dynamic_index_mapping = number_bins(dynamic, count(e0.dynamic) * count(e1.dynamic), map.dynamic_roi_map);
  map.static_index_mapping = number_bins(fixed, static_bins, map.static_roi_map);
  map.axes = {{names[0], polar ? "1/A" : "px"}, {names[1], polar ? "deg" : "px"}};
  map.dynamic_v_list[0] = centres(e0.dynamic, o.first.spacing);
  map.dynamic_v_list[1] = centres(e1.dynamic, o.second.spacing);
  map.static_v_list[0] = centres(e0.fixed, o.first.spacing);
  map.static_v_list[1] = centres(e1.fixed, o.second.spacing);
  map.beam_center_y_px = g.cy;
  map.beam_center_x_px = g.cx;
  if (o.distance_m > 0) map.detector_distance_m = o.distance_m;
  if (o.pixel_size_m > 0) map.pixel_size_m = o.pixel_size_m;
  if (o.energy_eV > 0) map.energy_eV = o.energy_eV;
  validate(map, "the map that was made");
  return map;
}

const core::BoundSchema<QMapOptions>& qmap_schema() {
  static const auto schema = [] {
    using O = QMapOptions;
    core::BoundSchema<O> s;
    s.add("shape", &O::shape, "rows,columns of the detector",
          {.min = 1, .max = 65536, .unit = "px", .group = "Geometry"});
    s.add("beam-center", &O::beam_center_px,
          "row,column where the beam meets the detector; the centre of the first pixel is 0,0. Empty: the middle",
          {.unit = "px", .group = "Geometry"});
    s.add("distance", &O::distance_m, "from sample to detector",
          {.min = 0, .max = 1e4, .unit = "m", .group = "Geometry"});
    s.add("pixel-size", &O::pixel_size_m, "edge of a square pixel",
          {.min = 0, .max = 0.1, .unit = "m", .group = "Geometry"});
    s.add("energy", &O::energy_eV, "of the photons", {.min = 0, .max = 1e9, .unit = "eV", .group = "Geometry"});
    s.add("axes", &O::kind, "rings and sectors, or a grid of pixels", {.choices = {"q-phi", "x-y"}, .group = "Bins"});
    s.add("symmetry", &O::symmetry,
          "sectors that a rotation by 360 / symmetry degrees maps onto each other are one bin",
          {.min = 1, .max = 360, .group = "Bins"});
    const auto axis = [&](const std::string& name, AxisBins O::* member, const std::string& what) {
      const auto add = [&](const char* part, auto access, const std::string& help, core::OptionRules rules) {
        rules.group = "Bins";
        using M = std::remove_reference_t<decltype(access(std::declval<AxisBins&>()))>;
        s.template add_at<M>(name + "-" + part, [=](O& o) -> M& { return access(o.*member); }, help, std::move(rules));
      };
      add("range", [](AxisBins& a) -> std::vector<double>& { return a.range; }, "low,high of " + what + "; empty: all",
          {});
      add("edges", [](AxisBins& a) -> std::vector<double>& { return a.edges; },
          "edges of the dynamic bins of " + what + ", instead of a range and a number of bins", {});
      add("bins", [](AxisBins& a) -> Index& { return a.bins; }, "dynamic bins of " + what, {.min = 1, .max = 65536});
      add("static-per-bin", [](AxisBins& a) -> Index& { return a.static_per_bin; },
          "static bins that each dynamic bin of " + what + " is cut into", {.min = 1, .max = 65536});
      add("spacing", [](AxisBins& a) -> Spacing& { return a.spacing; }, "equal steps or equal ratios of " + what,
          {.choices = {"linear", "log"}});
    };
    axis("first", &O::first, "q (1/A), or x (px from the beam)");
    axis("second", &O::second, "phi (deg, counter-clockwise from growing columns), or y (px from the beam)");
    return s;
  }();
  return schema;
}

}  // namespace farfield::techniques::xpcs
