#include "farfield/plot/colour.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace farfield::plot {
namespace {

double distance(Colour p, Colour q) {
  const Oklab a = to_oklab(p), b = to_oklab(q);
  return std::hypot(a.L - b.L, a.a - b.a, a.b - b.b);
}

TEST(Colour, OklabKnownAnswersAndRoundTrip) {
  EXPECT_NEAR(to_oklab({255, 255, 255}).L, 1, 1e-6);
  EXPECT_NEAR(to_oklab({255, 0, 0}).L, 0.627955, 1e-4);  // published with the definition
  EXPECT_NEAR(to_oklab({255, 0, 0}).a, 0.224863, 1e-4);
  EXPECT_NEAR(to_oklab({255, 0, 0}).b, 0.125846, 1e-4);
  for (int r = 0; r < 256; r += 15)
    for (int g = 0; g < 256; g += 17)
      for (int b = 0; b < 256; b += 51) {
        const Colour c{static_cast<std::uint8_t>(r), static_cast<std::uint8_t>(g), static_cast<std::uint8_t>(b)};
        ASSERT_EQ(from_oklab(to_oklab(c)), c);
      }
}

TEST(ColourMap, SequentialMapsGetLighterAllTheWay) {
  for (const ColourMap map : {ColourMap::gray, ColourMap::viridis, ColourMap::inferno})
    for (std::size_t i = 1; i < 256; ++i)  // a step of 8-bit rounding is allowed to go back by less than one level
      EXPECT_GT(to_oklab(table(map)[i]).L, to_oklab(table(map)[i - 1]).L - 0.003) << i;
  EXPECT_EQ(table(ColourMap::gray)[0], (Colour{0, 0, 0}));
  EXPECT_EQ(table(ColourMap::gray)[255], (Colour{255, 255, 255}));
  EXPECT_EQ(table(ColourMap::viridis)[0], (Colour{68, 1, 84}));
  EXPECT_EQ(table(ColourMap::viridis)[255], (Colour{253, 231, 37}));
}

TEST(ColourMap, DivergingIsLightestInTheMiddleAndEvenOnBothSides) {
  const auto& map = table(ColourMap::diverging);
  for (std::size_t i = 1; i < 128; ++i) {
    EXPECT_GT(to_oklab(map[i]).L, to_oklab(map[i - 1]).L - 0.004);
    EXPECT_LT(to_oklab(map[i + 128]).L, to_oklab(map[i + 127]).L + 0.004);
  }
  EXPECT_NEAR(to_oklab(map[0]).L, to_oklab(map[255]).L, 0.02);
}

TEST(ColourMap, PhaseClosesAndGoesRoundEvenly) {
  const auto& map = table(ColourMap::phase);
  // Over 8 entries a step is about 0.026 and 8-bit rounding about 0.003, so that an even map stays within 25 %.
  double mean = 0;
  for (std::size_t i = 0; i < 256; ++i) mean += distance(map[i], map[(i + 8) % 256]) / 256;
  for (std::size_t i = 0; i < 256; ++i) EXPECT_NEAR(distance(map[i], map[(i + 8) % 256]), mean, 0.25 * mean) << i;
  EXPECT_LT(distance(map[255], map[0]), mean / 2);
  EXPECT_EQ(colour_at(ColourMap::phase, -0.25), colour_at(ColourMap::phase, 0.75));
  EXPECT_EQ(colour_at(ColourMap::phase, 1.0), colour_at(ColourMap::phase, 0.0));
  // Opposite phases must not be confused.
  for (std::size_t i = 0; i < 128; ++i) EXPECT_GT(distance(map[i], map[i + 128]), 0.18);
}

TEST(ColourMap, OtherMapsClip) {
  EXPECT_EQ(colour_at(ColourMap::gray, -3), (Colour{0, 0, 0}));
  EXPECT_EQ(colour_at(ColourMap::gray, 1e30), (Colour{255, 255, 255}));
}

TEST(ComplexColour, OneLightnessForAllPhases) {
  for (int i = 0; i < 64; ++i) {
    const double phase = 2 * std::numbers::pi * i / 64;
    EXPECT_NEAR(to_oklab(complex_colour(phase, 1)).L, 0.76, 0.015) << phase;
    EXPECT_EQ(complex_colour(phase, 0), (Colour{0, 0, 0}));
    EXPECT_LT(to_oklab(complex_colour(phase, 0.4)).L, to_oklab(complex_colour(phase, 0.6)).L);
  }
}

}  // namespace
}  // namespace farfield::plot
