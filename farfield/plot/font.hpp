#pragma once
// A stroke font of our own: each glyph is a few lines and arcs, drawn with a round pen, so that it looks the same at
// every size and needs no font file. Printable ASCII, the Greek and the signs that physics needs, superscript digits.

#include <string_view>
#include <vector>

namespace farfield::plot {

struct Point {
  double x = 0, y = 0;
};

/// One movement of a round pen. A single point is a dot.
struct Stroke {
  std::vector<Point> points;
  double pen = 1;  ///< width
};

/// Of an em (= the font size). Capitals are 0.7 em high, small letters 0.5 em, descenders go to -0.2 em.
inline constexpr double kCapHeight = 0.7;
inline constexpr double kPenWidth = 0.082;

/// Does the font have this character?
bool has_glyph(char32_t character);

/// Width of a line of UTF-8 text in em. Characters that the font lacks take the room of a box.
double text_width(std::string_view utf8);

/// The strokes of a line of text in em, y upwards from the baseline, beginning at x = 0, drawn with kPenWidth or a
/// little less for raised and lowered digits.
std::vector<Stroke> text_strokes(std::string_view utf8);

/// The characters of UTF-8 text; a malformed byte becomes U+FFFD.
std::u32string decode_utf8(std::string_view utf8);

}  // namespace farfield::plot
