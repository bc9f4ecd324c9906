// Shapes to SVG 1.1.

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "farfield/plot/drawing.hpp"

namespace farfield::plot {
namespace {

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20) out += c;  // XML has no other control characters
    }
  return out;
}

std::string base64(const std::vector<std::byte>& data) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < data.size(); i += 3) {
    const auto byte = [&](std::size_t k) { return k < data.size() ? std::to_integer<unsigned>(data[k]) : 0U; };
    const unsigned bits = byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2);
    out += digits[bits >> 18];
    out += digits[bits >> 12 & 63];
    out += i + 1 < data.size() ? digits[bits >> 6 & 63] : '=';
    out += i + 2 < data.size() ? digits[bits & 63] : '=';
  }
  return out;
}

/// Two decimals of a point are finer than any screen.
std::string number(double v) {
  std::string text = fmt::format("{:.2f}", v);
  while (text.back() == '0') text.pop_back();
  if (text.back() == '.') text.pop_back();
  return text == "-0" ? "0" : text;
}
std::string paint(std::string_view attribute, Colour c) {
  std::string text = fmt::format(" {}=\"#{:02x}{:02x}{:02x}\"", attribute, c.r, c.g, c.b);
  if (c.a < 255) text += fmt::format(" {}-opacity=\"{}\"", attribute, number(c.a / 255.0));
  return text;
}
std::string place(const Rect& r) {
  return fmt::format(" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"", number(r.x), number(r.y), number(r.width),
                     number(r.height));
}

struct Writer {
  std::string out{};

  void operator()(const Line& line) {
    std::string points;
    for (const Point& p : line.points) {
      if (!std::isfinite(p.x + p.y)) continue;
      if (!points.empty()) points += ' ';
      points += number(p.x) + "," + number(p.y);
    }
    out += fmt::format("<polyline points=\"{}\" fill=\"none\"{} stroke-width=\"{}\"", points,
                       paint("stroke", line.style.colour), number(line.style.width));
    if (!line.style.dash.empty()) {
      out += " stroke-dasharray=\"";
      for (std::size_t i = 0; i < line.style.dash.size(); ++i) out += (i > 0 ? "," : "") + number(line.style.dash[i]);
      out += '"';
    }
    out += "/>\n";
  }
  void operator()(const Box& box) { out += fmt::format("<rect{}{}/>\n", place(box.rect), paint("fill", box.fill)); }
  void operator()(const Disc& disc) {
    if (!std::isfinite(disc.centre.x + disc.centre.y)) return;
    out += fmt::format("<circle cx=\"{}\" cy=\"{}\" r=\"{}\"{}/>\n", number(disc.centre.x), number(disc.centre.y),
                       number(disc.radius), paint("fill", disc.fill));
  }
  void operator()(const Text& text) {
    const TextStyle& s = text.style;
    const std::string_view anchor = s.align == Align::start ? "start" : s.align == Align::middle ? "middle" : "end";
    const auto element = [&](const std::string& attributes) {
      out += fmt::format("<text x=\"{0}\" y=\"{1}\" font-size=\"{2}\" text-anchor=\"{3}\"", number(text.at.x),
                         number(text.at.y), number(s.size), anchor);
      if (s.bold) out += " font-weight=\"bold\"";
      if (s.upwards) out += fmt::format(" transform=\"rotate(-90 {} {})\"", number(text.at.x), number(text.at.y));
      out += attributes + ">" + escaped(text.utf8) + "</text>\n";
    };
    if (s.halo.a > 0)
      element(paint("fill", s.halo) + paint("stroke", s.halo) +
              fmt::format(" stroke-width=\"{}\"", number(0.22 * s.size)));
    element(paint("fill", s.colour));
  }
  void operator()(const Picture& picture) {
    out += fmt::format(
        "<image{} preserveAspectRatio=\"none\" style=\"image-rendering:pixelated\" "
        "xlink:href=\"data:image/png;base64,{}\"/>\n",
        place(picture.rect), base64(codec::png_encode(picture.pixels)));
  }
};
}  // namespace

std::string to_svg(const Drawing& drawing) {
  Writer writer;
  writer.out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" xmlns:xlink=\"http://www.w3.org/1999/xlink\" width=\"{0}pt\" "
      "height=\"{1}pt\" viewBox=\"0 0 {0} {1}\" font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\" "
      "stroke-linecap=\"round\" stroke-linejoin=\"round\">\n",
      number(drawing.width()), number(drawing.height()));
  writer(Box{{0, 0, drawing.width(), drawing.height()}, drawing.background()});
  int clips = 0;
  for (const Shape& shape : drawing.shapes()) {
    if (shape.clip) {
      writer.out += fmt::format("<clipPath id=\"c{0}\"><rect{1}/></clipPath><g clip-path=\"url(#c{0})\">", clips++,
                                place(*shape.clip));
      std::visit(writer, shape.what);
      writer.out += "</g>\n";
    } else {
      std::visit(writer, shape.what);
    }
  }
  return writer.out + "</svg>\n";
}

}  // namespace farfield::plot
