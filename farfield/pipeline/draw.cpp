#include "farfield/pipeline/draw.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "farfield/plot/curve_plot.hpp"
#include "farfield/plot/image_plot.hpp"

namespace farfield::pipeline {
namespace {

using core::Index;
using model::Dataset;

constexpr double kDecadesForLog = 1.5;  // a curve that spans more is drawn on a logarithmic axis

bool is_complex(const Dataset& d) { return d.data.dtype() == core::DType::c64 || d.data.dtype() == core::DType::c128; }

bool has_axes(const Dataset& d, std::initializer_list<std::string_view> axes) {
  return std::equal(d.axes.begin(), d.axes.end(), axes.begin(), axes.end()) &&
         d.data.rank() == static_cast<int>(axes.size());
}

bool drawable(const Dataset& d) {
  return !d.data.empty() && d.data.size() > 0 && d.draw != "none" && d.draw != "model" && d.draw != "valid" &&
         !d.name.ends_with("seconds");
}

/// "object_phase" from "object" and "phase"; a name never leads out of the folder.
std::string file_name(const std::string& dataset, const std::string& part = "") {
  std::string name = part.empty() ? dataset : dataset + "_" + part;
  std::replace(name.begin(), name.end(), '/', '_');
  return name + ".png";
}

std::string title_of(const Dataset& d) {
  std::string title = d.name;
  std::replace(title.begin(), title.end(), '_', ' ');
  return title;
}

std::string with_unit(const std::string& quantity, const std::string& unit) {
  return unit.empty() ? quantity : quantity + " / " + unit;
}

class Artist {
public:
  explicit Artist(const model::Product& product) : product_(product) {}

  std::vector<Picture> run() {
    for (const auto& d : product_.datasets) {
      if (!drawable(d)) continue;
      if (d.data.rank() == 2 && !is_complex(d) && d.draw == "curves") many_curves(d);
      else if (d.data.rank() == 2 && !is_complex(d) && d.draw == "image") map_image(d);
      else if (has_axes(d, {"y", "x"})) is_complex(d) ? complex_image(d) : real_image(d);
      else if (has_axes(d, {"mode", "y", "x"}) && is_complex(d)) modes(d);
      else if (has_axes(d, {"frame", "yx"}) && !is_complex(d)) points(d);
      else if (d.data.rank() == 1 && !is_complex(d)) curves(d);
    }
    return std::move(pictures_);
  }

private:
  void add(const std::string& name, const plot::Drawing& drawing, const Dataset& d) {
    pictures_.push_back(
        {name, plot::to_png(drawing, {{"Title", title_of(d)}, {"Description", d.help}, {"Software", "farfield"}})});
  }

  /// What is valid of images of this shape; empty: all.
  core::Array<std::uint8_t, 2> valid_for(const Dataset& image) const {
    for (const auto& d : product_.datasets) {
      if (d.data.shape() != image.data.shape() || &d == &image) continue;
      if (d.draw == "valid") return d.data.to<std::uint8_t, 2>();
      if (d.draw == "weight") return heavy(d.data.to<float, 2>());
    }
    return {};
  }

  /// Pixels of at least a tenth of the typical weight, which is the mean weight weighted by itself.
  static core::Array<std::uint8_t, 2> heavy(const core::Array<float, 2>& weight) {
    double sum = 0, squares = 0;
    for (const float w : weight) {
      sum += w;
      squares += static_cast<double>(w) * w;
    }
    core::Array<std::uint8_t, 2> out(weight.extents());
    const double least = sum > 0 ? 0.1 * squares / sum : 0;
    std::transform(weight.begin(), weight.end(), out.begin(), [&](float w) { return w > 0 && w >= least ? 1 : 0; });
    return out;
  }

  /// Cut to what is valid, with the scale bar that belongs to it.
  plot::ImagePlot framed(const Dataset& d, const core::Array<float, 2>& values,
                         const core::Array<std::uint8_t, 2>& valid) const {
    plot::ImagePlot image;
    image.values = values;
    if (!valid.empty()) {
      image.valid = valid;
      image = plot::cropped(image, plot::bounding_window(image.valid, kMargin));
    }
    if (!d.unit.starts_with("counts")) {
      image.pixel_size_y_m = product_.pixel_size_y_m;
      image.pixel_size_x_m = product_.pixel_size_x_m;
    }
    return image;
  }

  void complex_image(const Dataset& d) {
    const auto values = d.data.to<core::cfloat, 2>();
    const auto valid = valid_for(d);
    const plot::ValidMask mask = valid.empty() ? plot::ValidMask{} : plot::ValidMask(valid.view());
    const auto angles = plot::phase(values.view(), plot::mean_phase(values.view(), mask));
    auto phase = framed(d, angles, valid);
    phase.title = title_of(d) + ": phase";
    phase.map = plot::ColourMap::phase;
    phase.label = "phase / rad";
    add(file_name(d.name, "phase"), plot::image_figure(phase), d);

    const auto amplitudes = plot::amplitude(values.view());
    auto amplitude = framed(d, amplitudes, valid);
    amplitude.title = title_of(d) + ": amplitude";
    amplitude.map = plot::ColourMap::gray;
    amplitude.label = with_unit("amplitude", d.unit);
    add(file_name(d.name, "amplitude"), plot::image_figure(amplitude), d);
  }

  void real_image(const Dataset& d) {
    const auto values = d.data.to<float, 2>();
    const auto valid = valid_for(d);
    auto image = framed(d, values, valid);
    image.title = title_of(d);
    image.label = with_unit(title_of(d), d.unit);
    if (d.draw == "log") image.scale = plot::Scale::log;
    const auto range = plot::robust_range(image.values, image.valid);
    if (range.low < 0 && range.high > 0 && d.draw != "log") {
      const double reach = std::max(-range.low, range.high);
      image.map = plot::ColourMap::diverging;
      image.range = plot::Range{-reach, reach};
    }
    add(file_name(d.name), plot::image_figure(image), d);
  }

  void modes(const Dataset& d) {
    const auto values = d.data.to<core::cfloat, 3>();
    plot::ProbeMosaic mosaic;
    mosaic.title = title_of(d);
    mosaic.modes = values;
    mosaic.pixel_size_y_m = product_.pixel_size_y_m;
    mosaic.pixel_size_x_m = product_.pixel_size_x_m;
    add(file_name(d.name), plot::probe_figure(mosaic), d);
  }

  void points(const Dataset& d) {
    if (d.data.shape()[1] != 2) return;
    plot::CurvePlot plot;
    for (const auto& other : product_.datasets) {
      if (!drawable(other) || is_complex(other) || other.axes != d.axes || other.unit != d.unit ||
          other.data.shape() != d.data.shape())
        continue;
      if (&other < &d) return;  // drawn with the first of its kind
      const auto values = other.data.to<double, 2>();
      plot::Series series;
      series.label = title_of(other);
      series.style = plot::SeriesStyle::points;
      series.width = &other == &d ? 1.2 : 0.7;
      for (Index i = 0; i < values.extent(0); ++i) {
        series.y.push_back(values(i, 0));
        series.x.push_back(values(i, 1));
      }
      plot.series.push_back(std::move(series));
    }
    if (plot.series.size() == 1) plot.series.front().label.clear();
    plot.title = title_of(d);
    plot.x.label = with_unit("x", d.unit);
    plot.y.label = with_unit("y", d.unit);
    plot.y.reversed = true;  // as the rows of an image
    plot.equal_units = true;
    add(file_name(d.name), plot::curve_figure(plot, 420, 400), d);
  }

  static std::vector<double> numbers(const Dataset& d) {
    const auto values = d.data.to<double, 1>();
    return {values.begin(), values.end()};
  }

  /// Curves over the same axis, in the order of the product.
  std::vector<const Dataset*> family(const Dataset& d) const {
    std::vector<const Dataset*> out;
    for (const auto& other : product_.datasets)
      if (drawable(other) && other.draw != "error" && other.data.rank() == 1 && !is_complex(other) &&
          other.axes == d.axes && other.data.shape() == d.data.shape())
        out.push_back(&other);
    return out;
  }

  static const Dataset* abscissa_of(const std::vector<const Dataset*>& family) {
    for (const auto* d : family)
      if (d->draw.starts_with("abscissa")) return d;
    if (family.size() < 2) return nullptr;
    const auto x = numbers(*family.front());
    return std::adjacent_find(x.begin(), x.end(), [](double a, double b) { return !(b > a); }) == x.end()
               ? family.front()
               : nullptr;
  }

  const Dataset* error_of(const Dataset& d) const {
    for (const auto& other : product_.datasets)
      if (other.draw == "error" && other.name == d.name + "_error" && other.data.rank() == 1 && !is_complex(other) &&
          other.data.shape() == d.data.shape())
        return &other;
    return nullptr;
  }

  void curves(const Dataset& d) {
    const std::string axis = d.axes.empty() ? "" : d.axes.front();
    if (d.draw == "error") return;  // with what it belongs to
    const auto all = family(d);
    const bool over_iterations = axis == "iteration";
    const auto* abscissa = over_iterations ? nullptr : abscissa_of(all);
    if (d.draw.starts_with("abscissa") || &d == abscissa || (d.data.size() == 1 && !over_iterations)) return;

    plot::CurvePlot plot;
    plot.title = title_of(d);
    plot.x.label = abscissa != nullptr ? with_unit(title_of(*abscissa), abscissa->unit) : axis;
    if (abscissa != nullptr && abscissa->draw == "abscissa-log") plot.x.scale = plot::Scale::log;
    plot.y.label = with_unit(title_of(d), d.unit);
    double lowest = INFINITY, highest = -INFINITY;
    for (const auto* other : all) {
      if (other == abscissa || other->unit != d.unit || (over_iterations && other != &d)) continue;
      if (other < &d) return;  // drawn with the first of its kind
      plot::Series series;
      series.label = title_of(*other);
      series.y = numbers(*other);
      if (abscissa != nullptr) series.x = numbers(*abscissa);
      else
        for (std::size_t i = 0; i < series.y.size(); ++i)
          series.x.push_back(static_cast<double>(i + (over_iterations ? 1 : 0)));
      if (const auto* error = error_of(*other)) series.error = numbers(*error);
      if (series.y.size() == 1 || !series.error.empty()) series.style = plot::SeriesStyle::points;  // measured
      for (const double v : series.y)
        if (std::isfinite(v)) {
          lowest = std::min(lowest, v);
          highest = std::max(highest, v);
        }
      plot.series.push_back(std::move(series));
    }
    if (plot.series.size() == 1) plot.series.front().label.clear();
    if (d.draw == "log" || (over_iterations && lowest > 0 && std::log10(highest / lowest) > kDecadesForLog))
      plot.y.scale = plot::Scale::log;
    add(file_name(d.name), plot::curve_figure(plot), d);
  }

  /// The x values of curves over this axis.
  const Dataset* abscissa_along(const std::string& axis, Index length) const {
    for (const auto& d : product_.datasets)
      if (d.draw.starts_with("abscissa") && d.axes == std::vector{axis} && d.data.shape() == std::vector{length})
        return &d;
    return nullptr;
  }

  void many_curves(const Dataset& d) {
    const auto values = d.data.to<double, 2>();
    const Index points = values.extent(0), all = values.extent(1), shown = std::min(all, kCurves);
    if (points < 2 || d.axes.size() != 2) return;
    core::Array<double, 2> errors, model;
    for (const auto& other : product_.datasets) {
      if (other.axes != d.axes || other.data.shape() != d.data.shape() || !other.name.starts_with(d.name)) continue;
      if (other.draw == "error") errors = other.data.to<double, 2>();
      if (other.draw == "model") model = other.data.to<double, 2>();
    }
    const auto* abscissa = abscissa_along(d.axes[0], points);

    plot::CurvePlot plot;
    plot.title = title_of(d);
    plot.x.label = abscissa != nullptr ? with_unit(title_of(*abscissa), abscissa->unit) : d.axes[0];
    if (abscissa != nullptr && abscissa->draw == "abscissa-log") plot.x.scale = plot::Scale::log;
    plot.y.label = with_unit(title_of(d), d.unit);
    std::vector<double> heights;
    for (Index s = 0; s < shown; ++s) {
      const Index c = shown == 1 ? 0 : s * (all - 1) / (shown - 1);
      plot::Series series;
      series.label = d.axes[1] + " " + std::to_string(c + 1);
      series.style = plot::SeriesStyle::line_and_points;
      series.width = 1;
      if (abscissa != nullptr) series.x = numbers(*abscissa);
      for (Index i = 0; i < points; ++i) {
        if (abscissa == nullptr) series.x.push_back(static_cast<double>(i));
        series.y.push_back(values(i, c));
        if (!errors.empty()) series.error.push_back(errors(i, c));
        // A delay of 0 holds the shot noise and would hide all else.
        if (std::isfinite(values(i, c)) && series.x.back() != 0) heights.push_back(values(i, c));
      }
      if (!model.empty()) {
        // Points as measured, and the model as a line of their colour.
        series.style = plot::SeriesStyle::points;
        series.colour = plot::palette(static_cast<std::size_t>(s));
        plot::Series line{.x = series.x, .colour = series.colour};
        for (Index i = 0; i < points; ++i) line.y.push_back(model(i, c));
        plot.series.push_back(std::move(line));
      }
      plot.series.push_back(std::move(series));
    }
    if (heights.empty()) return;
    plot.y.range = plain_range(heights);
    add(file_name(d.name), plot::curve_figure(plot, 520, 380), d);
  }

  /// What all but a hundredth of the values at either end need, those that lie not far beyond, and a little room.
  static plot::Range plain_range(std::vector<double>& values) {
    const auto at = [&](double part) {
      const auto n = static_cast<std::ptrdiff_t>(part * static_cast<double>(values.size() - 1));
      std::nth_element(values.begin(), values.begin() + n, values.end());
      return values[static_cast<std::size_t>(n)];
    };
    double low = at(0.01), high = at(0.99);
    const double span = high > low ? high - low : 1;
    low = std::max(low - span / 2, std::min(low, *std::min_element(values.begin(), values.end())));
    high = std::min(high + span / 2, std::max(high, *std::max_element(values.begin(), values.end())));
    return {low - 0.06 * span, high + 0.06 * span};
  }

  /// Of many maps of a kind a few, spread over them, are drawn.
  bool is_shown(const Dataset& d) const {
    Index place = 0, all = 0;
    for (const auto& other : product_.datasets)
      if (other.draw == "image" && other.axes == d.axes && other.data.shape() == d.data.shape()) {
        if (&other == &d) place = all;
        ++all;
      }
    if (all <= kMaps) return true;
    for (Index i = 0; i < kMaps; ++i)
      if (place == i * (all - 1) / (kMaps - 1)) return true;
    return false;
  }

  void map_image(const Dataset& d) {
    if (!is_shown(d)) return;
    const auto values = d.data.to<float, 2>();
    const Index ny = values.extent(0), nx = values.extent(1);
    // Larger maps are drawn with every so many-th row and column; averages would hide the noise that is there.
    const Index step = std::max<Index>((std::max(ny, nx) + kMapEdge - 1) / kMapEdge, 1);
    core::Array<float, 2> pixels({(ny + step - 1) / step, (nx + step - 1) / step});
    std::vector<double> heights;
    for (Index y = 0; y < pixels.extent(0); ++y)
      for (Index x = 0; x < pixels.extent(1); ++x) {
        const float v = values(y * step, x * step);
        pixels(pixels.extent(0) - 1 - y, x) = v;
        if (std::isfinite(v) && y != x) heights.push_back(static_cast<double>(v));
      }
    if (heights.empty()) return;
    plot::ImagePlot image;
    image.values = pixels;
    image.title = title_of(d);
    image.label = with_unit(title_of(d), d.unit);
    const auto range = plain_range(heights);
    image.range = range;
    image.scale_bar = false;  // its pixels are no places
    add(file_name(d.name), plot::image_figure(image), d);
  }

  static constexpr Index kMargin = 4;  // pixels around what is valid
  static constexpr Index kCurves = 9;      // that can be told apart in one plot
  static constexpr Index kMaps = 4;
  static constexpr Index kMapEdge = 500;   // rows of a map that are drawn
  const model::Product& product_;
  std::vector<Picture> pictures_;
};

}  // namespace

std::vector<Picture> draw(const model::Product& product) { return Artist(product).run(); }

}  // namespace farfield::pipeline
