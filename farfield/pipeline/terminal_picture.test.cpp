#include "farfield/pipeline/terminal_picture.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace farfield::pipeline {
namespace {

model::Product product(Index ny, Index nx) {
  core::Array<float, 2> image({ny, nx}), weight({ny, nx});
  for (Index y = 0; y < ny; ++y)
    for (Index x = 0; x < nx; ++x) {
      image(y, x) = static_cast<float>(x);
      weight(y, x) = y >= ny / 2 ? 1 : 0;
    }
  model::Product out;
  out.datasets.push_back({.name = "curve", .data = core::AnyArray(core::Array<double, 1>({3})), .axes = {"iteration"}});
  out.datasets.push_back({.name = "image", .data = core::AnyArray(image), .axes = {"y", "x"}});
  out.datasets.push_back({.name = "weight", .data = core::AnyArray(weight), .axes = {"y", "x"}, .draw = "weight"});
  return out;
}

TEST(TerminalPicture, TheImageIsCutToWhatWasMeasuredAndMadeToFit) {
  const auto picture = thumbnail(product(40, 30), 10, 100);
  ASSERT_TRUE(picture);
  EXPECT_EQ(picture->extent(0), 10) << "20 rows were measured";
  EXPECT_EQ(picture->extent(1), 15) << "the sides keep their ratio";
  EXPECT_NE((*picture)(0, 0), (*picture)(0, 14));
  EXPECT_EQ((*picture)(0, 7), (*picture)(9, 7));
  EXPECT_EQ(thumbnail({}, 10, 10), std::nullopt);
}

TEST(TerminalPicture, SmallImagesStayAsTheyAre) {
  const auto picture = thumbnail(product(4, 3), 100, 100);
  EXPECT_EQ(picture->extent(0), 2);
  EXPECT_EQ(picture->extent(1), 3);
}

TEST(TerminalPicture, HalfBlocksHoldTwoRowsALine) {
  Pixels image({3, 1});
  image(0, 0) = {1, 2, 3};
  image(1, 0) = {4, 5, 6};
  image(2, 0) = {7, 8, 9};
  EXPECT_EQ(half_blocks(image),
            "\x1b[38;2;1;2;3m\x1b[48;2;4;5;6m\u2580\x1b[0m\n\x1b[38;2;7;8;9m\x1b[49m\u2580\x1b[0m\n");
}

TEST(TerminalPicture, SixelsOfTwoColours) {
  Pixels image({2, 3}, plot::Colour{0, 0, 0});
  image(1, 2) = {255, 255, 255};
  // Black: columns 0 and 1 in both rows (bits 1 + 2), column 2 in the first; white: bit 2 of column 2.
  EXPECT_EQ(sixels(image), "\x1bPq\"1;1;3;2#0;2;0;0;0#215;2;100;100;100#0!2B!1@$#215!2?!1A$-\x1b\\");
}

TEST(TerminalPicture, TheCurveSpansItsValues) {
  const std::vector<double> values{1000, 100, 10, 1};
  EXPECT_EQ(sparkline(values, 10), "\u2588\u2586\u2583\u2581");
  EXPECT_EQ(sparkline(values, 2), "\u2588\u2581") << "the last";
  const std::vector<double> odd{1, std::nan(""), 1};
  EXPECT_EQ(sparkline(odd, 10), "\u2581 \u2581");
  EXPECT_EQ(sparkline({}, 10), "");
}

}  // namespace
}  // namespace farfield::pipeline
