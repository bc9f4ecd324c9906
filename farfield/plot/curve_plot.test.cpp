#include "farfield/plot/curve_plot.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "farfield/plot/figure.hpp"

namespace farfield::plot {
namespace {

const Text* find_text(const Drawing& d, const std::string& utf8) {
  for (const Shape& s : d.shapes())
    if (const Text* text = std::get_if<Text>(&s.what); text != nullptr && text->utf8 == utf8) return text;
  return nullptr;
}
/// The curves: lines of that colour.
std::vector<const Line*> lines(const Drawing& d, Colour colour) {
  std::vector<const Line*> out;
  for (const Shape& s : d.shapes())
    if (const Line* line = std::get_if<Line>(&s.what); line != nullptr && line->style.colour == colour)
      out.push_back(line);
  return out;
}
constexpr Colour kOdd{1, 2, 3};

TEST(CurvePlot, TicksStandWhereTheCurveHasTheirValues) {
  for (const bool reversed : {false, true}) {
    const CurvePlot plot{.x = {.label = "x", .range = Range{0, 10}},
                         .y = {.label = "y", .range = Range{0, 100}, .reversed = reversed},
                         .series = {{.x = {0, 2, 8}, .y = {0, 40, 80}, .colour = kOdd}}};
    const Drawing d = curve_figure(plot);
    const auto curve = lines(d, kOdd);
    ASSERT_EQ(curve.size(), 1U);
    EXPECT_NEAR(curve[0]->points[1].x, find_text(d, "2")->at.x, 1e-9);
    EXPECT_NEAR(curve[0]->points[2].x, find_text(d, "8")->at.x, 1e-9);
    // Labels of y have their middle, 0.35 of their size above the base line, at the tick.
    EXPECT_NEAR(curve[0]->points[1].y, find_text(d, "40")->at.y - 3.5, 1e-9);
    EXPECT_NEAR(curve[0]->points[2].y, find_text(d, "80")->at.y - 3.5, 1e-9);
    EXPECT_EQ(curve[0]->points[1].y < curve[0]->points[0].y, !reversed);
  }
}

TEST(CurvePlot, LogarithmicAxesPutDecadesAtEqualDistances) {
  const CurvePlot plot{.x = {.scale = Scale::log},
                       .y = {.scale = Scale::log},
                       .series = {{.x = {1, 10, 100, 1000}, .y = {1e-5, 1e-3, 1e-1, 10}, .colour = kOdd}}};
  const Drawing drawing = curve_figure(plot);
  const auto curve = lines(drawing, kOdd);
  ASSERT_EQ(curve.size(), 1U);
  const auto& p = curve[0]->points;
  for (std::size_t i = 2; i < 4; ++i) {
    EXPECT_NEAR(p[i].x - p[i - 1].x, p[1].x - p[0].x, 1e-9);
    EXPECT_NEAR(p[i].y - p[i - 1].y, p[1].y - p[0].y, 1e-9);
  }
}

TEST(CurvePlot, GapsWhereThereIsNoValue) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Series s{.x = {0, 1, 2, 3, 4}, .y = {1, 2, nan, 2, 1}, .colour = kOdd};
  const Drawing linear = curve_figure({.series = {s}});
  EXPECT_EQ(lines(linear, kOdd).size(), 2U);
  Series zero = s;
  zero.y = {1, 0, 1, -1, 1};
  const Drawing log = curve_figure({.y = {.scale = Scale::log}, .series = {zero}});
  EXPECT_EQ(lines(log, kOdd).size(), 3U);
}

TEST(CurvePlot, EqualUnitsAreEqual) {
  const CurvePlot plot{.series = {{.x = {0, 100}, .y = {0, 100}, .style = SeriesStyle::line, .colour = kOdd}},
                       .equal_units = true};
  const Drawing drawing = curve_figure(plot, 600, 200);
  const auto curve = lines(drawing, kOdd);
  ASSERT_EQ(curve.size(), 1U);
  const auto& p = curve[0]->points;
  EXPECT_NEAR(p[1].x - p[0].x, p[0].y - p[1].y, 1e-9);
}

TEST(CurvePlot, ErrorBarsMarksAndLegend) {
  const CurvePlot plot{
      .x = {.range = Range{0, 10}},
      .y = {.range = Range{0, 100}},
      .series =
          {{.label = "measured", .x = {5}, .y = {50}, .error = {30}, .style = SeriesStyle::points, .colour = kOdd}},
      .x_marks = {{7, "27 nm"}, {11, "outside"}},
      .y_marks = {{13, "floor"}}};
  const Drawing d = curve_figure(plot);
  const auto bars = lines(d, kOdd);
  ASSERT_EQ(bars.size(), 3U);  // the bar and its two caps
  EXPECT_NEAR(bars[0]->points[0].y, find_text(d, "20")->at.y - 3.5, 1e-9);
  EXPECT_NEAR(bars[0]->points[1].y, find_text(d, "80")->at.y - 3.5, 1e-9);
  for (const char* part : {"measured", "27 nm", "floor"}) EXPECT_NE(find_text(d, part), nullptr) << part;
  EXPECT_EQ(find_text(d, "outside"), nullptr);
}

TEST(CurvePlot, ImpossibleInputIsRefusedAndEmptyInputDrawn) {
  EXPECT_THROW(curve_figure({.series = {{.x = {1, 2}, .y = {1}}}}), core::Error);
  EXPECT_THROW(curve_figure({.series = {{.x = {1}, .y = {1}, .error = {1, 2}}}}), core::Error);
  EXPECT_THROW(curve_figure({.x = {.range = Range{2, 1}}}), core::Error);
  EXPECT_THROW(curve_figure({.y = {.scale = Scale::log, .range = Range{0, 1}}}), core::Error);
  for (const Scale scale : {Scale::linear, Scale::log}) {
    EXPECT_NO_THROW(rasterise(curve_figure({.y = {.scale = scale}})));
    EXPECT_NO_THROW(rasterise(curve_figure({.y = {.scale = scale}, .series = {{.label = "one", .x = {3}, .y = {3}}}})));
    EXPECT_NO_THROW(rasterise(curve_figure({.x = {.scale = scale}, .series = {{.x = {-1, 0}, .y = {0, 0}}}})));
  }
}

TEST(PanelFigure, HoldsItsPanels) {
  core::Array<float, 2> image({16, 16}, 2.0F);
  core::Array<core::cfloat, 2> wave({16, 16}, core::cfloat(1, 1));
  const CurvePlot histogram{.title = "Counts",
                            .series = {{.x = {0, 1, 2}, .y = {3, 4, 0}, .style = SeriesStyle::bars}}};
  const TextPlot text{"Scan",
                      {{"patterns", "516"},
                       {"a sentence that is much too long for one line of this panel, so "
                        "that it must be broken into several of them",
                        ""}}};
  const Drawing d = panel_figure(
      {.title = "scan_0042",
       .panels = {ImagePlot{.title = "Mean", .values = image}, ComplexPlot{.values = wave}, histogram, text},
       .columns = 3});
  for (const char* part : {"scan_0042", "Mean", "Counts", "Scan", "patterns", "516"})
    EXPECT_NE(find_text(d, part), nullptr) << part;
  for (const Shape& s : d.shapes())
    if (const Text* t = std::get_if<Text>(&s.what); t != nullptr && t->style.align == Align::start) {
      EXPECT_LT(t->at.x + text_width(t->utf8) * t->style.size, d.width()) << t->utf8;
    }
  EXPECT_TRUE(codec::png_decode(to_png(d)));
  EXPECT_THROW(panel_figure({.columns = 0}), core::Error);
  EXPECT_NO_THROW(panel_figure({}));
}

}  // namespace
}  // namespace farfield::plot
