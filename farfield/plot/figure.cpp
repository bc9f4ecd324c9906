#include "farfield/plot/figure.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <string_view>

namespace farfield::plot {
namespace {
using core::Index;

/// Broken between words so that no line is wider than `em`; a longer word stays whole.
std::vector<std::string> wrapped(const std::string& text, double em) {
  std::vector<std::string> lines(1);
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t space = std::min(text.find(' ', i), text.size());
    const std::string word = text.substr(i, space - i);
    std::string& line = lines.back();
    std::string longer = line;
    if (!line.empty()) longer += ' ';
    longer += word;
    if (line.empty() || text_width(longer) <= em) line = longer;
    else lines.push_back(word);
    i = space + 1;
  }
  return lines;
}
}  // namespace

void draw(Drawing& d, const Rect& rect, const TextPlot& plot, double font) {
  double y = rect.y;
  if (!plot.title.empty()) {
    d.text({rect.x, y + font}, plot.title, {.size = 1.15 * font, .bold = true});
    y += 2.2 * font;
  }
  double names = 0;
  for (const auto& [name, value] : plot.lines)
    if (!value.empty()) names = std::max(names, text_width(name) * font);
  names = std::min(names > 0 ? names + font : 0, rect.width / 2);
  const double row = 1.45 * font;
  for (const auto& [name, value] : plot.lines) {
    const bool whole = value.empty();  // a sentence of its own
    const double indent = whole ? 0 : names;
    const auto pieces = wrapped(whole ? name : value, (rect.width - indent) / font);
    if (y + row * static_cast<double>(pieces.size()) > rect.bottom()) {
      d.text({rect.x, std::min(y + font, rect.bottom())}, "…", {.size = font});
      return;
    }
    if (!whole) d.text({rect.x, y + font}, name, {.size = font, .colour = {110, 110, 110}});
    for (const std::string& piece : pieces) {
      d.text({rect.x + indent, y + font}, piece, {.size = font});
      y += row;
    }
  }
}

Drawing panel_figure(const PanelFigure& figure) {
  if (figure.columns < 1)
    throw core::Error(core::ErrorCode::invalid_argument,
                      fmt::format("{} columns of panels must be >= 1", figure.columns));
  constexpr double kFont = 10, kMargin = 14, kGap = 18;
  const Index count = std::ssize(figure.panels), columns = std::max<Index>(1, std::min(figure.columns, count));
  const Index rows = std::max<Index>(1, (count + columns - 1) / columns);
  const double top = figure.title.empty() ? 0 : 2.4 * kFont;
  Drawing d(static_cast<double>(columns) * (figure.panel_width + kGap) - kGap + 2 * kMargin,
            static_cast<double>(rows) * (figure.panel_height + kGap) - kGap + 2 * kMargin + top);
  if (!figure.title.empty())
    d.text({kMargin, kMargin + 1.2 * kFont}, figure.title, {.size = 1.4 * kFont, .bold = true});
  for (Index i = 0; i < count; ++i) {
    const Index row = i / columns, column = i % columns;
    const Rect cell{kMargin + static_cast<double>(column) * (figure.panel_width + kGap),
                    kMargin + top + static_cast<double>(row) * (figure.panel_height + kGap), figure.panel_width,
                    figure.panel_height};
    std::visit([&](const auto& plot) { draw(d, cell, plot, kFont); }, figure.panels[static_cast<std::size_t>(i)]);
  }
  return d;
}

}  // namespace farfield::plot
