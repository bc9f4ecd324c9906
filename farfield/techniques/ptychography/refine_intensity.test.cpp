#include "farfield/techniques/ptychography/refine_intensity.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "farfield/techniques/ptychography/refine_testing.hpp"

namespace farfield::techniques::ptychography {
namespace {

using testing::small_scan;
using testing::SmallScan;

TEST(RefineIntensity, FindsAnUnsteadyBeam) {
  const auto simulation = small_scan({{"phantom", std::string("random")}, {"intensity-fluctuation", 0.2}});
  SmallScan steady(simulation), fitted(simulation);
  double without = 0, with = 0;
  for (int i = 0; i < 20; ++i) {
    without = steady.pass();
    with = fitted.pass({.intensity = i >= 3});
  }
  const double floor = fitted.truth.metrics.at("noise_floor");
  EXPECT_GT(without, 5 * floor);
  EXPECT_LT(with, floor);
  const auto truth = fitted.truth.find("intensity")->data.to<double, 1>();
  double mean_truth = 0, mean = 0, error2 = 0;
  for (const Index slot : fitted.slots()) mean_truth += truth(slot) / 120;
  for (const Index slot : fitted.slots()) {
    const double a = static_cast<double>(fitted.state.amplitude[static_cast<std::size_t>(slot)]);
    mean += a * a / 120;
    error2 += std::pow(a * a - truth(slot) / mean_truth, 2) / 120;
  }
  EXPECT_NEAR(mean, 1, 1e-5);
  // The counts of a pattern determine its factor to 0.2 %; an object that is a little darker here than there is the
  // same as a beam that is a little stronger, and only overlap tells them apart.
  EXPECT_LT(std::sqrt(error2), 0.04);
}

TEST(RefineIntensity, FactorsGoAThirdOfTheWayAndTheModelKeepsItsScale) {
  // One pattern's counts are four times the model everywhere else equal: factor 2 on the amplitude.
  State state;
  state.shape = {4, 4};
  state.probe = core::Array<cfloat, 3>({1, 4, 4}, cfloat{1, 0});
  Patterns patterns(state.shape, core::DType::u8);
  for (Index i = 0; i < 5; ++i) {
    patterns.add(i);
    patterns.set_position(i, static_cast<double>(i), 0);
  }
  cover(state, patterns, {1, 0}, 0);
  std::vector<Observation> o(5);
  for (auto& one : o) one.sums = {.model_intensity = 100, .measured_intensity = 100};
  o[1].sums = {.cost = 100, .model_intensity = 100, .measured_intensity = 400};  // sum (2 a - a)^2 = sum a^2
  o[2].sums = {.cost = 100, .model_intensity = 100, .measured_intensity = 0};    // no counts: best factor 0
  o[3].sums = {};                                                                // no light in the model
  Sharing alone;
  refine_intensity(state, patterns.ready(), o, alone);
  const float scale = state.amplitude[0];
  EXPECT_NEAR(state.amplitude[1] / scale, 1.3, 1e-5);
  EXPECT_NEAR(state.amplitude[2] / scale, 0.7, 1e-5);
  EXPECT_NEAR(state.amplitude[3] / scale, 1, 1e-5);
  EXPECT_NEAR(scale * std::abs(state.probe.data()[0]), 1, 1e-5);  // the model of pattern 0 is as before
  double mean = 0;
  for (const float a : state.amplitude) mean += static_cast<double>(a * a) / 5;
  EXPECT_NEAR(mean, 1, 1e-6);
}

}  // namespace
}  // namespace farfield::techniques::ptychography
