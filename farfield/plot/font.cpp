#include "farfield/plot/font.hpp"

#include <charconv>
#include <cmath>
#include <map>
#include <numbers>
#include <string>

namespace farfield::plot {
namespace {

constexpr double kUnit = 1.0 / 20;   // em per unit of the paths below
constexpr double kBearing = 1.95;    // on either side of a glyph

// Paths: M x y (lift the pen, go to), L x y (line), C x1 y1 x2 y2 x y (cubic), A cx cy rx ry from to (arc of an
// ellipse, degrees, drawn towards `to`, joined by a line if the pen is elsewhere), D x y (dot).
struct Design {
  char32_t character;
  double width;
  std::string_view path;
};
constexpr Design kDesigns[] = {
    {U' ', 1.8, ""},
    {U'!', 0.8, "M.4 14 L.4 4.4 D.4 .4"},
    {U'"', 3.4, "M.3 14 L.3 10.4 M3.1 14 L3.1 10.4"},
    {U'#', 10, "M3.6 14 L1.8 0 M8.4 14 L6.6 0 M.6 9.3 L10 9.3 M0 4.6 L9.4 4.6"},
    {U'$', 8.8, "A4.6 9.6 4 2.9 25 270 A4.6 3.5 4.3 3.2 90 -155 M4.6 15.2 L4.6 -1.4"},
    {U'%', 13.4, "A2.9 10.9 2.8 3.1 0 360 A10.5 3.1 2.8 3.1 0 360 M10.8 14 L2.6 0"},
    {U'&', 11,
     "M11 0 L3.2 8.6 C1 11 2.2 14 4.9 14 C7.6 14 8.6 10.9 6.3 9.2 L3 7 C-1.2 4.2 .2 0 4.3 0 C7.6 0 10 2.6 10.2 6.6"},
    {U'\'', .6, "M.3 14 L.3 10.4"},
    {U'(', 3.4, "M3.6 15.4 C-1.1 10 -1.1 1.8 3.6 -3.6"},
    {U')', 3.4, "M-.2 15.4 C4.5 10 4.5 1.8 -.2 -3.6"},
    {U'*', 6.4, "M3.2 14 L3.2 7.6 M.4 12.4 L6 9.2 M6 12.4 L.4 9.2"},
    {U'+', 9.4, "M4.7 10 L4.7 .8 M.1 5.4 L9.3 5.4"},
    {U',', 1, "M.7 .6 L-.1 -2.6"},
    {U'-', 4.6, "M0 5.4 L4.6 5.4"},
    {U'.', .8, "D.4 .4"},
    {U'/', 5.6, "M5.6 15 L0 -1.6"},
    {U'0', 9, "A4.5 7 4.5 7 0 360"},
    {U'1', 9, "M1.4 11.2 L5.1 14 L5.1 0"},
    {U'2', 9, "A4.4 10 4.2 4 162 -45 L.2 0 L8.9 0"},
    {U'3', 9, "A4.3 10.5 3.7 3.5 155 -90 M3 7 L4.3 7 A4.3 3.5 4.5 3.5 90 -155"},
    {U'4', 9, "M6.8 0 L6.8 14 L0 4 L9.2 4"},
    {U'5', 9, "M8.1 14 L1.6 14 L.85 7.5 A4.4 4.55 4.5 4.55 142 -152"},
    {U'6', 9, "A4.55 4.6 4.4 4.6 0 360 M7.8 12.5 C6.1 15.4 .15 15.2 .15 4.8"},
    {U'7', 9, "M.2 14 L9 14 L3.3 0"},
    {U'8', 9, "A4.5 10.6 3.7 3.4 0 360 A4.5 3.6 4.4 3.6 0 360"},
    {U'9', 9, "A4.45 9.4 4.4 4.6 0 360 M1.2 1.5 C2.9 -1.4 8.85 -1.2 8.85 9.2"},
    {U':', .8, "D.4 .4 D.4 8.6"},
    {U';', 1, "M.7 .6 L-.1 -2.6 D.5 8.6"},
    {U'<', 8.6, "M8.6 9.8 L.2 5.4 L8.6 1"},
    {U'=', 9.2, "M0 7.4 L9.2 7.4 M0 3.4 L9.2 3.4"},
    {U'>', 8.6, "M0 9.8 L8.4 5.4 L0 1"},
    {U'?', 7.4, "A3.7 10.4 3.6 3.6 165 -45 C4.6 6.6 3.7 6.2 3.7 4.4 D3.7 .4"},
    {U'@', 15, "A7.6 5.2 3.1 3.6 0 360 M10.9 8.8 L10.7 4 C10.7 .6 15 .8 15 6.2 A7.5 5.6 7.5 8.4 5 310"},
    {U'A', 11, "M0 0 L5.5 14 L11 0 M1.9 4.8 L9.1 4.8"},
    {U'B', 9.2, "M0 0 L0 14 L5 14 A5 10.75 3.4 3.25 90 -90 L0 7.5 M5 7.5 A5.2 3.75 3.9 3.75 90 -90 L0 0"},
    {U'C', 10.9, "A6 7 6 7 46 314"},
    {U'D', 10.6, "M0 0 L0 14 L4 14 A4 7 6.6 7 90 -90 L0 0"},
    {U'E', 8.4, "M8.4 14 L0 14 L0 0 L8.4 0 M0 7.4 L7.6 7.4"},
    {U'F', 8, "M8.2 14 L0 14 L0 0 M0 7 L7.2 7"},
    {U'G', 11.3, "A6 7 6 7 46 318 L11.2 3 L11.2 6.7 L6.8 6.7"},
    {U'H', 10, "M0 0 L0 14 M10 0 L10 14 M0 7.4 L10 7.4"},
    {U'I', .4, "M.2 0 L.2 14"},
    {U'J', 6.6, "M6.6 14 L6.6 4.2 A3.3 4.2 3.3 4.2 0 -172"},
    {U'K', 9.6, "M0 0 L0 14 M9.2 14 L0 5 M3.5 8.4 L9.8 0"},
    {U'L', 7.8, "M0 14 L0 0 L7.8 0"},
    {U'M', 12, "M0 0 L0 14 L6 2.4 L12 14 L12 0"},
    {U'N', 10, "M0 0 L0 14 L10 0 L10 14"},
    {U'O', 12, "A6 7 6 7 0 360"},
    {U'P', 8.8, "M0 0 L0 14 L5 14 A5 10.2 3.8 3.8 90 -90 L0 6.4"},
    {U'Q', 12, "A6 7 6 7 0 360 M7.6 3.6 L12 -.9"},
    {U'R', 9.4, "M0 0 L0 14 L5 14 A5 10.2 3.8 3.8 90 -90 L0 6.4 M5 6.4 L9.4 0"},
    {U'S', 9, "A4.5 10.5 4 3.5 28 270 A4.5 3.5 4.4 3.5 90 -155"},
    {U'T', 10, "M0 14 L10 14 M5 14 L5 0"},
    {U'U', 10, "M0 14 L0 5 A5 5 5 5 180 360 L10 14"},
    {U'V', 10.6, "M0 14 L5.3 0 L10.6 14"},
    {U'W', 15, "M0 14 L3.75 0 L7.5 13 L11.25 0 L15 14"},
    {U'X', 10, "M.3 14 L10 0 M9.7 14 L0 0"},
    {U'Y', 10.2, "M0 14 L5.1 6.6 L10.2 14 M5.1 6.6 L5.1 0"},
    {U'Z', 9.8, "M.3 14 L9.5 14 L0 0 L9.8 0"},
    {U'[', 3, "M3.2 15.2 L.2 15.2 L.2 -3.2 L3.2 -3.2"},
    {U'\\', 5.6, "M0 15 L5.6 -1.6"},
    {U']', 3, "M-.2 15.2 L2.8 15.2 L2.8 -3.2 L-.2 -3.2"},
    {U'^', 7.6, "M.2 8.6 L3.8 14 L7.4 8.6"},
    {U'_', 8.6, "M-.6 -2.4 L9.2 -2.4"},
    {U'`', 2.6, "M0 14 L2.6 11.6"},
    {U'a', 7.6, "A3.9 6.9 3.6 3.1 152 0 L7.5 0 M7.5 5.8 L3.2 5.8 A3.2 2.9 3.2 2.9 90 270 C5.6 0 7.5 1.6 7.5 3.8"},
    {U'b', 8, "M0 14 L0 0 A4 5 4 5 0 360"},
    {U'c', 7.3, "A4 5 4 5 46 314"},
    {U'd', 8, "M8 14 L8 0 A4 5 4 5 0 360"},
    {U'e', 7.9, "M.1 5.1 L7.95 5.1 A4 5 3.95 5 0 315"},
    {U'f', 4.8, "M4.9 13.8 C3 14.2 2.2 13.2 2.2 11 L2.2 0 M0 10 L4.7 10"},
    {U'g', 8, "A4 5 4 5 0 360 M8 10 L8 .2 A4 .2 4 4.2 0 -148"},
    {U'h', 7.4, "M0 14 L0 0 M0 6 A3.7 6.2 3.7 3.8 180 0 L7.4 0"},
    {U'i', .4, "M.2 10 L.2 0 D.2 13.4"},
    {U'j', 1.6, "M1.4 10 L1.4 -1.4 C1.4 -3.6 .4 -4.2 -1.2 -4 D1.4 13.4"},
    {U'k', 7, "M0 14 L0 0 M6.7 10 L0 3.6 M2.6 6 L7.2 0"},
    {U'l', 1.8, "M.1 14 L.1 2.4 C.1 .6 .8 0 2.2 .1"},
    {U'm', 12, "M0 10 L0 0 M0 6.4 A3 6.8 3 3.2 180 0 L6 0 M6 6.4 A9 6.8 3 3.2 180 0 L12 0"},
    {U'n', 7.4, "M0 10 L0 0 M0 6 A3.7 6.2 3.7 3.8 180 0 L7.4 0"},
    {U'o', 8.2, "A4.1 5 4.1 5 0 360"},
    {U'p', 8, "M0 10 L0 -4 A4 5 4 5 0 360"},
    {U'q', 8, "M8 10 L8 -4 A4 5 4 5 0 360"},
    {U'r', 4, "M0 10 L0 0 M0 5.6 C.2 8.8 1.8 10.2 4.2 9.8"},
    {U's', 7, "A3.5 7.5 3.1 2.5 28 270 A3.5 2.5 3.5 2.5 90 -152"},
    {U't', 4.8, "M2 13 L2 3 C2 .6 2.8 -.2 4.9 .2 M0 10 L4.7 10"},
    {U'u', 7.4, "M0 10 L0 3.8 A3.7 3.8 3.7 3.8 180 360 M7.4 10 L7.4 0"},
    {U'v', 7.8, "M0 10 L3.9 0 L7.8 10"},
    {U'w', 11.4, "M0 10 L2.9 0 L5.7 9.6 L8.5 0 L11.4 10"},
    {U'x', 7.4, "M.2 10 L7.4 0 M7.2 10 L0 0"},
    {U'y', 7.8, "M0 10 L4 0 M7.8 10 L3 -2.4 C2.4 -3.8 1.6 -4.2 .2 -4"},
    {U'z', 7.2, "M.3 10 L6.9 10 L0 0 L7.2 0"},
    {U'{', 4, "M4.2 15.2 C1.2 15.2 2.4 11 2 8.4 C1.8 7 1.2 6 0 6 C1.2 6 1.8 5 2 3.6 C2.4 1 1.2 -3.2 4.2 -3.2"},
    {U'|', .4, "M.2 15.2 L.2 -3.6"},
    {U'}', 4, "M-.2 15.2 C2.8 15.2 1.6 11 2 8.4 C2.2 7 2.8 6 4 6 C2.8 6 2.2 5 2 3.6 C1.6 1 2.8 -3.2 -.2 -3.2"},
    {U'~', 9, "M0 4.4 C1 7.2 3 7 4.5 5.6 C6 4.2 8 4 9 6.8"},
    {U'°', 4.4, "A2.2 11.8 2.1 2.2 0 360"},
    {U'±', 9.2, "M4.6 11 L4.6 3.4 M.2 7.2 L9 7.2 M.2 .4 L9 .4"},
    {U'·', .8, "D.4 5.4"},
    {U'×', 7.6, "M.2 9 L7.4 1.8 M7.4 9 L.2 1.8"},
    {U'Å', 11, "M0 0 L5.5 13 L11 0 M1.9 4.5 L9.1 4.5 A5.5 15.6 1.8 1.9 0 360"},
    {U'µ', 7.4, "M0 10 L0 -4 M0 3.8 A3.7 3.8 3.7 3.8 180 360 M7.4 10 L7.4 0"},
    {U'–', 9, "M0 5.4 L9 5.4"},
    {U'…', 10.8, "D.4 .4 D5.4 .4 D10.4 .4"},
    {U'−', 9.2, "M0 5.4 L9.2 5.4"},
    {U'≤', 8.6, "M8.4 11.4 L.2 7.4 L8.4 3.4 M.2 .4 L8.4 .4"},
    {U'≥', 8.6, "M.2 11.4 L8.4 7.4 L.2 3.4 M.2 .4 L8.4 .4"},
    {U'√', 9.6, "M0 6.4 L1.6 7.4 L4.6 -.6 L8 15 L10.4 15"},
    {U'α', 8.6, "M8.4 10 C7.4 4.6 6 0 3.6 0 C-1.2 0 -1.2 10 3.6 10 C6.4 10 6.4 0 8.8 0"},
    {U'β', 8, "M0 -4 L0 9.6 C0 15.6 7 15.2 7 10.9 C7 8.6 5 7.7 3 7.7 C6 7.7 8 6.4 8 3.9 C8 -1.2 .6 -.8 0 3"},
    {U'γ', 8, "M0 10 C2.4 10 4 3 4 -1 C4 -5 2.2 -4.6 2.6 -2 C3 1 6.4 5 8 10"},
    {U'δ', 7.8,
     "M6.6 13.2 C5 14.6 1.8 14.4 1.8 12.2 C1.8 10 7.8 9 7.8 4.6 C7.8 -1.4 0 -1.4 0 4.4 C0 8 2.4 9.4 4.6 9.2"},
    {U'ε', 6.6, "M6.4 8.6 C5 10.8 .6 10.4 .6 7.6 C.6 5.8 2 5.3 4.4 5.3 C1.6 5.3 0 4.6 0 2.7 C0 -.6 5 -.8 6.6 1.6"},
    {U'θ', 7.8, "A3.9 7 3.9 7 0 360 M.1 7 L7.7 7"},
    {U'λ', 8.2, "M0 13.8 C2.4 14.4 3 12 3.6 10 L7 1.2 C7.2 .4 7.6 0 8.4 .1 M4.3 7.6 L.4 0"},
    {U'μ', 7.4, "M0 10 L0 -4 M0 3.8 A3.7 3.8 3.7 3.8 180 360 M7.4 10 L7.4 0"},
    {U'π', 9, "M0 9.6 L9 9.6 M2.4 9.6 L2 0 M6.6 9.6 L6.6 2.4 C6.6 .4 7.4 -.2 8.8 .2"},
    {U'ρ', 8, "M0 -4 L0 5 A4 5 4 5 180 -180"},
    {U'σ', 8.6, "A4 4.9 4 4.9 60 360 C8 7 7 8.6 5.4 9.8 L8.8 9.8"},
    {U'τ', 7, "M0 9.8 L7 9.8 M3.4 9.8 L3.4 2.6 C3.4 .4 4.2 -.2 5.8 .2"},
    {U'φ', 9.4, "A4.7 5 4.7 5 0 360 M4.7 14 L4.7 -4"},
    {U'χ', 8, "M0 10 C2.6 10.4 3 7 4 3 C5 -1 5.4 -4.4 8 -4 M7.8 10 L.2 -4"},
    {U'ψ', 9.6, "M0 10 C0 3 1.4 .4 4.8 .4 C8.2 .4 9.6 3 9.6 10 M4.8 14 L4.8 -4"},
    {U'ω', 10.6, "M2.2 10 C-2 4 .6 0 2.8 0 C4.6 0 5.3 2 5.3 6 C5.3 2 6 0 7.8 0 C10 0 12.6 4 8.4 10"},
    {U'Δ', 11, "M0 0 L5.5 14 L11 0 L0 0"},
    {U'Φ', 11.6, "A5.8 7 5.8 4.6 0 360 M5.8 14 L5.8 0"},
    {U'Ω', 11.4, "M0 0 L3.8 0 L3.8 1.4 C-3.4 5.4 -.4 14 5.7 14 C11.8 14 14.8 5.4 7.6 1.4 L7.6 0 L11.4 0"},
    {U'\uFFFD', 8, "M0 0 L8 0 L8 14 L0 14 L0 0"},
};

/// Superscripts and subscripts are smaller copies, raised above the capitals or lowered below the base line.
constexpr double kSmall = 0.62, kRaise = 14 * (1 - kSmall) + 1.2, kLower = -3;
constexpr std::pair<char32_t, char32_t> kSuperscripts[] = {{U'⁰', U'0'}, {U'¹', U'1'}, {U'²', U'2'}, {U'³', U'3'},
                                                           {U'⁴', U'4'}, {U'⁵', U'5'}, {U'⁶', U'6'}, {U'⁷', U'7'},
                                                           {U'⁸', U'8'}, {U'⁹', U'9'}, {U'⁻', U'-'}, {U'⁺', U'+'}};
constexpr char32_t kSubscriptZero = U'₀';  // and nine more in a row

struct Glyph {
  double width = 0, advance = 0;  // units
  std::vector<Stroke> strokes;
};

class PathReader {
public:
  explicit PathReader(std::string_view path) : p_(path.data()), end_(path.data() + path.size()) {}

  std::vector<Stroke> read() {
    while (next_command()) {
      switch (command_) {
        case 'M': strokes_.push_back({{point()}}); break;
        case 'D':
          strokes_.push_back({{point()}});
          strokes_.emplace_back();
          break;
        case 'L': pen().push_back(point()); break;
        case 'C': cubic(); break;
        case 'A': arc(); break;
        default: break;
      }
    }
    std::erase_if(strokes_, [](const Stroke& s) { return s.points.empty(); });
    return std::move(strokes_);
  }

private:
  bool next_command() {
    while (p_ != end_ && *p_ == ' ') ++p_;
    if (p_ == end_) return false;
    command_ = *p_++;
    return true;
  }
  double number() {
    while (p_ != end_ && *p_ == ' ') ++p_;
    double value = 0;
    p_ = std::from_chars(p_, end_, value).ptr;
    return value;
  }
  Point point() {
    const double x = number(), y = number();
    return {x, y};
  }
  std::vector<Point>& pen() {
    if (strokes_.empty()) strokes_.emplace_back();
    return strokes_.back().points;
  }
  void cubic() {
    const Point a = pen().back(), b = point(), c = point(), d = point();
    constexpr int kSteps = 12;
    for (int i = 1; i <= kSteps; ++i) {
      const double t = static_cast<double>(i) / kSteps, u = 1 - t;
      pen().push_back({u * u * u * a.x + 3 * u * u * t * b.x + 3 * u * t * t * c.x + t * t * t * d.x,
                       u * u * u * a.y + 3 * u * u * t * b.y + 3 * u * t * t * c.y + t * t * t * d.y});
    }
  }
  void arc() {
    const Point centre = point(), radius = point();
    const double from = number(), to = number();
    const bool closed = std::abs(to - from) >= 360;
    const int steps = std::max(2, static_cast<int>(std::abs(to - from) / 9));
    if (closed && !pen().empty()) strokes_.emplace_back();
    for (int i = 0; i <= steps; ++i) {
      const double angle = (from + (to - from) * i / steps) * std::numbers::pi / 180;
      pen().push_back({centre.x + radius.x * std::cos(angle), centre.y + radius.y * std::sin(angle)});
    }
  }

  const char* p_;
  const char* end_;
  char command_ = 0;
  std::vector<Stroke> strokes_;
};

using Glyphs = std::map<char32_t, Glyph>;

Glyphs build_glyphs() {
  Glyphs glyphs;
  for (const Design& d : kDesigns) {
    Glyph& glyph = glyphs[d.character];
    glyph = {d.width, d.width + 2 * kBearing, PathReader(d.path).read()};
    for (Stroke& stroke : glyph.strokes) stroke.pen = kPenWidth;
  }
  const auto add_small = [&glyphs](char32_t character, char32_t base, double shift_up) {
    Glyph glyph = glyphs.at(base);
    glyph.advance = glyph.width * kSmall + 1.4 * kBearing;  // digits of a number stand closer
    for (Stroke& stroke : glyph.strokes) {
      stroke.pen = 0.8 * kPenWidth;
      for (Point& p : stroke.points) p = {p.x * kSmall - 0.3 * kBearing, p.y * kSmall + shift_up};
    }
    glyphs[character] = std::move(glyph);
  };
  for (const auto& [character, base] : kSuperscripts) add_small(character, base, kRaise);
  for (char32_t digit = 0; digit < 10; ++digit) add_small(kSubscriptZero + digit, U'0' + digit, kLower);
  return glyphs;
}

const Glyphs& glyphs() {
  static const Glyphs all = build_glyphs();
  return all;
}
const Glyph& glyph(char32_t character) {
  const auto found = glyphs().find(character);
  return found != glyphs().end() ? found->second : glyphs().at(U'\uFFFD');
}
}  // namespace

bool has_glyph(char32_t character) { return character != U'\uFFFD' && glyphs().contains(character); }

std::u32string decode_utf8(std::string_view text) {
  std::u32string out;
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = [&](std::size_t k) { return static_cast<unsigned char>(text[k]); };
    const unsigned lead = byte(i);
    const std::size_t more = lead < 0x80                   ? 0
                             : lead >= 0xc2 && lead < 0xe0 ? 1
                             : lead >= 0xe0 && lead < 0xf0 ? 2
                             : lead >= 0xf0 && lead < 0xf5 ? 3
                                                           : 4;
    bool good = more < 4 && i + more < text.size();
    char32_t character = more == 0 ? lead : lead & (0x3fU >> more);
    for (std::size_t k = 1; good && k <= more; ++k) {
      good = (byte(i + k) & 0xc0U) == 0x80;
      character = character << 6 | (byte(i + k) & 0x3fU);
    }
    out += good ? character : U'\uFFFD';
    i += good ? more + 1 : 1;
  }
  return out;
}

double text_width(std::string_view utf8) {
  double units = 0;
  for (const char32_t character : decode_utf8(utf8)) units += glyph(character).advance;
  return units * kUnit;
}

std::vector<Stroke> text_strokes(std::string_view utf8) {
  std::vector<Stroke> strokes;
  double x = kBearing;
  for (const char32_t character : decode_utf8(utf8)) {
    const Glyph& g = glyph(character);
    for (Stroke stroke : g.strokes) {
      for (Point& p : stroke.points) p = {(p.x + x) * kUnit, p.y * kUnit};
      strokes.push_back(std::move(stroke));
    }
    x += g.advance;
  }
  return strokes;
}

}  // namespace farfield::plot
