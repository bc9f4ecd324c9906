#pragma once
// Several plots on one sheet.

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "farfield/plot/curve_plot.hpp"
#include "farfield/plot/image_plot.hpp"

namespace farfield::plot {

/// Lines of a name and what belongs to it; an empty name continues the line above or stands for itself.
struct TextPlot {
  std::string title{};
  std::vector<std::pair<std::string, std::string>> lines{};
};
/// Lines that are too long for `rect` are broken between words; what has no room is left out and marked "…".
void draw(Drawing& drawing, const Rect& rect, const TextPlot& plot, double font = 10);

using Panel = std::variant<ImagePlot, ComplexPlot, CurvePlot, TextPlot>;

struct PanelFigure {
  std::string title{};
  std::vector<Panel> panels{};     ///< by rows
  core::Index columns = 2;
  double panel_width = 340, panel_height = 300;  ///< points
};
/// Throws `invalid_argument` where columns < 1.
Drawing panel_figure(const PanelFigure& figure);

}  // namespace farfield::plot
