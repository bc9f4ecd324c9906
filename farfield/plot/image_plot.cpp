#include "farfield/plot/image_plot.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "farfield/plot/ticks.hpp"

namespace farfield::plot {
namespace {
using core::Index;
constexpr double kPi = std::numbers::pi;

struct PixelSize {
  std::optional<double> y_m, x_m;
  /// Height over width of a pixel.
  double aspect() const { return y_m && x_m ? *y_m / *x_m : 1; }
};

void check_image(Index ny, Index nx) {
  if (ny < 1 || nx < 1)
    throw core::Error(core::ErrorCode::invalid_argument,
                      fmt::format("an image of {} x {} pixels cannot be drawn", ny, nx));
}

/// Where an image of ny x nx pixels goes in `room`, at its top: whole device pixels per image pixel while they are few
/// enough for the eye to notice uneven ones.
Rect fitted(const Rect& room, Index ny, Index nx, double aspect) {
  const double width = static_cast<double>(nx), height = static_cast<double>(ny) * aspect;
  double factor = std::min(room.width / width, room.height / height) * kDefaultScale;
  if (factor > 1 && factor < 6) factor = std::floor(factor + 1e-6);  // 2, computed as 1.999..., is 2
  const double w = width * factor / kDefaultScale, h = height * factor / kDefaultScale;
  const auto on_grid = [](double v) { return std::round(v * kDefaultScale) / kDefaultScale; };
  return {on_grid(room.x + (room.width - w) / 2), on_grid(room.y), w, h};
}

/// Averaging before the colours are chosen, by as much as leaves at least one value per device pixel.
Index reduction(const Rect& shown, Index nx) {
  return std::max<Index>(1, static_cast<Index>(static_cast<double>(nx) / (shown.width * kDefaultScale) + 1e-6));
}

void draw_title(Drawing& d, const Rect& rect, const std::string& title, double font) {
  if (title.empty()) return;
  d.text({rect.x + rect.width / 2, rect.y + 1.4 * font}, title,
         {.size = 1.15 * font, .align = Align::middle, .bold = true});
}
double title_height(const std::string& title, double font) { return title.empty() ? 0 : 2.2 * font; }

/// Mean lightness (0 to 1) of the part of a picture that is seen in `part` of `image`.
double lightness_below(const codec::Image8& pixels, const Rect& image, const Rect& part) {
  const auto at = [](double v, double from, double length, Index count) {
    return std::clamp<Index>(static_cast<Index>((v - from) / length * static_cast<double>(count)), 0, count - 1);
  };
  const Index x0 = at(part.x, image.x, image.width, pixels.nx), x1 = at(part.right(), image.x, image.width, pixels.nx);
  const Index y0 = at(part.y, image.y, image.height, pixels.ny),
              y1 = at(part.bottom(), image.y, image.height, pixels.ny);
  double sum = 0;
  for (Index y = y0; y <= y1; ++y)
    for (Index x = x0; x <= x1; ++x) {
      const std::uint8_t* p = pixels.pixels.data() + (y * pixels.nx + x) * 3;
      sum += (0.3 * p[0] + 0.59 * p[1] + 0.11 * p[2]) / 255;
    }
  return sum / static_cast<double>((x1 - x0 + 1) * (y1 - y0 + 1));
}

void draw_scale_bar(Drawing& d, const codec::Image8& pixels, const Rect& image, Index nx, const PixelSize& size,
                    double font) {
  const ScaleBar bar = scale_bar(nx, size.x_m);
  const double length = bar.pixels * image.width / static_cast<double>(nx);
  if (length < 4) return;
  const double thick = 0.32 * font, margin = 1.0 * font;
  const Rect r{image.x + margin, image.bottom() - margin - thick, length, thick};
  const double text = text_width(bar.label) * font;
  // Over the middle of the bar, but never beyond the edge of the image.
  const double at = std::max(r.x + r.width / 2, image.x + 0.4 * font + text / 2);
  const Rect under{std::min(r.x, at - text / 2), r.y - 1.5 * font, std::max(r.width, text), 1.5 * font + thick};
  const bool dark = lightness_below(pixels, image, under) > 0.7;
  const Colour ink = dark ? kInk : kWhite, halo = dark ? Colour{255, 255, 255, 120} : Colour{0, 0, 0, 150};
  d.box(r.inset(-0.1 * font), halo);
  d.box(r, ink);
  d.text({at, r.y - 0.55 * font}, bar.label,
         {.size = font, .colour = ink, .align = Align::middle, .bold = true, .halo = halo});
}

struct ColourScale {
  ColourMap map;
  Scale scale;
  Range range;
  /// Position of a value in the map.
  double operator()(double v) const {
    if (map == ColourMap::phase) return v / (2 * kPi) + 0.5;
    if (scale == Scale::log) return v <= range.low ? 0 : std::log(v / range.low) / std::log(range.high / range.low);
    return (v - range.low) / (range.high - range.low);
  }
  std::vector<Tick> ticks(int most) const {
    if (map == ColourMap::phase) return {{-kPi, "−π"}, {-kPi / 2, "−π/2"}, {0, "0"}, {kPi / 2, "π/2"}, {kPi, "π"}};
    return scale == Scale::log ? log_ticks(range.low, range.high, most) : linear_ticks(range.low, range.high, most);
  }
};

ColourScale colour_scale(const ImagePlot& plot) {
  if (plot.map == ColourMap::phase) return {plot.map, Scale::linear, {-kPi, kPi}};
  const bool log = plot.scale == Scale::log;
  Range range = plot.range ? *plot.range : robust_range(plot.values, plot.valid, log ? 1 : 0.5, log ? 99.9 : 99.5, log);
  if (!(std::isfinite(range.low) && std::isfinite(range.high) && range.low < range.high) || (log && range.low <= 0))
    throw core::Error(core::ErrorCode::invalid_argument,
                      fmt::format("range {} to {} of a {} picture must be finite, rising{}", range.low, range.high,
                                  log ? "logarithmic" : "linear", log ? " and above 0" : ""));
  return {plot.map, plot.scale, range};
}

double colour_bar_width(const ColourScale& colours, const std::string& label, int ticks, double font) {
  double widest = 0;
  for (const Tick& t : colours.ticks(ticks)) widest = std::max(widest, text_width(t.label) * font);
  return (0.9 + 1.3 + 0.7) * font + widest + (label.empty() ? 0 : 1.8 * font);
}

void draw_colour_bar(Drawing& d, const Rect& image, const ColourScale& colours, const std::string& label, int ticks,
                     double font) {
  const Rect bar{image.right() + 0.9 * font, image.y, 1.3 * font, image.height};
  codec::Image8 strip{256, 1, 3};
  const auto& entries = table(colours.map);
  for (int i = 255; i >= 0; --i) {
    const Colour c = entries[static_cast<std::size_t>(i)];
    strip.pixels.insert(strip.pixels.end(), {c.r, c.g, c.b});
  }
  d.picture(bar, std::move(strip));
  d.outline(bar, {.colour = kInk, .width = 0.07 * font});
  double widest = 0;
  for (const Tick& t : colours.ticks(ticks)) {
    const double y = bar.bottom() - std::clamp(colours(t.value), 0.0, 1.0) * bar.height;
    const double length = t.label.empty() ? 0.2 * font : 0.35 * font;
    d.line({{bar.right(), y}, {bar.right() + length, y}}, {.colour = kInk, .width = 0.07 * font});
    // A label at an end of the bar stays within its height.
    const double base = std::clamp(y + 0.35 * font, bar.y + 0.7 * font, bar.bottom());
    d.text({bar.right() + 0.6 * font, base}, t.label, {.size = font});
    widest = std::max(widest, text_width(t.label) * font);
  }
  d.text({bar.right() + widest + 2.0 * font, bar.y + bar.height / 2}, label,
         {.size = font, .align = Align::middle, .upwards = true});
}

int tick_count(double height, double font) { return std::clamp(static_cast<int>(height / (3.2 * font)), 2, 8); }

codec::Image8 coloured(core::View<const float, 2> values, const ColourScale& colours, Colour outside) {
  codec::Image8 out{values.extent(0), values.extent(1), 3};
  out.pixels.reserve(static_cast<std::size_t>(values.size() * 3));
  for (Index y = 0; y < values.extent(0); ++y)
    for (Index x = 0; x < values.extent(1); ++x) {
      const double v = values(y, x);
      const Colour c = std::isfinite(v) ? colour_at(colours.map, colours(v)) : outside;
      out.pixels.insert(out.pixels.end(), {c.r, c.g, c.b});
    }
  return out;
}

codec::Image8 coloured(core::View<const core::cfloat, 2> values) {
  float largest = 0;
  for (Index y = 0; y < values.extent(0); ++y)
    for (Index x = 0; x < values.extent(1); ++x) {
      const float a = std::abs(values(y, x));
      if (std::isfinite(a)) largest = std::max(largest, a);
    }
  codec::Image8 out{values.extent(0), values.extent(1), 3};
  out.pixels.reserve(static_cast<std::size_t>(values.size() * 3));
  for (Index y = 0; y < values.extent(0); ++y)
    for (Index x = 0; x < values.extent(1); ++x) {
      const core::cfloat v = values(y, x);
      const double brightness = std::abs(v) / largest;
      const Colour c = std::isfinite(brightness) ? complex_colour(std::arg(v), brightness) : kBlack;
      out.pixels.insert(out.pixels.end(), {c.r, c.g, c.b});
    }
  return out;
}

/// Longer side of the picture of a figure, in points. Small images are enlarged by whole factors to about 450 points,
/// images above 700 are averaged.
double figure_points(Index longest) {
  const double device = static_cast<double>(longest);
  if (device <= 900) return device * std::round(900 / device) / kDefaultScale;
  return std::min(device, 1400.0) / kDefaultScale;
}
}  // namespace

ImagePlot cropped(ImagePlot plot, const Window& w) {
  if (w.y < 0 || w.x < 0 || w.ny < 1 || w.nx < 1 || w.y > plot.values.extent(0) - w.ny ||
      w.x > plot.values.extent(1) - w.nx)
    throw core::Error(core::ErrorCode::invalid_argument,
                      fmt::format("window of {} x {} pixels at ({}, {}) leaves the image of {} x {}", w.ny, w.nx, w.y,
                                  w.x, plot.values.extent(0), plot.values.extent(1)));
  plot.values = plot.values.window({w.y, w.x}, {w.ny, w.nx});
  if (!plot.valid.empty()) plot.valid = plot.valid.window({w.y, w.x}, {w.ny, w.nx});
  return plot;
}

ScaleBar scale_bar(Index nx, std::optional<double> pixel_size_m) {
  const double quarter = 0.25 * static_cast<double>(nx);
  if (pixel_size_m) {
    if (!(*pixel_size_m > 0 && std::isfinite(*pixel_size_m)))
      throw core::Error(core::ErrorCode::invalid_argument, fmt::format("pixel size {} m must be > 0", *pixel_size_m));
    const double length = nice_below(quarter * *pixel_size_m);
    return {length / *pixel_size_m, length_label(length)};
  }
  const double pixels = std::max(1.0, nice_below(quarter));
  return {pixels, fmt::format("{:.0f} px", pixels)};
}

void draw(Drawing& d, const Rect& rect, const ImagePlot& plot, double font) {
  const Index ny = plot.values.extent(0), nx = plot.values.extent(1);
  check_image(ny, nx);
  const PixelSize size{plot.pixel_size_y_m, plot.pixel_size_x_m};
  const ColourScale colours = colour_scale(plot);
  const double top = title_height(plot.title, font);
  const int ticks = tick_count(rect.height - top, font);
  const double bar = plot.colour_bar ? colour_bar_width(colours, plot.label, ticks, font) : 0;
  const Rect image = fitted({rect.x, rect.y + top, rect.width - bar, rect.height - top}, ny, nx, size.aspect());
  draw_title(d, {image.x, image.y - top, image.width, top}, plot.title, font);
  const codec::Image8 pixels =
      coloured(reduced(plot.values, reduction(image, nx), plot.valid, plot.map == ColourMap::phase).view(), colours,
               plot.outside);
  d.picture(image, pixels);
  if (plot.scale_bar) draw_scale_bar(d, pixels, image, nx, size, font);
  if (plot.colour_bar) draw_colour_bar(d, image, colours, plot.label, tick_count(image.height, font), font);
}

void draw(Drawing& d, const Rect& rect, const ComplexPlot& plot, double font) {
  const Index ny = plot.values.extent(0), nx = plot.values.extent(1);
  check_image(ny, nx);
  const PixelSize size{plot.pixel_size_y_m, plot.pixel_size_x_m};
  const double top = title_height(plot.title, font);
  const Rect image = fitted({rect.x, rect.y + top, rect.width, rect.height - top}, ny, nx, size.aspect());
  draw_title(d, {image.x, image.y - top, image.width, top}, plot.title, font);
  const codec::Image8 pixels = coloured(reduced(plot.values, reduction(image, nx)).view());
  d.picture(image, pixels);
  if (plot.scale_bar) draw_scale_bar(d, pixels, image, nx, size, font);
  d.text({image.x + 0.8 * font, image.y + 1.6 * font}, plot.note,
         {.size = font, .colour = kWhite, .bold = true, .halo = {0, 0, 0, 150}});
}

Drawing image_figure(const ImagePlot& plot) {
  const Index ny = plot.values.extent(0), nx = plot.values.extent(1);
  check_image(ny, nx);
  const double aspect = PixelSize{plot.pixel_size_y_m, plot.pixel_size_x_m}.aspect();
  const double points = figure_points(std::max(ny, nx));
  const double width = points * static_cast<double>(nx) / static_cast<double>(std::max(ny, nx));
  const double height = points * aspect * static_cast<double>(ny) / static_cast<double>(std::max(ny, nx));
  const double font = std::max(10.0, points / 42);
  const double margin = 1.2 * font, top = title_height(plot.title, font);
  const double bar =
      plot.colour_bar ? colour_bar_width(colour_scale(plot), plot.label, tick_count(height, font), font) : 0;
  const Rect content{margin, margin, width + bar, height + top};
  Drawing d(content.width + 2 * margin, content.height + 2 * margin);
  draw(d, content, plot, font);
  return d;
}

std::vector<double> power_shares(core::View<const core::cfloat, 3> modes) {
  std::vector<double> power(static_cast<std::size_t>(modes.extent(0)));
  double sum = 0;
  for (Index m = 0; m < modes.extent(0); ++m) {
    for (Index y = 0; y < modes.extent(1); ++y)
      for (Index x = 0; x < modes.extent(2); ++x)
        power[static_cast<std::size_t>(m)] += std::norm(core::cdouble(modes(m, y, x)));
    sum += power[static_cast<std::size_t>(m)];
  }
  if (sum > 0)
    for (double& p : power) p /= sum;
  return power;
}

namespace {
/// The key of complex colours: hue around the circle, brightness along the radius.
void draw_colour_key(Drawing& d, Point centre, double radius, double font) {
  const Index n = static_cast<Index>(2 * radius * kDefaultScale);
  codec::Image8 wheel{n, n, 4};
  for (Index y = 0; y < n; ++y)
    for (Index x = 0; x < n; ++x) {
      const double half = static_cast<double>(n) / 2;
      const double dx = (static_cast<double>(x) + 0.5 - half) / half, dy = (half - static_cast<double>(y) - 0.5) / half;
      const double r = std::hypot(dx, dy);
      const Colour c = complex_colour(std::atan2(dy, dx), r);
      const double alpha = std::clamp((1 - r) * half + 0.5, 0.0, 1.0);
      wheel.pixels.insert(wheel.pixels.end(), {c.r, c.g, c.b, static_cast<std::uint8_t>(std::lround(255 * alpha))});
    }
  d.picture({centre.x - radius, centre.y - radius, 2 * radius, 2 * radius}, std::move(wheel));
  const TextStyle middle{.size = font, .align = Align::middle};
  d.text({centre.x + radius + 0.4 * font, centre.y + 0.35 * font}, "0", {.size = font});
  d.text({centre.x - radius - 0.4 * font, centre.y + 0.35 * font}, "π", {.size = font, .align = Align::end});
  d.text({centre.x, centre.y - radius - 0.5 * font}, "π/2", middle);
  d.text({centre.x, centre.y + radius + 1.1 * font}, "−π/2", middle);
}
}  // namespace

Drawing probe_figure(const ProbeMosaic& mosaic) {
  const Index modes = mosaic.modes.extent(0), ny = mosaic.modes.extent(1), nx = mosaic.modes.extent(2);
  check_image(ny, nx);
  if (modes < 1) throw core::Error(core::ErrorCode::invalid_argument, "a probe of 0 modes cannot be drawn");
  const Index columns = mosaic.columns > 0
                            ? std::min(mosaic.columns, modes)
                            : static_cast<Index>(std::ceil(std::sqrt(static_cast<double>(modes)) - 1e-9));
  const Index rows = (modes + columns - 1) / columns;
  const double aspect = PixelSize{mosaic.pixel_size_y_m, mosaic.pixel_size_x_m}.aspect();
  // One mode fills the figure as an image does; several share about one and a half times as much.
  const double device = static_cast<double>(nx);
  const double wanted = std::max(360.0, 1200.0 / static_cast<double>(columns));
  const double tile = (device <= wanted ? device * std::max(1.0, std::floor(wanted / device)) : wanted) / kDefaultScale;
  const double tile_height = tile * aspect * static_cast<double>(ny) / static_cast<double>(nx);
  const double font = std::max(10.0, tile * static_cast<double>(columns) / 50);
  const double gap = 0.5 * font, margin = 1.2 * font, top = title_height(mosaic.title, font);
  const double radius = 2.4 * font, key = 2 * radius + 5 * font;
  const double width = static_cast<double>(columns) * (tile + gap) - gap;
  const double height = std::max(static_cast<double>(rows) * (tile_height + gap) - gap, 2 * radius + 4 * font);
  Drawing d(width + key + 2 * margin, height + top + 2 * margin);
  draw_title(d, {margin, margin, width, top}, mosaic.title, font);
  const std::vector<double> shares = power_shares(mosaic.modes);
  for (Index m = 0; m < modes; ++m) {
    const Index row = m / columns, column = m % columns;
    const double x = margin + static_cast<double>(column) * (tile + gap);
    const double y = margin + top + static_cast<double>(row) * (tile_height + gap);
    ComplexPlot plot{.values = mosaic.modes[m],
                     .pixel_size_y_m = mosaic.pixel_size_y_m,
                     .pixel_size_x_m = mosaic.pixel_size_x_m,
                     .scale_bar = m == 0};
    if (modes > 1) plot.note = fmt::format("{}   {:.1f} %", m + 1, 100 * shares[static_cast<std::size_t>(m)]);
    draw(d, {x, y, tile, tile_height}, plot, font);
  }
  const Point centre{margin + width + 2.6 * font + radius, margin + top + 2.4 * font + radius};
  draw_colour_key(d, centre, radius, 0.9 * font);
  return d;
}

}  // namespace farfield::plot
