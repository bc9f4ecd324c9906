#pragma once
// Curves, points and histograms over two axes.

#include <optional>
#include <string>
#include <vector>

#include "farfield/plot/drawing.hpp"
#include "farfield/plot/image_data.hpp"
#include "farfield/plot/image_plot.hpp"

namespace farfield::plot {

enum class SeriesStyle {
  line,
  points,
  line_and_points,
  bars,  ///< y over the interval from x to the next x, from the foot of the plot: a histogram; the last y is not used
};

/// Values that are not finite, or not above 0 on a logarithmic axis, leave a gap.
struct Series {
  std::string label{};  ///< in the legend; empty: not there
  std::vector<double> x{}, y{};  ///< of equal length
  std::vector<double> error{};  ///< half lengths of the error bars, empty: none
  SeriesStyle style = SeriesStyle::line;
  std::optional<Colour> colour{};  ///< empty: the next of the palette
  double width = 1.5;  ///< of the line, or diameter / 3 of the points
  std::vector<double> dash{};
};

struct Axis {
  std::string label{};
  Scale scale = Scale::linear;
  std::optional<Range> range{};  ///< empty: what the data need
  bool reversed = false;  ///< y: values grow downwards, as rows of an image do
};

/// A dashed line across the plot at one value, with a word beside it.
struct Mark {
  double value = 0;
  std::string label{};
  Colour colour{90, 90, 90};
};

struct CurvePlot {
  std::string title{};
  Axis x{}, y{};
  std::vector<Series> series{};
  std::vector<Mark> x_marks{}, y_marks{};
  bool equal_units = false;  ///< one unit is as long on x as on y (maps of positions)
};

/// Colour i of the palette for lines (M. Okabe and K. Ito, distinguishable with colour-blindness), then again.
Colour palette(std::size_t i);

/// Draws into `rect`. Throws `invalid_argument` where x, y and error of a series differ in length or a range is empty.
void draw(Drawing& drawing, const Rect& rect, const CurvePlot& plot, double font = 10);

/// A figure of one plot, in points.
Drawing curve_figure(const CurvePlot& plot, double width = 480, double height = 330);

}  // namespace farfield::plot
