#include "farfield/plot/curve_plot.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "farfield/plot/ticks.hpp"

namespace farfield::plot {
namespace {
using core::Index;

void refuse(std::string message) { throw core::Error(core::ErrorCode::invalid_argument, std::move(message)); }

bool usable(double v, Scale scale) { return std::isfinite(v) && (scale == Scale::linear || v > 0); }

/// From a value to a place between `from` and `to` (points).
struct Mapping {
  Scale scale;
  Range range;
  double from, to;
  double operator()(double v) const {
    const double t = scale == Scale::log ? std::log(v / range.low) / std::log(range.high / range.low)
                                         : (v - range.low) / (range.high - range.low);
    return from + t * (to - from);
  }
  bool inside(double v) const { return v >= range.low && v <= range.high; }
  std::vector<Tick> ticks(int most) const {
    return scale == Scale::log ? log_ticks(range.low, range.high, most) : linear_ticks(range.low, range.high, most);
  }
};

/// What the values need, with air at both ends; bars and sums that are never negative stand on 0.
Range axis_range(const Axis& axis, const std::vector<double>& values, double air) {
  if (axis.range) {
    const Range r = *axis.range;
    if (!(std::isfinite(r.low) && std::isfinite(r.high) && r.low < r.high) || (axis.scale == Scale::log && r.low <= 0))
      refuse(fmt::format("range {} to {} of axis '{}' must be finite, rising{}", r.low, r.high, axis.label,
                         axis.scale == Scale::log ? " and above 0" : ""));
    return r;
  }
  double low = 1e300, high = -1e300;
  for (const double v : values)
    if (usable(v, axis.scale)) low = std::min(low, v), high = std::max(high, v);
  if (low > high) return axis.scale == Scale::log ? Range{0.1, 10} : Range{0, 1};
  if (axis.scale == Scale::log) {
    const double factor = low == high ? 2 : std::pow(high / low, air);
    return {low / factor, high * factor};
  }
  const double room = low < high ? air * (high - low) : low != 0 ? std::abs(low) * 0.1 : 1;
  // A curve that comes close to 0 from above is shown with it.
  return {low >= 0 && low < 0.25 * high ? 0 : low - room, high + room};
}

struct Ranges {
  Range x, y;
};
Ranges data_ranges(const CurvePlot& plot) {
  std::vector<double> xs, ys;
  bool bars = false, points = false;
  for (const Series& s : plot.series) {
    if (s.x.size() != s.y.size() || (!s.error.empty() && s.error.size() != s.y.size()))
      refuse(fmt::format("series '{}' has {} x, {} y and {} error values", s.label, s.x.size(), s.y.size(),
                         s.error.size()));
    bars |= s.style == SeriesStyle::bars;
    points |= s.style == SeriesStyle::points;
    for (std::size_t i = 0; i < s.x.size(); ++i) {
      if (!usable(s.x[i], plot.x.scale)) continue;
      xs.push_back(s.x[i]);
      if (s.style == SeriesStyle::bars && i + 1 == s.x.size()) continue;
      if (!usable(s.y[i], plot.y.scale)) continue;
      ys.push_back(s.y[i]);
      if (!s.error.empty() && std::isfinite(s.error[i])) {
        ys.push_back(s.y[i] + s.error[i]);
        ys.push_back(s.y[i] - s.error[i]);
      }
    }
  }
  for (const Mark& m : plot.y_marks) ys.push_back(m.value);
  Range x = axis_range(plot.x, xs, points ? 0.04 : bars ? 0 : 0.02);
  if (!plot.x.range && plot.equal_units && !xs.empty()) {  // a map does not start at 0 by itself
    const auto [low, high] = std::minmax_element(xs.begin(), xs.end());
    const double room = std::max(0.04 * (*high - *low), 1e-12);
    x = {*low - room, *high + room};
  }
  Range y = axis_range(plot.y, ys, 0.06);
  if (!plot.y.range && plot.equal_units && !ys.empty()) {
    const auto [low, high] = std::minmax_element(ys.begin(), ys.end());
    const double room = std::max(0.04 * (*high - *low), 1e-12);
    y = {*low - room, *high + room};
  }
  return {x, y};
}

/// Grows the shorter range about its middle until a unit is as long on x as on y.
void equalise(Ranges& r, double width, double height) {
  const double per_x = (r.x.high - r.x.low) / width, per_y = (r.y.high - r.y.low) / height;
  Range& shorter = per_x < per_y ? r.x : r.y;
  const double middle = (shorter.low + shorter.high) / 2;
  const double half = std::max(per_x, per_y) * (per_x < per_y ? width : height) / 2;
  shorter = {middle - half, middle + half};
}

class Plotter {
public:
  Plotter(Drawing& d, const Rect& rect, const CurvePlot& plot, double font) : d_(d), plot_(plot), font_(font) {
    Ranges ranges = data_ranges(plot);
    const double top = plot.title.empty() ? 0.6 * font : 2.2 * font;
    const double foot = plot.x.label.empty() ? 1.8 * font : 3.2 * font;
    const double height = rect.height - top - foot;
    y_ = {plot.y.scale, ranges.y, 0, 1};
    const int y_ticks = std::clamp(static_cast<int>(height / (2.6 * font)), 2, 8);
    double widest = 0;
    for (const Tick& t : y_.ticks(y_ticks)) widest = std::max(widest, text_width(t.label) * font);
    const double left = widest + 0.8 * font + (plot.y.label.empty() ? 0 : 1.7 * font);
    frame_ = {rect.x + left, rect.y + top, rect.width - left - 0.8 * font, height};
    if (plot.equal_units) equalise(ranges, frame_.width, frame_.height);
    x_ = {plot.x.scale, ranges.x, frame_.x, frame_.right()};
    y_ = {plot.y.scale, ranges.y, frame_.bottom(), frame_.y};
    if (plot.x.reversed) std::swap(x_.from, x_.to);
    if (plot.y.reversed) std::swap(y_.from, y_.to);
    x_tick_count_ = std::clamp(static_cast<int>(frame_.width / (5 * font)), 2, 10);
    y_tick_count_ = y_ticks;
  }

  void draw() {
    axes();
    for (const Mark& m : plot_.y_marks) mark(m, false);
    for (const Mark& m : plot_.x_marks) mark(m, true);
    d_.clip(Rect{frame_.x, frame_.y - 1, frame_.width + 1, frame_.height + 2});
    for (std::size_t i = 0; i < plot_.series.size(); ++i) series(plot_.series[i], colour(i));
    d_.clip(std::nullopt);
    d_.outline(frame_, {.colour = kInk, .width = 0.08 * font_});
    for (const Mark& m : plot_.y_marks) mark_label(m, false);
    for (const Mark& m : plot_.x_marks) mark_label(m, true);
    legend();
  }

private:
  Colour colour(std::size_t i) const { return plot_.series[i].colour.value_or(palette(i)); }

  void axes() {
    const LineStyle grid{.colour = {228, 228, 228}, .width = 0.06 * font_}, tick{.colour = kInk, .width = 0.08 * font_};
    const double long_tick = 0.4 * font_, short_tick = 0.2 * font_;
    double after = -1e300;
    for (const Tick& t : x_.ticks(x_tick_count_)) {
      const double x = x_(t.value);
      if (!t.label.empty()) d_.line({{x, frame_.y}, {x, frame_.bottom()}}, grid);
      d_.line({{x, frame_.bottom()}, {x, frame_.bottom() - (t.label.empty() ? short_tick : long_tick)}}, tick);
      const double half = text_width(t.label) * font_ / 2;
      if (x - half < after) continue;  // too narrow for all labels
      d_.text({x, frame_.bottom() + 1.25 * font_}, t.label, {.size = font_, .align = Align::middle});
      if (!t.label.empty()) after = x + half + 0.4 * font_;
    }
    double widest = 0;
    for (const Tick& t : y_.ticks(y_tick_count_)) {
      const double y = y_(t.value);
      if (!t.label.empty()) d_.line({{frame_.x, y}, {frame_.right(), y}}, grid);
      d_.line({{frame_.x, y}, {frame_.x + (t.label.empty() ? short_tick : long_tick), y}}, tick);
      d_.text({frame_.x - 0.5 * font_, y + 0.35 * font_}, t.label, {.size = font_, .align = Align::end});
      widest = std::max(widest, text_width(t.label) * font_);
    }
    d_.text({frame_.x + frame_.width / 2, frame_.bottom() + 2.75 * font_}, plot_.x.label,
            {.size = font_, .align = Align::middle});
    d_.text({frame_.x - widest - 1.2 * font_, frame_.y + frame_.height / 2}, plot_.y.label,
            {.size = font_, .align = Align::middle, .upwards = true});
    if (!plot_.title.empty())
      d_.text({frame_.x + frame_.width / 2, frame_.y - 0.8 * font_}, plot_.title,
              {.size = 1.15 * font_, .align = Align::middle, .bold = true});
  }

  void mark(const Mark& m, bool vertical) {
    const Mapping& axis = vertical ? x_ : y_;
    if (!usable(m.value, axis.scale) || !axis.inside(m.value)) return;
    const double at = axis(m.value);
    const LineStyle style{.colour = m.colour, .width = 0.1 * font_, .dash = {0.5 * font_, 0.4 * font_}};
    if (vertical) d_.line({{at, frame_.y}, {at, frame_.bottom()}}, style);
    else d_.line({{frame_.x, at}, {frame_.right(), at}}, style);
  }
  void mark_label(const Mark& m, bool vertical) {
    const Mapping& axis = vertical ? x_ : y_;
    if (m.label.empty() || !usable(m.value, axis.scale) || !axis.inside(m.value)) return;
    const double at = axis(m.value), width = text_width(m.label) * font_;
    TextStyle style{.size = font_, .colour = m.colour, .halo = {255, 255, 255, 220}};
    if (!vertical) {
      style.align = Align::end;
      d_.text({frame_.right() - 0.5 * font_, at - 0.4 * font_}, m.label, style);
      return;
    }
    const bool left = at + 0.5 * font_ + width > frame_.right();
    style.align = left ? Align::end : Align::start;
    d_.text({at + (left ? -0.5 : 0.5) * font_, frame_.y + 1.6 * font_}, m.label, style);
    occupied_.push_back({left ? at - 0.5 * font_ - width : at, frame_.y, width + 0.5 * font_, 2.2 * font_});
  }

  bool usable_point(const Series& s, std::size_t i) const {
    return usable(s.x[i], plot_.x.scale) && usable(s.y[i], plot_.y.scale);
  }

  void series(const Series& s, Colour colour) {
    const LineStyle style{.colour = colour, .width = s.width, .dash = s.dash};
    if (s.style == SeriesStyle::bars) {
      // On the pixel grid, so that neighbours meet without a seam.
      const auto on_grid = [](double v) { return std::round(v * kDefaultScale) / kDefaultScale; };
      Colour fill = colour;
      fill.a = 150;
      for (std::size_t i = 0; i + 1 < s.x.size(); ++i) {
        if (!usable_point(s, i) || !usable(s.x[i + 1], plot_.x.scale)) continue;
        const double from = on_grid(x_(s.x[i])), to = on_grid(x_(s.x[i + 1]));
        const double x0 = std::min(from, to), x1 = std::max(from, to);
        const double top = y_(s.y[i]);
        d_.box({x0, top, x1 - x0, y_.from - top}, fill);
        d_.line({{x0, top}, {x1, top}}, {.colour = colour, .width = 1});
      }
      return;
    }
    for (std::size_t i = 0; i < s.error.size(); ++i) {
      if (!usable_point(s, i) || !std::isfinite(s.error[i])) continue;
      const double x = x_(s.x[i]), cap = 0.25 * font_, low = s.y[i] - s.error[i];
      const double y0 = usable(low, plot_.y.scale) ? y_(low) : frame_.bottom(), y1 = y_(s.y[i] + s.error[i]);
      const LineStyle thin{.colour = colour, .width = std::min(1.0, s.width)};
      d_.line({{x, y0}, {x, y1}}, thin);
      d_.line({{x - cap, y0}, {x + cap, y0}}, thin);
      d_.line({{x - cap, y1}, {x + cap, y1}}, thin);
    }
    if (s.style != SeriesStyle::points) {
      std::vector<Point> piece;
      for (std::size_t i = 0; i <= s.x.size(); ++i) {
        if (i < s.x.size() && usable_point(s, i)) {
          piece.push_back({x_(s.x[i]), y_(s.y[i])});
        } else if (!piece.empty()) {
          d_.line(std::move(piece), style);
          piece = {};
        }
      }
    }
    if (s.style != SeriesStyle::line)
      for (std::size_t i = 0; i < s.x.size(); ++i)
        if (usable_point(s, i)) d_.disc({x_(s.x[i]), y_(s.y[i])}, 1.5 * s.width, colour);
  }

  /// In the corner with the least under it.
  void legend() {
    std::vector<std::size_t> named;
    double widest = 0;
    for (std::size_t i = 0; i < plot_.series.size(); ++i)
      if (!plot_.series[i].label.empty()) {
        named.push_back(i);
        widest = std::max(widest, text_width(plot_.series[i].label) * font_);
      }
    if (named.empty()) return;
    const double row = 1.5 * font_, sample = 2.2 * font_;
    const double width = widest + sample + 1.8 * font_, height = row * static_cast<double>(named.size()) + 0.8 * font_;
    const double in = 0.7 * font_;
    const double left = frame_.x + in, right = frame_.right() - in - width;
    const double top = frame_.y + in, foot = frame_.bottom() - in - height;
    Rect best{};
    double least = 1e300;
    for (const Rect& r : {Rect{right, top, width, height}, Rect{left, foot, width, height},
                          Rect{right, foot, width, height}, Rect{left, top, width, height}}) {
      const double under = covered(r);
      if (under < least) best = r, least = under;
    }
    d_.box(best, {255, 255, 255, 225});
    d_.outline(best, {.colour = {205, 205, 205}, .width = 0.06 * font_});
    double y = best.y + 0.4 * font_ + row / 2;
    for (const std::size_t i : named) {
      const Series& s = plot_.series[i];
      const double x = best.x + 0.6 * font_;
      if (s.style == SeriesStyle::bars) d_.box({x, y - 0.35 * font_, sample, 0.7 * font_}, colour(i));
      else if (s.style != SeriesStyle::points)
        d_.line({{x, y}, {x + sample, y}}, {.colour = colour(i), .width = s.width, .dash = s.dash});
      if (s.style == SeriesStyle::points || s.style == SeriesStyle::line_and_points)
        d_.disc({x + sample / 2, y}, 1.5 * s.width, colour(i));
      d_.text({x + sample + 0.6 * font_, y + 0.35 * font_}, s.label, {.size = font_});
      y += row;
    }
  }

  /// Length of curves and number of points inside `r`, sampled along the segments.
  double covered(const Rect& r) const {
    const auto within = [&r](double x, double y) { return x >= r.x && x <= r.right() && y >= r.y && y <= r.bottom(); };
    double sum = 0;
    for (const Rect& o : occupied_)
      if (o.x < r.right() && o.right() > r.x && o.y < r.bottom() && o.bottom() > r.y) sum += 200;
    for (const Series& s : plot_.series)
      for (std::size_t i = 0; i < s.x.size(); ++i) {
        if (!usable_point(s, i)) continue;
        const double x = x_(s.x[i]), y = y_(s.y[i]);
        if (within(x, y)) sum += 2;
        if (s.style == SeriesStyle::bars && y < r.bottom() && x >= r.x && x <= r.right()) sum += 2;
        if (s.style == SeriesStyle::points || i == 0 || !usable_point(s, i - 1)) continue;
        const double px = x_(s.x[i - 1]), py = y_(s.y[i - 1]);
        const int steps = std::clamp(static_cast<int>(std::hypot(x - px, y - py) / 4), 1, 200);
        for (int k = 1; k < steps; ++k)
          if (within(px + (x - px) * k / steps, py + (y - py) * k / steps)) sum += 1;
      }
    return sum;
  }

  Drawing& d_;
  const CurvePlot& plot_;
  double font_;
  Rect frame_;
  Mapping x_{}, y_{};
  int x_tick_count_ = 5, y_tick_count_ = 5;
  std::vector<Rect> occupied_;
};
}  // namespace

Colour palette(std::size_t i) {
  static constexpr std::array<Colour, 7> colours = {
      {{0, 114, 178}, {213, 94, 0}, {0, 158, 115}, {204, 121, 167}, {230, 159, 0}, {86, 180, 233}, {90, 90, 90}}};
  return colours[i % colours.size()];
}

void draw(Drawing& drawing, const Rect& rect, const CurvePlot& plot, double font) {
  Plotter(drawing, rect, plot, font).draw();
}

Drawing curve_figure(const CurvePlot& plot, double width, double height) {
  Drawing d(width, height);
  draw(d, Rect{0, 0, width, height}.inset(10), plot, 10);
  return d;
}

}  // namespace farfield::plot
