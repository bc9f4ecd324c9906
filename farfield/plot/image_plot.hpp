#pragma once
// Two-dimensional images with title, colour bar and scale bar.

#include <optional>
#include <string>

#include "farfield/plot/drawing.hpp"
#include "farfield/plot/image_data.hpp"

namespace farfield::plot {

enum class Scale { linear, log };

/// values(y, x), row 0 at the top; not owned, must live until the plot is drawn. NaN and what `valid` excludes is
/// shown in the colour `outside`.
struct ImagePlot {
  std::string title{};
  core::View<const float, 2> values{};
  ValidMask valid{};
  /// ColourMap::phase takes values as angles in rad: the colour bar goes from -pi to pi, `range` is not used.
  ColourMap map = ColourMap::viridis;
  Scale scale = Scale::linear;       ///< log: values <= 0 get the colour of the low end
  std::optional<Range> range{};      ///< of the colours; empty: robust_range()
  std::string label{};               ///< of the colour bar: quantity and unit, "amplitude", "counts" ...
  std::optional<double> pixel_size_y_m{}, pixel_size_x_m{};  ///< unknown: the scale bar counts pixels
  bool scale_bar = true;
  bool colour_bar = true;
  Colour outside{232, 232, 232};
};

/// The plot of a window of the image only, bounding_window(valid) for instance.
ImagePlot cropped(ImagePlot plot, const Window& window);

/// Hue = phase, brightness = amplitude relative to the largest of `values`. Not owning, as above.
struct ComplexPlot {
  std::string title{};
  core::View<const core::cfloat, 2> values{};
  std::optional<double> pixel_size_y_m{}, pixel_size_x_m{};
  bool scale_bar = true;
  std::string note{};                ///< a word in the upper left corner
};

/// Draws into `rect`, keeping the proportions of the image. `font`: size in points of the ordinary text.
void draw(Drawing& drawing, const Rect& rect, const ImagePlot& plot, double font = 10);
void draw(Drawing& drawing, const Rect& rect, const ComplexPlot& plot, double font = 10);

/// A scale bar as it is drawn: `label` says the length, `pixels` how many image pixels it spans.
struct ScaleBar {
  double pixels;
  std::string label;
};
/// The longest 1-2-5 length that spans at most a quarter of `nx` pixels.
ScaleBar scale_bar(core::Index nx, std::optional<double> pixel_size_m);

/// A figure of one image: each pixel a whole number of device pixels, or averages where it is too large for that.
Drawing image_figure(const ImagePlot& plot);

/// modes(mode, y, x) side by side in complex colour, each relative to its own maximum, with its share of the power
/// and a key of the colours. `columns` 0: as square as it comes.
struct ProbeMosaic {
  std::string title{};
  core::View<const core::cfloat, 3> modes{};
  std::optional<double> pixel_size_y_m{}, pixel_size_x_m{};
  core::Index columns = 0;
};
Drawing probe_figure(const ProbeMosaic& mosaic);

/// Share of each mode in the power of all, 0 to 1.
std::vector<double> power_shares(core::View<const core::cfloat, 3> modes);

}  // namespace farfield::plot
