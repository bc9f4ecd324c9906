// From sums over frames and a list of positions to numbers and sentences.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "farfield/techniques/ptychography/inspect.hpp"
#include "farfield/techniques/ptychography/inspect_scan.hpp"
#include "farfield/techniques/ptychography/zone_plate.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::AnyArray;
using core::Array;
using core::Index;

std::string first_ids(const std::vector<model::FrameId>& ids) {
  constexpr std::size_t kShown = 5;
  std::string text;
  for (std::size_t i = 0; i < std::min(kShown, ids.size()); ++i) text += fmt::format("{}{}", i > 0 ? ", " : "", ids[i]);
  return ids.size() > kShown ? text + " ..." : text;
}

/// 3.1 m, 18 um, 35 nm.
std::string length(double metres) {
  if (metres >= 1) return fmt::format("{:.3g} m", metres);
  if (metres >= 1e-3) return fmt::format("{:.3g} mm", metres * 1e3);
  if (metres >= 1e-6) return fmt::format("{:.3g} um", metres * 1e6);
  return fmt::format("{:.3g} nm", metres * 1e9);
}

class Report {
public:
  Report(const Inspection& i, const InspectOptions& o)
      : in_(i),
        options_(o),
        statistics_(i.counter.statistics()),
        frames_(static_cast<double>(statistics_.frames.size())) {
    out_.technique = "ptychography";
    out_.verb = "inspect";
    out_.energy_eV = i.acquisition.beam.energy_eV;
  }

  model::Product make() {
    pixels();
    counts();
    if (options_.propagation == Propagation::far_field) zero_frequency();
    scan();
    std::string lines;
    for (const auto& w : warnings_) lines += (lines.empty() ? "" : "\n") + w;
    out_.metrics["warnings"] = static_cast<double>(warnings_.size());
    out_.provenance["warnings"] = lines;
    out_.provenance["options"] = core::options_to_json(inspect_schema().values(options_));
    return std::move(out_);
  }

private:
  template <class... A>
  void warn(fmt::format_string<A...> text, A&&... a) {
    warnings_.push_back(fmt::format(text, std::forward<A>(a)...));
  }
  double& metric(const std::string& name) { return out_.metrics[name]; }

  void pixels() {
    const auto& valid = in_.counter.valid();
    const auto &sum = statistics_.sum, &peak = statistics_.peak;
    Array<float, 2> mean({valid.extent(0), valid.extent(1)}), highest({valid.extent(0), valid.extent(1)});
    for (Index i = 0; i < mean.size(); ++i) {
      mean.data()[i] = frames_ > 0 ? static_cast<float>(sum.data()[i] / frames_) : 0.0F;
      highest.data()[i] = static_cast<float>(peak.data()[i]);
    }
    const auto dead = dead_pixel_candidates(statistics_, valid), hot = hot_pixel_candidates(statistics_, valid);
    auto good = valid.clone();
    for (const auto* list : {&dead, &hot})
      for (const Index i : *list) good.data()[i] = 0;
    metric("masked_pixels") = static_cast<double>(std::count(valid.begin(), valid.end(), 0));
    metric("dead_pixel_candidates") = static_cast<double>(dead.size());
    metric("hot_pixel_candidates") = static_cast<double>(hot.size());
    const auto where = [&](Index i) { return fmt::format("({}, {})", i / valid.extent(1), i % valid.extent(1)); };
    if (!dead.empty())
      warn("{} pixels that are not masked never count although their neighbours do, the first at {}: mask dead pixels",
           dead.size(), where(dead.front()));
    if (!hot.empty())
      warn(
          "{} pixels that are not masked count more than ten times what their neighbours do, the first at {}: mask hot "
          "pixels",
          hot.size(), where(hot.front()));
    out_.datasets.push_back({"mean_pattern", AnyArray(mean), "counts", {"y", "x"}, "mean over the patterns", "log"});
    out_.datasets.push_back(
        {"max_pattern", AnyArray(highest), "counts", {"y", "x"}, "highest value over the patterns", "log"});
    out_.datasets.push_back({"valid", AnyArray(good), "", {"y", "x"}, "1: neither masked nor suspicious", "valid"});
  }

  void counts() {
    const double valid = static_cast<double>(std::count(in_.counter.valid().begin(), in_.counter.valid().end(), 1));
    std::vector<double> totals;
    double peak = 0, saturated = 0;
    Index saturated_frames = 0;
    for (const auto& [id, f] : statistics_.frames) {
      totals.push_back(f.total);
      peak = std::max(peak, f.peak);
      saturated += static_cast<double>(f.saturated);
      saturated_frames += f.saturated > 0;
    }
    metric("frames") = frames_;
    metric("refused_frames") = static_cast<double>(in_.refused_frames);
    if (in_.refused_frames > 0)
      warn("{} patterns cannot be used (not finite, negative or of another shape)", in_.refused_frames);
    const Index expected = in_.acquisition.scan.expected_frames;
    if (expected > 0 && static_cast<double>(expected) > frames_ + static_cast<double>(in_.refused_frames))
      warn("{} of {} expected patterns did not come",
           static_cast<double>(expected) - frames_ - static_cast<double>(in_.refused_frames), expected);
    add_curves(totals);
    if (totals.empty()) return;

    const double middle = median(totals);
    const auto [low, high] = std::minmax_element(totals.begin(), totals.end());
    metric("counts_per_pattern") = middle;
    metric("counts_per_pattern_lowest") = *low;
    metric("counts_per_pattern_highest") = *high;
    metric("counts_per_pixel") = middle / valid;
    metric("peak_counts") = peak;
    metric("saturated_frames") = static_cast<double>(saturated_frames);
    metric("saturated_share") = saturated / (valid * frames_);
    if (saturated_frames > 0)
      warn("{} of {} patterns hold saturated pixels (at or above {} counts)", saturated_frames, frames_,
           in_.counter.saturation().value_or(0));
    if (middle <= 0) warn("the patterns are empty: no pixel that is not masked counts");
    std::vector<model::FrameId> dark;
    for (const auto& [id, f] : statistics_.frames)
      if (middle > 0 && f.total < 0.1 * middle) dark.push_back(id);
    if (!dark.empty())
      warn("{} patterns have less than a tenth of the median counts (shutter, beam dump?): {}", dark.size(),
           first_ids(dark));
  }

  void add_curves(const std::vector<double>& totals) {
    const auto of = [](const std::vector<double>& v) {
      return AnyArray(core::View<const double, 1>(v.data(), {static_cast<Index>(v.size())}));
    };
    std::vector<double> edges{0};
    for (Index b = 1; b < statistics_.histogram.size(); ++b) edges.push_back(std::ldexp(1.0, static_cast<int>(b - 1)));
    out_.datasets.push_back(
        {"frame_counts", of(totals), "counts", {"frame"}, "counts of each pattern, by rising frame number"});
    out_.datasets.push_back({"counts_edges", of(edges), "counts", {"bin"}, "lower edge of each bin", "abscissa"});
    out_.datasets.push_back(
        {"counts_histogram", AnyArray(statistics_.histogram), "", {"bin"}, "number of pixel values in each bin"});
  }

  /// Counts within a quarter of the window around (cy, cx), cyclic.
  double around(double cy, double cx) const {
    const auto& sum = statistics_.sum;
    const double ny = static_cast<double>(sum.extent(0)), nx = static_cast<double>(sum.extent(1));
    double total = 0;
    for (Index y = 0; y < sum.extent(0); ++y)
      for (Index x = 0; x < sum.extent(1); ++x) {
        const double dy = std::remainder(static_cast<double>(y) - cy, ny) / ny,
                     dx = std::remainder(static_cast<double>(x) - cx, nx) / nx;
        if (dy * dy + dx * dx < 1.0 / 16) total += sum(y, x);
      }
    return total;
  }

  void zero_frequency() {
    const auto& sum = statistics_.sum;
    const double ny = static_cast<double>(sum.extent(0)), nx = static_cast<double>(sum.extent(1));
    const double total = around(0, 0) + around(std::floor(ny / 2), std::floor(nx / 2));
    if (!(total > 0)) return;
    const bool corner = in_.acquisition.detector.dc == model::DcLocation::corner;
    const double share = (corner ? around(0, 0) : around(std::floor(ny / 2), std::floor(nx / 2))) / total;
    if (share < 0.5)
      warn(
          "{:.0f} % of the counts lie around the {} of the patterns, zero frequency is said to be in the {}: try --dc "
          "{}",
          100 * (1 - share), corner ? "centre" : "corner", corner ? "corner" : "centre", corner ? "centre" : "corner");
    // First moment around the zero frequency, the window being cyclic.
    double y1 = 0, x1 = 0, weight = 0;
    const double cy = corner ? 0 : std::floor(ny / 2), cx = corner ? 0 : std::floor(nx / 2);
    for (Index y = 0; y < sum.extent(0); ++y)
      for (Index x = 0; x < sum.extent(1); ++x) {
        weight += sum(y, x);
        y1 += sum(y, x) * std::remainder(static_cast<double>(y) - cy, ny);
        x1 += sum(y, x) * std::remainder(static_cast<double>(x) - cx, nx);
      }
    metric("centre_of_mass_y_px") = y1 / weight;
    metric("centre_of_mass_x_px") = x1 / weight;
    constexpr double kFar = 0.05;
    if (share >= 0.5 && (std::abs(y1 / weight) > kFar * ny || std::abs(x1 / weight) > kFar * nx))
      warn("the counts are centred ({:.1f}, {:.1f}) px from the zero frequency: was the beam centre cut out right?",
           y1 / weight, x1 / weight);
  }

  void scan() {
    const auto& a = in_.acquisition;
    const PixelSize size = object_pixel_size(a, options_.propagation);
    if (size.y_m && size.x_m) {
      metric("object_pixel_size_y_m") = *size.y_m;
      metric("object_pixel_size_x_m") = *size.x_m;
    }
    double without = 0, alone = 0;
    for (const auto& [id, f] : statistics_.frames) without += !in_.positions.contains(id);
    for (const auto& [id, p] : in_.positions) alone += !statistics_.frames.contains(id);
    metric("frames_without_position") = without;
    metric("positions_without_frame") = alone;
    if (without > 0) warn("{} of {} patterns have no position", without, frames_);
    if (alone > 0) warn("{} positions have no pattern", alone);
    if (in_.refused_positions > 0) warn("{} positions are not finite", in_.refused_positions);
    if (in_.positions.empty()) return;

    const bool metres = a.scan.unit == model::PositionUnit::metres, in_px = !metres || (size.y_m && size.x_m);
    if (!in_px)
      warn(
          "positions are in metres, but energy, distance or detector pixel size are missing: give --energy, "
          "--distance, --detector-pixel");
    std::vector<Position> points;
    std::vector<model::FrameId> ids;
    for (const auto& [id, p] : in_.positions) {
      ids.push_back(id);
      points.push_back(metres && in_px ? Position{p.y / *size.y_m, p.x / *size.x_m} : p);
    }
    Array<double, 2> table({static_cast<Index>(points.size()), 2});
    for (Index j = 0; j < table.extent(0); ++j) {
      table(j, 0) = points[static_cast<std::size_t>(j)].y;
      table(j, 1) = points[static_cast<std::size_t>(j)].x;
    }
    out_.datasets.push_back(
        {"positions", AnyArray(table), in_px ? "px" : "m", {"frame", "yx"}, "positions by rising frame number"});
    if (in_px) geometry(points, ids, size);
  }

  void geometry(const std::vector<Position>& points, const std::vector<model::FrameId>& ids, const PixelSize& size) {
    const auto& d = in_.acquisition.detector;
    Position low = points.front(), high = low;
    for (const auto& p : points) {
      low = {std::min(low.y, p.y), std::min(low.x, p.x)};
      high = {std::max(high.y, p.y), std::max(high.x, p.x)};
    }
    const double span_y = high.y - low.y, span_x = high.x - low.x;
    const double ny = std::ceil(span_y) + static_cast<double>(d.ny), nx = std::ceil(span_x) + static_cast<double>(d.nx);
    metric("object_ny") = ny;
    metric("object_nx") = nx;
    const bool known = size.y_m && size.x_m;
    if (known) {
      metric("field_of_view_y_m") = span_y * *size.y_m;
      metric("field_of_view_x_m") = span_x * *size.x_m;
    }
    if (points.size() < 2) return;

    const auto nearest = nearest_neighbours(points);
    const double step = median(nearest);
    std::vector<model::FrameId> twice;
    for (std::size_t j = 0; j < nearest.size(); ++j)
      if (nearest[j] < 1e-3) twice.push_back(ids[j]);
    metric("step_px") = step;
    metric("duplicate_positions") = static_cast<double>(twice.size());

    const double wide = std::max(nx, ny);
    const std::string would = known ? "object would be " + length(std::max(nx * *size.x_m, ny * *size.y_m)) + " wide"
                                    : fmt::format("object would be {:.6g} px wide", wide);
    if (span_y == 0 && span_x == 0) warn("all {} positions are equal: nothing was scanned", points.size());
    else if (std::max(span_y, span_x) < 1)
      warn("all {} positions lie within {:.2g} px: check their unit", points.size(), std::max(span_y, span_x));
    else if (step > static_cast<double>(std::max(d.ny, d.nx)))
      warn(
          "neighbouring positions are {:.4g} px apart, the patterns show {} px: they do not overlap; {}: check the "
          "unit of the positions",
          step, std::max(d.ny, d.nx), would);
    else if (!twice.empty())
      warn("{} patterns share their position with another one: {}", twice.size(), first_ids(twice));
    overlap(step, span_y, span_x, size);
  }

  void overlap(double step, double span_y, double span_x, const PixelSize& size) {
    const auto& d = in_.acquisition.detector;
    double diameter = options_.probe_diameter_px;
    if (const auto probe = in_.acquisition.inputs.find("probe");
        diameter <= 0 && probe != in_.acquisition.inputs.end() && probe->second.rank() == 3)
      diameter = effective_diameter_px(probe->second.to<core::cfloat, 3>().view());
    if (diameter <= 0) {
      warn("the scan has no starting probe: give --probe-diameter for the overlap");
      return;
    }
    const Overlap o = disc_overlap(step, diameter);
    const double window = static_cast<double>(std::min(d.ny, d.nx));
    metric("probe_diameter_px") = diameter;
    metric("overlap_linear") = o.linear;
    metric("overlap_area") = o.area;
    metric("oversampling") = window / diameter;
    constexpr double kLeast = 0.4;
    if (o.linear < kLeast)
      warn(
          "neighbouring illuminations overlap by {:.0f} % of their diameter ({:.3g} of {:.3g} px); about 60 % are "
          "recommended",
          100 * o.linear, step, diameter);
    if (window < 1.25 * diameter)
      warn("the illumination, {:.3g} px, fills the window of {} px: patterns are not sampled finely enough", diameter,
           window);
    if (size.y_m && size.x_m && !statistics_.frames.empty()) {
      double total = 0;
      for (const auto& [id, f] : statistics_.frames) total += f.total;
      metric("counts_per_um2") = total / ((span_y + diameter) * (span_x + diameter) * *size.y_m * *size.x_m * 1e12);
    }
  }

  const Inspection& in_;
  const InspectOptions& options_;
  const CountStatistics& statistics_;
  double frames_;
  model::Product out_;
  std::vector<std::string> warnings_;
};

}  // namespace

model::Product inspection_report(const Inspection& inspection, const InspectOptions& options) {
  return Report(inspection, options).make();
}

}  // namespace farfield::techniques::ptychography
