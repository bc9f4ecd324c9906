#include "farfield/plot/drawing.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "farfield/core/error.hpp"

namespace farfield::plot {
namespace {

/// Sum over the pixels of how black they are, in device pixels.
double ink(const codec::Image8& image) {
  double sum = 0;
  for (std::size_t i = 0; i < image.pixels.size(); i += 3) sum += 1 - image.pixels[i] / 255.0;
  return sum;
}
Colour pixel(const codec::Image8& image, core::Index y, core::Index x) {
  const std::uint8_t* p = image.pixels.data() + (y * image.nx + x) * 3;
  return {p[0], p[1], p[2]};
}

// 8-bit rounding of partly covered pixels: below 0.002 each, here for up to some hundred of them.
TEST(Raster, AreasAreThoseOfTheShapes) {
  Drawing box(50, 40);
  box.box({3.3, 4.1, 20.25, 10.5}, kBlack);
  EXPECT_NEAR(ink(rasterise(box, 2)), 4 * 20.25 * 10.5, 0.5);

  Drawing disc(50, 40);
  disc.disc({20.3, 20.2}, 9, kBlack);
  // Coverage from the distance alone is exact for straight edges; a disc of 18 pixels is larger by less than 1 %.
  EXPECT_NEAR(ink(rasterise(disc, 2)), std::numbers::pi * 18 * 18, 0.01 * std::numbers::pi * 18 * 18);

  Drawing line(50, 40);
  line.line({{5, 6}, {40, 30}}, {.colour = kBlack, .width = 2});
  const double length = 2 * std::hypot(35, 24), width = 4;
  EXPECT_NEAR(ink(rasterise(line, 2)), length * width + std::numbers::pi * 4, 0.01 * length * width);

  Drawing thin(50, 40);
  thin.line({{5, 10.25}, {45, 10.25}}, {.colour = kBlack, .width = 0.125});
  EXPECT_NEAR(ink(rasterise(thin, 2)), 80 * 0.25, 1);
}

TEST(Raster, TransparentLinesAreEvenWhereTheyCrossThemselves) {
  Drawing d(20, 20);
  d.line({{2, 10}, {18, 10}, {10, 2}, {10, 18}}, {.colour = {0, 0, 0, 128}, .width = 3});
  const auto image = rasterise(d, 1);
  EXPECT_EQ(pixel(image, 10, 10), pixel(image, 10, 5));
}

TEST(Raster, DashesCoverTheirShare) {
  Drawing d(100, 10);
  d.line({{10, 5}, {90, 5}}, {.colour = kBlack, .width = 1, .dash = {5, 5}});
  // 8 dashes of 5 points, each a little longer by its round ends (pi/4 of the width).
  EXPECT_NEAR(ink(rasterise(d, 2)), 4 * (8 * 5 + 8 * 0.785), 4);
}

TEST(Raster, ClipsAndIgnoresWhatLiesOutside) {
  Drawing d(20, 20);
  d.clip(Rect{5, 5, 10, 10});
  d.box({0, 0, 20, 20}, kBlack);
  d.line({{-1e12, 10}, {1e12, 10}}, {.colour = kBlack, .width = 2});
  d.clip(std::nullopt);
  d.box({-1e300, 0, 1, 1}, kBlack);
  d.disc({std::nan(""), 5}, 3, kBlack);
  d.line({{0, 0}, {std::nan(""), 5}}, {});
  EXPECT_NEAR(ink(rasterise(d, 1)), 100, 0.1);
}

TEST(Raster, PicturesAreShownPixelByPixelAndAveragedWhenReduced) {
  codec::Image8 checks{2, 2, 1, {0, 255, 255, 0}};
  Drawing large(4, 4);
  large.picture({1, 1, 2, 2}, checks);
  const auto image = rasterise(large, 2);
  for (core::Index y = 0; y < 4; ++y)
    for (core::Index x = 0; x < 4; ++x)
      EXPECT_EQ(pixel(image, y + 2, x + 2), (y / 2 + x / 2) % 2 == 0 ? kBlack : kWhite);
  Drawing small(4, 4);
  small.picture({1, 1, 1, 1}, checks);
  EXPECT_EQ(pixel(rasterise(small, 1), 1, 1), (Colour{128, 128, 128}));
}

TEST(Raster, TextTurnsWithItsFlag) {
  Drawing along(60, 60), up(60, 60);
  along.text({30, 30}, "phase", {.align = Align::middle});
  up.text({30, 30}, "phase", {.align = Align::middle, .upwards = true});
  const auto a = rasterise(along, 2), b = rasterise(up, 2);
  for (core::Index y = 0; y < a.ny; ++y)
    for (core::Index x = 0; x < a.nx; ++x) ASSERT_NEAR(pixel(a, y, x).r, pixel(b, a.nx - 1 - x, y).r, 1);
  EXPECT_GT(ink(a), 100);
}

TEST(Raster, SizesAreChecked) {
  EXPECT_EQ(rasterise(Drawing(10.2, 5), 2).nx, 21);
  EXPECT_THROW(rasterise(Drawing(0, 5)), core::Error);
  EXPECT_THROW(rasterise(Drawing(1e6, 1e6)), core::Error);
  EXPECT_THROW(rasterise(Drawing(std::nan(""), 1)), core::Error);
}

TEST(Png, CarriesSizeResolutionAndText) {
  const auto back = codec::png_decode(to_png(Drawing(30, 20), {{"Title", "x"}}, 2));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->nx, 60);
  EXPECT_EQ(back->ny, 40);
  EXPECT_EQ(back->text.at(0).second, "x");
  EXPECT_NEAR(back->pixels_per_metre * 0.0254, 144, 0.1);
}

TEST(Svg, HoldsEveryShapeAndEscapesText) {
  Drawing d(100, 50);
  d.line({{1, 2}, {3.456, 4}, {std::nan(""), 1}}, {.dash = {1, 2}});
  d.box({1, 2, 3, 4}, {255, 0, 0, 128});
  d.disc({5, 6}, 7, kBlack);
  d.clip(Rect{0, 0, 10, 10});
  d.text({8, 9}, "a < b & \"c\" µ\x01", {.upwards = true});
  d.clip(std::nullopt);
  d.picture({0, 0, 2, 2}, {1, 1, 3, {1, 2, 3}});
  const std::string svg = to_svg(d);
  for (const char* part : {"points=\"1,2 3.46,4\"", "stroke-dasharray=\"1,2\"", "fill=\"#ff0000\" fill-opacity=\"0.5\"",
                           "<circle cx=\"5\" cy=\"6\" r=\"7\"", "a &lt; b &amp; &quot;c&quot; µ</text>",
                           "rotate(-90 8 9)", "clip-path=\"url(#c0)\"", "data:image/png;base64,iVBORw0KGgo", "</svg>"})
    EXPECT_NE(svg.find(part), std::string::npos) << part;
  EXPECT_EQ(svg.find("nan"), std::string::npos);
}

}  // namespace
}  // namespace farfield::plot
