#include "farfield/plot/image_plot.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <random>
#include <string>

namespace farfield::plot {
namespace {
using core::Array;
using core::Index;
constexpr double kPi = std::numbers::pi;

TEST(ImageData, RangeIgnoresOutliersAndMaskedPixels) {
  Array<float, 2> values({100, 100});
  Array<std::uint8_t, 2> valid({100, 100}, 1);
  for (Index i = 0; i < values.size(); ++i) values.data()[i] = static_cast<float>(i % 1000);
  values(3, 3) = 1e9F;
  values(4, 4) = std::numeric_limits<float>::quiet_NaN();
  const Range range = robust_range(values);
  EXPECT_NEAR(range.low, 5, 2);
  EXPECT_NEAR(range.high, 995, 2);
  for (Index i = 0; i < values.size(); ++i) valid.data()[i] = i % 1000 < 100;
  EXPECT_LT(robust_range(values, valid).high, 100);
  valid.fill(0);
  EXPECT_EQ(robust_range(values, valid).high, 1);
  EXPECT_THROW(robust_range(values, Array<std::uint8_t, 2>({3, 3})), core::Error);
  const Range constant = robust_range(Array<float, 2>({5, 5}, 7.0F));
  EXPECT_LT(constant.low, 7);
  EXPECT_GT(constant.high, 7);
}

TEST(ImageData, ReductionAverages) {
  Array<float, 2> values({5, 4});
  for (Index i = 0; i < 20; ++i) values.data()[i] = static_cast<float>(i);
  const auto half = reduced(values, 2);
  EXPECT_EQ(half.extents(), (std::array<Index, 2>{3, 2}));
  EXPECT_EQ(half(0, 0), (0 + 1 + 4 + 5) / 4.0F);
  EXPECT_EQ(half(2, 1), (18 + 19) / 2.0F);
  Array<std::uint8_t, 2> valid({5, 4}, 1);
  valid(0, 0) = 0;
  EXPECT_NEAR(reduced(values, 2, valid)(0, 0), (1 + 4 + 5) / 3.0F, 1e-6);
  valid.fill(0);
  EXPECT_TRUE(std::isnan(reduced(values, 2, valid)(0, 0)));
  // Angles on both sides of the cut at pi: their mean is pi, not 0.
  Array<float, 2> angles({1, 2});
  angles(0, 0) = static_cast<float>(kPi - 0.1), angles(0, 1) = static_cast<float>(-kPi + 0.1);
  EXPECT_NEAR(std::abs(reduced(angles, 2, {}, true)(0, 0)), kPi, 1e-5);
}

TEST(ImageData, PartsOfComplexImages) {
  Array<core::cfloat, 2> image({2, 2});
  for (Index i = 0; i < 4; ++i) image.data()[i] = std::polar(2.0F, 1.5F + 0.1F * static_cast<float>(i));
  EXPECT_NEAR(amplitude(image)(1, 1), 2, 1e-6);
  EXPECT_NEAR(phase(image)(0, 1), 1.6, 1e-6);
  EXPECT_NEAR(mean_phase(image), 1.65, 1e-6);
  EXPECT_NEAR(phase(image, mean_phase(image))(0, 0), -0.15, 1e-6);
}

TEST(ImageData, BoundingWindow) {
  Array<std::uint8_t, 2> valid({10, 20});
  EXPECT_EQ(bounding_window(valid).nx, 20);
  valid(3, 4) = valid(6, 15) = 1;
  const Window w = bounding_window(valid, 2);
  EXPECT_EQ(w.y, 1);
  EXPECT_EQ(w.x, 2);
  EXPECT_EQ(w.ny, 8);
  EXPECT_EQ(w.nx, 16);
  EXPECT_EQ(bounding_window(valid, 100).ny, 10);
}

TEST(ScaleBar, LengthTimesPixelSizeIsWhatTheLabelSays) {
  std::mt19937 random(3);
  std::uniform_real_distribution<double> exponent(-11, -1);
  for (int trial = 0; trial < 500; ++trial) {
    const Index nx = 16 + static_cast<Index>(random() % 4000);
    const double size = std::pow(10, exponent(random));
    const ScaleBar bar = scale_bar(nx, size);
    const std::size_t space = bar.label.find(' ');
    const std::string unit = bar.label.substr(space + 1);
    const double metres = std::stod(bar.label) * (unit == "m"    ? 1
                                                  : unit == "mm" ? 1e-3
                                                  : unit == "µm" ? 1e-6
                                                  : unit == "nm" ? 1e-9
                                                                 : 1e-12);
    EXPECT_NEAR(bar.pixels * size, metres, 1e-6 * metres) << bar.label;
    EXPECT_LE(bar.pixels, 0.25 * static_cast<double>(nx) * (1 + 1e-9));
    EXPECT_GE(bar.pixels, 0.1 * static_cast<double>(nx) * (1 - 1e-9));
  }
  EXPECT_EQ(scale_bar(600, std::nullopt).label, "100 px");
  EXPECT_EQ(scale_bar(600, std::nullopt).pixels, 100);
  EXPECT_THROW(scale_bar(600, -1e-9), core::Error);
}

/// Device pixels of exactly this colour.
Index count(const codec::Image8& image, Colour c) {
  Index n = 0;
  for (std::size_t i = 0; i < image.pixels.size(); i += 3)
    n += image.pixels[i] == c.r && image.pixels[i + 1] == c.g && image.pixels[i + 2] == c.b;
  return n;
}

TEST(ImageFigure, EveryPixelIsAWholeSquareOfItsColour) {
  // 30 x 20 pixels, enlarged 900 / 30 = 30 times.
  Array<float, 2> values({20, 30}, 0.0F);
  for (Index y = 0; y < 5; ++y)
    for (Index x = 0; x < 7; ++x) values(y, x) = 1;
  Array<std::uint8_t, 2> valid({20, 30}, 1);
  valid(19, 29) = 0;
  const Colour odd{1, 200, 3};
  const auto image = rasterise(image_figure({.values = values,
                                             .valid = valid,
                                             .map = ColourMap::gray,
                                             .range = Range{-1, 3},
                                             .scale_bar = false,
                                             .colour_bar = false,
                                             .outside = odd}));
  EXPECT_EQ(count(image, colour_at(ColourMap::gray, 0.5)), 5 * 7 * 900);
  EXPECT_EQ(count(image, colour_at(ColourMap::gray, 0.25)), (600 - 35 - 1) * 900);
  EXPECT_EQ(count(image, odd), 900);
}

TEST(ImageFigure, SmallImagesAreEnlargedByAWholeFactorAndFillTheirPlace) {
  for (Index n = 1; n <= 900; n += 31) {
    core::Array<float, 2> values({n, n / 2 + 1}, 1.0F);
    const Drawing d = image_figure({.title = "Title", .values = values, .label = "counts"});
    for (const Shape& shape : d.shapes())
      if (const Picture* picture = std::get_if<Picture>(&shape.what); picture != nullptr && picture->pixels.ny == n) {
        const double factor = picture->rect.height * kDefaultScale / static_cast<double>(n);
        EXPECT_NEAR(factor, std::round(900.0 / static_cast<double>(n)), 1e-6) << n;
        break;
      }
  }
}

TEST(ImageFigure, TheScaleBarIsAsLongAsItSays) {
  Array<float, 2> values({300, 300}, 0.0F);
  const auto image = rasterise(image_figure({.values = values,
                                             .map = ColourMap::gray,
                                             .range = Range{0, 1},
                                             .pixel_size_y_m = 1e-8,
                                             .pixel_size_x_m = 1e-8,
                                             .colour_bar = false}));
  // 300 pixels enlarged 3 times; a quarter is 750 nm, so the bar says 500 nm = 50 pixels = 150 device pixels.
  EXPECT_EQ(scale_bar(300, 1e-8).label, "500 nm");
  Index longest = 0;
  for (Index y = image.ny / 2; y < image.ny; ++y) {
    Index run = 0;
    for (Index x = 0; x < image.nx; ++x) {
      const bool white = image.pixels[static_cast<std::size_t>((y * image.nx + x) * 3)] == 255;
      if (!white && run < 400) longest = std::max(longest, run);  // longer ones are the margin below
      run = white ? run + 1 : 0;
    }
  }
  EXPECT_NEAR(static_cast<double>(longest), 150, 1.01);  // the ends may fall between pixels
}

TEST(ImageFigure, ManySizesDrawAndDecode) {
  for (const auto& [ny, nx] : {std::pair<Index, Index>{1, 1}, {1, 40}, {3000, 5}, {127, 255}, {2100, 1900}})
    for (const Scale scale : {Scale::linear, Scale::log}) {
      Array<float, 2> values({ny, nx});
      for (Index i = 0; i < values.size(); ++i) values.data()[i] = static_cast<float>(i % 37);
      const Drawing d = image_figure(
          {.title = "A title", .values = values, .map = ColourMap::inferno, .scale = scale, .label = "counts"});
      const auto image = codec::png_decode(to_png(d));
      ASSERT_TRUE(image);
      EXPECT_EQ(image->nx, static_cast<Index>(std::ceil(d.width() * kDefaultScale - 1e-9)));
      EXPECT_EQ(image->ny, static_cast<Index>(std::ceil(d.height() * kDefaultScale - 1e-9)));
      EXPECT_LT(std::max(image->nx, image->ny), 2200);
    }
}

TEST(ImageFigure, ImpossibleInputIsRefused) {
  Array<float, 2> values({4, 4});
  EXPECT_THROW(image_figure({}), core::Error);
  EXPECT_THROW(image_figure({.values = values, .range = Range{1, 1}}), core::Error);
  EXPECT_THROW(image_figure({.values = values, .scale = Scale::log, .range = Range{0, 1}}), core::Error);
  EXPECT_THROW(cropped({.values = values}, {2, 2, 3, 1}), core::Error);
  values.fill(std::numeric_limits<float>::quiet_NaN());
  EXPECT_NO_THROW(rasterise(image_figure({.values = values})));
}

TEST(ProbeFigure, PowerSharesAndSize) {
  Array<core::cfloat, 3> modes({3, 8, 8});
  for (Index m = 0; m < 3; ++m)
    for (Index i = 0; i < 64; ++i) modes.data()[m * 64 + i] = core::cfloat(0, static_cast<float>(3 - m));
  const auto shares = power_shares(modes);
  EXPECT_NEAR(shares[0], 9.0 / 14, 1e-9);
  EXPECT_NEAR(shares[2], 1.0 / 14, 1e-9);
  const Drawing d = probe_figure({.title = "Probe", .modes = modes});
  std::string notes;
  for (const Shape& s : d.shapes())
    if (const Text* text = std::get_if<Text>(&s.what)) notes += text->utf8 + "|";
  EXPECT_NE(notes.find("64.3 %"), std::string::npos) << notes;
  EXPECT_NE(notes.find("7.1 %"), std::string::npos) << notes;
  EXPECT_TRUE(codec::png_decode(to_png(d)));
  EXPECT_THROW(probe_figure({}), core::Error);
}

}  // namespace
}  // namespace farfield::plot
