#include "farfield/plot/drawing.hpp"

namespace farfield::plot {

void Drawing::line(std::vector<Point> points, LineStyle style) {
  shapes_.emplace_back(Line{std::move(points), std::move(style)}, clip_);
}
void Drawing::box(const Rect& rect, Colour fill) { shapes_.emplace_back(Box{rect, fill}, clip_); }
void Drawing::outline(const Rect& r, LineStyle style) {
  line({{r.x, r.y}, {r.right(), r.y}, {r.right(), r.bottom()}, {r.x, r.bottom()}, {r.x, r.y}}, std::move(style));
}
void Drawing::disc(Point centre, double radius, Colour fill) {
  shapes_.emplace_back(Disc{centre, radius, fill}, clip_);
}
void Drawing::text(Point at, std::string utf8, TextStyle style) {
  if (!utf8.empty()) shapes_.emplace_back(Text{at, std::move(utf8), style}, clip_);
}
void Drawing::picture(const Rect& rect, codec::Image8 pixels) {
  shapes_.emplace_back(Picture{rect, std::move(pixels)}, clip_);
}

}  // namespace farfield::plot
