// Shapes to pixels. Lines and text are unions of capsules (segments with round ends): a pixel's coverage follows
// from its distance to the nearest segment, so that joints need no special care; the whole shape is then blended
// once, which keeps transparent lines even where they cross themselves.

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "farfield/core/error.hpp"
#include "farfield/plot/drawing.hpp"

namespace farfield::plot {
namespace {
using core::Index;

/// Pixels [x0, x1) x [y0, y1).
struct Window {
  Index x0, y0, x1, y1;
  bool empty() const { return x0 >= x1 || y0 >= y1; }
};

class Raster {
public:
  Raster(codec::Image8& image, double scale) : image_(image), scale_(scale) {}

  void clip(const std::optional<Rect>& rect) {
    clip_ = {0, 0, image_.nx, image_.ny};
    if (rect) clip_ = window(rect->x * scale_, rect->y * scale_, rect->right() * scale_, rect->bottom() * scale_);
  }

  void operator()(const Line& line) {
    std::vector<Stroke> strokes;
    if (line.style.dash.empty()) strokes.push_back({line.points});
    else strokes = dashes(line);
    for (Stroke& s : strokes) {
      s.pen = line.style.width * scale_;
      for (Point& p : s.points) p = {p.x * scale_, p.y * scale_};
    }
    draw(strokes, line.style.colour);
  }
  void operator()(const Box& box) {
    const double x0 = box.rect.x * scale_, y0 = box.rect.y * scale_;
    const double x1 = box.rect.right() * scale_, y1 = box.rect.bottom() * scale_;
    const Window w = window(x0, y0, x1, y1);
    for (Index y = w.y0; y < w.y1; ++y)
      for (Index x = w.x0; x < w.x1; ++x) blend(x, y, box.fill, overlap(x, x0, x1) * overlap(y, y0, y1));
  }
  void operator()(const Disc& disc) {
    draw({{{{disc.centre.x * scale_, disc.centre.y * scale_}}, 2 * disc.radius * scale_}}, disc.fill);
  }
  void operator()(const Text& text) {
    const TextStyle& style = text.style;
    const double size = style.size * scale_;
    const double width = text_width(text.utf8) * size;
    const double shift = style.align == Align::start ? 0 : style.align == Align::middle ? -width / 2 : -width;
    Point origin{text.at.x * scale_, text.at.y * scale_};
    // The base line in the middle of a pixel row: horizontal strokes come out sharp.
    (style.upwards ? origin.x : origin.y) = std::floor(style.upwards ? origin.x : origin.y) + 0.5;
    std::vector<Stroke> strokes = text_strokes(text.utf8);
    for (Stroke& s : strokes) {
      s.pen *= size * (style.bold ? 1.5 : 1);
      for (Point& p : s.points) {
        const double along = shift + p.x * size, up = p.y * size;
        p = style.upwards ? Point{origin.x - up, origin.y - along} : Point{origin.x + along, origin.y - up};
      }
    }
    if (style.halo.a > 0) draw(strokes, style.halo, 0.22 * size);
    draw(strokes, style.colour);
  }
  void operator()(const Picture& picture) {
    const Rect r{picture.rect.x * scale_, picture.rect.y * scale_, picture.rect.width * scale_,
                 picture.rect.height * scale_};
    const codec::Image8& in = picture.pixels;
    if (in.nx < 1 || in.ny < 1) return;
    const Window w = window(std::round(r.x), std::round(r.y), std::round(r.right()), std::round(r.bottom()));
    const double per_x = static_cast<double>(in.nx) / (std::round(r.right()) - std::round(r.x));
    const double per_y = static_cast<double>(in.ny) / (std::round(r.bottom()) - std::round(r.y));
    for (Index y = w.y0; y < w.y1; ++y) {
      const auto [sy0, sy1] = sources(static_cast<double>(y) - std::round(r.y), per_y, in.ny);
      for (Index x = w.x0; x < w.x1; ++x) {
        const auto [sx0, sx1] = sources(static_cast<double>(x) - std::round(r.x), per_x, in.nx);
        double sum[4] = {0, 0, 0, 0};
        for (Index sy = sy0; sy < sy1; ++sy)
          for (Index sx = sx0; sx < sx1; ++sx) {
            const std::uint8_t* p = in.pixels.data() + (sy * in.nx + sx) * in.channels;
            for (int c = 0; c < 3; ++c) sum[c] += p[in.channels == 1 ? 0 : c];
            sum[3] += in.channels == 4 ? p[3] : 255;
          }
        const double n = static_cast<double>((sy1 - sy0) * (sx1 - sx0));
        const auto mean = [&](int c) { return static_cast<std::uint8_t>(std::lround(sum[c] / n)); };
        blend(x, y, {mean(0), mean(1), mean(2), mean(3)}, 1);
      }
    }
  }

private:
  /// Source pixels under one device pixel: the nearest when enlarging, all that it covers when reducing.
  static std::pair<Index, Index> sources(double at, double per, Index count) {
    Index first = static_cast<Index>(std::floor((per <= 1 ? at + 0.5 : at) * per));
    Index last = per <= 1 ? first + 1 : static_cast<Index>(std::ceil((at + 1) * per - 1e-9));
    first = std::clamp<Index>(first, 0, count - 1);
    return {first, std::clamp<Index>(last, first + 1, count)};
  }
  static double overlap(Index pixel, double from, double to) {
    const double p = static_cast<double>(pixel);
    return std::max(0.0, std::min(p + 1, to) - std::max(p, from));
  }
  Window window(double x0, double y0, double x1, double y1) const {
    // Clamped as numbers first: a conversion of a value beyond Index is undefined.
    const auto pixel = [](double v, Index low, Index high) {
      return static_cast<Index>(std::clamp(v, static_cast<double>(low), static_cast<double>(high)));
    };
    const Index nx = image_.nx, ny = image_.ny;
    const Window w{pixel(std::floor(x0), 0, nx), pixel(std::floor(y0), 0, ny), pixel(std::ceil(x1), 0, nx),
                   pixel(std::ceil(y1), 0, ny)};
    return {std::max(w.x0, clip_.x0), std::max(w.y0, clip_.y0), std::min(w.x1, clip_.x1), std::min(w.y1, clip_.y1)};
  }
  void blend(Index x, Index y, Colour c, double coverage) {
    const double alpha = coverage * c.a / 255;
    std::uint8_t* p = image_.pixels.data() + (y * image_.nx + x) * 3;
    const auto mix = [alpha](std::uint8_t old, std::uint8_t add) {
      return static_cast<std::uint8_t>(std::lround(old + alpha * (add - old)));
    };
    p[0] = mix(p[0], c.r);
    p[1] = mix(p[1], c.g);
    p[2] = mix(p[2], c.b);
  }

  /// `wider` is added to the pen of each stroke.
  void draw(const std::vector<Stroke>& strokes, Colour colour, double wider = 0) {
    double x0 = 1e300, y0 = 1e300, x1 = -1e300, y1 = -1e300, widest = 1;
    for (const Stroke& s : strokes) {
      widest = std::max(widest, s.pen + wider);
      for (const Point& p : s.points) {
        x0 = std::min(x0, p.x), x1 = std::max(x1, p.x);
        y0 = std::min(y0, p.y), y1 = std::max(y1, p.y);
      }
    }
    const double reach = widest / 2 + 0.5;
    const Window w = window(x0 - reach, y0 - reach, x1 + reach, y1 + reach);
    if (w.empty()) return;
    mask_.assign(static_cast<std::size_t>((w.x1 - w.x0) * (w.y1 - w.y0)), 0);
    for (const Stroke& s : strokes) {
      const double width = s.pen + wider;
      if (s.points.size() == 1) capsule(s.points[0], s.points[0], width, w);
      for (std::size_t i = 1; i < s.points.size(); ++i) capsule(s.points[i - 1], s.points[i], width, w);
    }
    for (Index y = w.y0; y < w.y1; ++y)
      for (Index x = w.x0; x < w.x1; ++x) {
        const float coverage = mask_[static_cast<std::size_t>((y - w.y0) * (w.x1 - w.x0) + x - w.x0)];
        if (coverage > 0) blend(x, y, colour, coverage);
      }
  }

  /// Adds the pixels within width / 2 of segment ab to the mask, whose corner is (w.x0, w.y0).
  void capsule(Point a, Point b, double width, const Window& w) {
    if (!std::isfinite(a.x + a.y + b.x + b.y)) return;
    const double reach = std::max(width, 1.0) / 2 + 0.5;
    const double thin = std::min(width, 1.0);  // thinner than a pixel: a pixel wide, but fainter
    const double dx = b.x - a.x, dy = b.y - a.y, square = dx * dx + dy * dy;
    const Window rows = window(std::min(a.x, b.x) - reach, std::min(a.y, b.y) - reach, std::max(a.x, b.x) + reach,
                               std::max(a.y, b.y) + reach);
    for (Index y = std::max(rows.y0, w.y0); y < std::min(rows.y1, w.y1); ++y) {
      const double py = static_cast<double>(y) + 0.5;
      Index from = rows.x0, to = rows.x1;
      if (std::abs(dy) > 1) {  // of a long slanting line only the part near this row
        const double middle = a.x + (py - a.y) * dx / dy, half = reach * std::sqrt(square) / std::abs(dy) + 1;
        from = std::max(from, static_cast<Index>(std::floor(std::clamp(middle - half, -1e9, 1e9))));
        to = std::min(to, static_cast<Index>(std::ceil(std::clamp(middle + half, -1e9, 1e9))));
      }
      for (Index x = std::max(from, w.x0); x < std::min(to, w.x1); ++x) {
        const double px = static_cast<double>(x) + 0.5;
        const double t = square > 0 ? std::clamp(((px - a.x) * dx + (py - a.y) * dy) / square, 0.0, 1.0) : 0;
        const double distance = std::hypot(px - a.x - t * dx, py - a.y - t * dy);
        const auto coverage = static_cast<float>(thin * std::clamp(reach - distance, 0.0, 1.0));
        float& cell = mask_[static_cast<std::size_t>((y - w.y0) * (w.x1 - w.x0) + x - w.x0)];
        cell = std::max(cell, coverage);
      }
    }
  }

  static std::vector<Stroke> dashes(const Line& line) {
    std::vector<Stroke> strokes;
    double total = 0;
    for (const double d : line.style.dash) total += d;
    if (total <= 0) return {{line.points}};
    std::size_t part = 0;
    double left = line.style.dash[0];
    bool on = true;
    for (std::size_t i = 1; i < line.points.size(); ++i) {
      Point a = line.points[i - 1];
      const Point b = line.points[i];
      if (!std::isfinite(a.x + a.y + b.x + b.y)) continue;
      if (on) strokes.push_back({{a}});
      for (double rest = std::hypot(b.x - a.x, b.y - a.y); rest > 0;) {
        const double go = std::min(left, rest);
        a = {a.x + (b.x - a.x) * go / rest, a.y + (b.y - a.y) * go / rest};
        if (on) strokes.back().points.push_back(a);
        rest -= go;
        left -= go;
        if (left > 0) continue;
        part = (part + 1) % line.style.dash.size();
        left = line.style.dash[part];
        on = !on;
        if (on) strokes.push_back({{a}});
      }
    }
    return strokes;
  }

  codec::Image8& image_;
  double scale_;
  Window clip_{};
  std::vector<float> mask_;
};
}  // namespace

codec::Image8 rasterise(const Drawing& drawing, double scale) {
  const double nx = std::ceil(drawing.width() * scale - 1e-9), ny = std::ceil(drawing.height() * scale - 1e-9);
  if (!(nx >= 1 && ny >= 1 && nx * ny <= (1 << 28)))
    throw core::Error(core::ErrorCode::invalid_argument,
                      fmt::format("a drawing of {} x {} points at scale {} must have 1 to 2^28 pixels", drawing.width(),
                                  drawing.height(), scale));
  codec::Image8 image{static_cast<Index>(ny), static_cast<Index>(nx), 3};
  image.pixels.resize(static_cast<std::size_t>(image.ny * image.nx * 3));
  const Colour b = drawing.background();
  for (std::size_t i = 0; i < image.pixels.size(); i += 3) {
    image.pixels[i] = b.r;
    image.pixels[i + 1] = b.g;
    image.pixels[i + 2] = b.b;
  }
  image.pixels_per_metre = static_cast<std::uint32_t>(std::lround(72 * scale / 0.0254));
  Raster raster(image, scale);
  for (const Shape& shape : drawing.shapes()) {
    raster.clip(shape.clip);
    std::visit(raster, shape.what);
  }
  return image;
}

std::vector<std::byte> to_png(const Drawing& drawing, const std::vector<std::pair<std::string, std::string>>& text,
                              double scale) {
  codec::Image8 image = rasterise(drawing, scale);
  image.text = text;
  // Noise is what most pictures of measurements hold: more effort takes ten times as long for some per cent.
  constexpr int kEffort = 2;
  return codec::png_encode(image, kEffort);
}

}  // namespace farfield::plot
