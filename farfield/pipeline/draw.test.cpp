#include "farfield/pipeline/draw.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace farfield::pipeline {
namespace {

using core::AnyArray;
using core::Array;

std::vector<std::string> names(const model::Product& product) {
  std::vector<std::string> out;
  for (const auto& picture : draw(product)) {
    EXPECT_GE(picture.bytes.size(), 8U);
    EXPECT_EQ(static_cast<unsigned char>(picture.bytes[1]), 'P') << picture.name << " is no PNG";
    out.push_back(picture.name);
  }
  return out;
}

using Names = std::vector<std::string>;

Array<double, 1> curve(std::initializer_list<double> values) {
  Array<double, 1> out({static_cast<core::Index>(values.size())});
  std::copy(values.begin(), values.end(), out.begin());
  return out;
}

TEST(Draw, TypeAndAxesDecide) {
  model::Product p;
  Array<core::cfloat, 2> object({12, 16}, {1.0F, 0.5F});
  Array<core::cfloat, 3> probe({2, 8, 8}, {1.0F, 0.0F});
  Array<float, 2> image({5, 7}, 1.0F);
  image(1, 1) = NAN;
  Array<double, 2> positions({4, 2});
  for (core::Index i = 0; i < 4; ++i) positions(i, 0) = static_cast<double>(i * i);
  p.datasets.push_back({"object", AnyArray(object), "", {"y", "x"}});
  p.datasets.push_back({"probe", AnyArray(probe), "", {"mode", "y", "x"}});
  p.datasets.push_back({"mean", AnyArray(image), "counts", {"y", "x"}});
  p.datasets.push_back({"positions", AnyArray(positions), "px", {"frame", "yx"}});
  p.datasets.push_back({"recorded", AnyArray(positions), "px", {"frame", "yx"}});
  p.datasets.push_back({"cube", AnyArray(Array<float, 3>({2, 2, 2})), "", {"a", "b", "c"}});
  p.datasets.push_back({"hidden", AnyArray(image), "", {"y", "x"}, "", "none"});
  p.datasets.push_back({"empty", AnyArray(Array<float, 2>({0, 4})), "", {"y", "x"}});
  EXPECT_EQ(names(p), (Names{"object_phase.png", "object_amplitude.png", "probe.png", "mean.png", "positions.png"}));
}

TEST(Draw, CurvesOverOneAxisShareAPictureExceptOverIterations) {
  model::Product p;
  p.datasets.push_back({"cost", AnyArray(curve({3, 2, 1})), "", {"iteration"}});
  p.datasets.push_back({"r_factor", AnyArray(curve({0.3, 0.2, 0.1})), "", {"iteration"}});
  p.datasets.push_back({"iteration_seconds", AnyArray(curve({1, 2, 3})), "s", {"iteration"}});
  p.datasets.push_back({"frequency", AnyArray(curve({0.1, 0.2})), "1/px", {"ring"}});
  p.datasets.push_back({"frc", AnyArray(curve({1, 0.5})), "", {"ring"}});
  p.datasets.push_back({"half_bit", AnyArray(curve({1, 0.3})), "", {"ring"}});
  EXPECT_EQ(names(p), (Names{"cost.png", "r_factor.png", "frc.png"}));
}

TEST(Draw, FamiliesOfCurvesAndMaps) {
  model::Product p;
  Array<double, 2> g2({3, 20}, 1.5), c2({700, 700}, 1.0), dark({3, 4}, NAN);
  c2(3, 5) = NAN;
  p.datasets.push_back({"delay", AnyArray(curve({1, 2, 4})), "frames", {"delay"}, "", "abscissa-log"});
  p.datasets.push_back({"g2", AnyArray(g2), "", {"delay", "q"}, "", "curves"});
  p.datasets.push_back({"g2_error", AnyArray(g2), "", {"delay", "q"}, "", "error"});
  p.datasets.push_back({"c2_00001", AnyArray(c2), "", {"t1", "t2"}, "", "image"});
  p.datasets.push_back({"dark", AnyArray(dark), "", {"delay", "q"}, "", "curves"});
  EXPECT_EQ(names(p), (Names{"g2.png", "c2_00001.png"}));
  model::Product many;
  for (int i = 0; i < 10; ++i)
    many.datasets.push_back(
        {std::to_string(i), AnyArray(Array<float, 2>({6, 6}, 1.0F)), "", {"t1", "t2"}, "", "image"});
  EXPECT_EQ(names(many), (Names{"0.png", "3.png", "6.png", "9.png"}));
}

TEST(Draw, AModelIsDrawnWithItsCurves) {
  model::Product p;
  Array<double, 2> g2({3, 2}, 1.5), fit({3, 2}, 1.4);
  p.datasets.push_back({"g2", AnyArray(g2), "", {"delay", "q"}, "", "curves"});
  const auto alone = draw(p);
  p.datasets.push_back({"g2_fit", AnyArray(fit), "", {"delay", "q"}, "", "model"});
  p.datasets.push_back({"residual_fit", AnyArray(fit), "", {"delay", "q"}, "", "model"});
  const auto both = draw(p);
  ASSERT_EQ(both.size(), 1U);
  EXPECT_NE(both[0].bytes, alone[0].bytes);
}

TEST(Draw, TheValidRegionCutsThePictureAndIsNotDrawnItself) {
  model::Product p;
  Array<core::cfloat, 2> object({200, 200}, {1.0F, 0.0F});
  p.datasets.push_back({"object", AnyArray(object), "", {"y", "x"}});
  const auto whole = draw(p);
  Array<std::uint8_t, 2> valid({200, 200});
  for (core::Index y = 90; y < 110; ++y)
    for (core::Index x = 90; x < 110; ++x) valid(y, x) = 1;
  p.datasets.push_back({"object_valid", AnyArray(valid), "", {"y", "x"}, "", "valid"});
  const auto cut = draw(p);
  ASSERT_EQ(cut.size(), 2U);
  EXPECT_NE(cut[0].bytes, whole[0].bytes);
}

TEST(Draw, AWeightCutsAsWell) {
  model::Product p;
  Array<core::cfloat, 2> object({200, 200}, {1.0F, 0.0F});
  Array<float, 2> weight({200, 200}, 0.01F);
  for (core::Index y = 90; y < 110; ++y)
    for (core::Index x = 90; x < 110; ++x) weight(y, x) = 100;
  p.datasets.push_back({"object", AnyArray(object), "", {"y", "x"}});
  const auto whole = draw(p);
  p.datasets.push_back({"illumination", AnyArray(weight), "counts", {"y", "x"}, "", "weight"});
  const auto cut = draw(p);
  EXPECT_EQ(cut.back().name, "illumination.png");
  EXPECT_NE(cut[0].bytes, whole[0].bytes);
}

TEST(Draw, NothingToShowIsNoError) {
  model::Product p;
  p.datasets.push_back({"flat", AnyArray(Array<float, 2>({3, 3}, NAN)), "", {"y", "x"}});
  p.datasets.push_back({"one", AnyArray(curve({1})), "", {"iteration"}});
  p.datasets.push_back({"bad", AnyArray(curve({NAN, INFINITY})), "", {"iteration"}});
  EXPECT_EQ(names(p), (Names{"flat.png", "one.png", "bad.png"}));
}

TEST(Draw, ANameDoesNotLeadOutOfTheFolder) {
  model::Product p;
  p.datasets.push_back({"../../x", AnyArray(Array<float, 2>({3, 3})), "", {"y", "x"}});
  EXPECT_EQ(names(p), Names{".._.._x.png"});
}

}  // namespace
}  // namespace farfield::pipeline
