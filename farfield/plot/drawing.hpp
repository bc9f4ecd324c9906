#pragma once
// A drawing is a list of shapes; a PNG and an SVG of it show the same. Coordinates are in points (1/72 inch on
// paper), x to the right and y downwards from the upper left corner.

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "farfield/codec/png.hpp"
#include "farfield/plot/colour.hpp"
#include "farfield/plot/font.hpp"

namespace farfield::plot {

struct Rect {
  double x = 0, y = 0, width = 0, height = 0;
  double right() const { return x + width; }
  double bottom() const { return y + height; }
  /// The rectangle without a margin on each side.
  Rect inset(double margin) const { return {x + margin, y + margin, width - 2 * margin, height - 2 * margin}; }
};

inline constexpr Colour kBlack{0, 0, 0}, kWhite{255, 255, 255}, kInk{38, 38, 38}, kFaint{215, 215, 215};

struct LineStyle {
  Colour colour = kInk;
  double width = 1;
  std::vector<double> dash{};  ///< lengths on, off, on ...; empty: solid
};

enum class Align { start, middle, end };

struct TextStyle {
  double size = 10;
  Colour colour = kInk;
  Align align = Align::start;
  bool bold = false;
  bool upwards = false;       ///< turned to be read from below to above
  Colour halo{0, 0, 0, 0};    ///< outline that keeps text on pictures readable; alpha 0: none
};

/// Round caps and joins.
struct Line {
  std::vector<Point> points;
  LineStyle style;
};
struct Box {
  Rect rect;
  Colour fill;
};
struct Disc {
  Point centre;
  double radius;
  Colour fill;
};
/// `at` is on the base line.
struct Text {
  Point at;
  std::string utf8;
  TextStyle style;
};
/// Pixels are shown as they are (no smoothing) when enlarged, averaged when reduced.
struct Picture {
  Rect rect;
  codec::Image8 pixels;
};

struct Shape {
  std::variant<Line, Box, Disc, Text, Picture> what;
  std::optional<Rect> clip;
};

class Drawing {
public:
  Drawing(double width, double height, Colour background = kWhite)
      : width_(width), height_(height), background_(background) {}

  void line(std::vector<Point> points, LineStyle style);
  void box(const Rect& rect, Colour fill);
  /// The four sides of a rectangle.
  void outline(const Rect& rect, LineStyle style);
  void disc(Point centre, double radius, Colour fill);
  void text(Point at, std::string utf8, TextStyle style = {});
  void picture(const Rect& rect, codec::Image8 pixels);

  /// Shapes from now on are seen inside `rect` only; nullopt: everywhere.
  void clip(std::optional<Rect> rect) { clip_ = rect; }

  double width() const { return width_; }
  double height() const { return height_; }
  Colour background() const { return background_; }
  const std::vector<Shape>& shapes() const { return shapes_; }

private:
  double width_, height_;
  Colour background_;
  std::optional<Rect> clip_;
  std::vector<Shape> shapes_;
};

/// Device pixels per point of rendered pictures: text of 10 points is 20 pixels high, which prints well.
inline constexpr double kDefaultScale = 2;

/// Antialiased RGB pixels of ceil(width * scale) x ceil(height * scale). Throws `invalid_argument` where that is
/// nothing or above 2^28.
codec::Image8 rasterise(const Drawing& drawing, double scale = kDefaultScale);

/// A PNG file; `text` becomes tEXt chunks ("Title", "Description" ...).
std::vector<std::byte> to_png(const Drawing& drawing, const std::vector<std::pair<std::string, std::string>>& text = {},
                              double scale = kDefaultScale);

/// An SVG 1.1 file; text stays text, pictures are embedded PNGs.
std::string to_svg(const Drawing& drawing);

}  // namespace farfield::plot
