#include "farfield/techniques/ptychography/refine_background.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "farfield/techniques/ptychography/refine_testing.hpp"

namespace farfield::techniques::ptychography {
namespace {

using testing::small_scan;
using testing::SmallScan;

TEST(RefineBackground, FindsScatteringByAir) {
  // Mean 8 counts, more in the middle.
  const auto simulation = small_scan({{"phantom", std::string("random")}, {"background", 8.0}});
  SmallScan dark(simulation), fitted(simulation);
  double without = 0, with = 0;
  for (int i = 0; i < 40; ++i) {
    without = dark.pass();
    with = fitted.pass({.background = i >= 3});
  }
  const double floor = fitted.truth.metrics.at("noise_floor");
  EXPECT_GT(without, 1.5 * floor);
  // A pass judges each pattern before its own update, by a model that carries the noise of the updates before it.
  EXPECT_LT(with, 1.02 * floor);
  // Judged where it is at least half of the counts: elsewhere the pattern hides it.
  const auto truth = fitted.truth.find("background")->data.to<float, 2>();
  std::vector<double> mean(64 * 64);
  for (const Index slot : fitted.slots())
    for (std::size_t i = 0; i < mean.size(); ++i)
      mean[i] += static_cast<double>(static_cast<const std::uint16_t*>(fitted.patterns.counts(slot))[i]) / 120;
  double difference = 0, total = 0;
  int judged = 0;
  for (Index y = 0; y < 64; ++y)
    for (Index x = 0; x < 64; ++x) {
      const Index i = ((y + 32) % 64) * 64 + (x + 32) % 64;  // zero frequency in the corner
      const double b = static_cast<double>(fitted.state.background.data()[i]), t = static_cast<double>(truth(y, x));
      EXPECT_GE(b, 0);
      if (t < 0.5 * mean[static_cast<std::size_t>(i)]) continue;
      ++judged;
      total += t;
      difference += b - t;
    }
  EXPECT_GT(judged, 2000);
  // It ends low: roots of Poisson counts of 5 are low by 1/(8 sqrt(5)), 5 % of the background, and in so small a scan
  // probe and object follow a part of it (a fifth when converged, from above and from below).
  EXPECT_LT(difference / total, 0.05);
  EXPECT_GT(difference / total, -0.4);
}

TEST(RefineBackground, PoissonFixedPointIsTheMeanOfDarkPixels) {
  // No light at all: the model is the background alone, and its maximum-likelihood value the mean of the counts.
  State state;
  state.shape = {4, 4};
  state.probe = core::Array<cfloat, 3>({1, 4, 4});
  Patterns patterns(state.shape, core::DType::u16);
  for (Index i = 0; i < 3; ++i) {
    auto* tile = static_cast<std::uint16_t*>(patterns.add(i));
    for (int p = 0; p < 16; ++p) tile[p] = static_cast<std::uint16_t>(p == 0 ? 0 : 10 * p + static_cast<int>(i) * 6);
    patterns.set_position(i, static_cast<double>(i), 0);
  }
  cover(state, patterns, {1, 0}, 0);
  core::Array<float, 2> valid({4, 4}, 1.0F);
  valid(3, 3) = 0;
  const ForwardModel model(SmallScan::kernels(), operators::Propagator::far_field(4, 4, math::FftEffort::estimate),
                           patterns, valid, 0, Likelihood::poisson);
  std::vector<Workspace> workspaces;
  workspaces.emplace_back(state.shape, 1);
  Sharing alone;
  float masked = 0;
  for (int pass = 0; pass < 20; ++pass) {
    begin_background(state, patterns, patterns.ready(), workspaces, true, alone);
    masked = pass == 0 ? state.background(3, 3) : masked;
    for (const Index slot : patterns.ready()) {
      model.exit_waves(state, slot, workspaces[0]);
      model.residuals(state, slot, workspaces[0]);
    }
    refine_background(state, patterns, patterns.ready(), workspaces, Likelihood::poisson, alone);
  }
  EXPECT_EQ(state.background(0, 0), 0);
  for (int p = 1; p < 15; ++p) EXPECT_NEAR(state.background.data()[p], 10 * p + 6, 1e-3 * (10 * p + 6)) << p;
  EXPECT_EQ(state.background(3, 3), masked);
  begin_background(state, patterns, patterns.ready(), workspaces, false, alone);
  EXPECT_TRUE(workspaces[0].background_gradient.empty());
  EXPECT_FALSE(state.background.empty());
}

}  // namespace
}  // namespace farfield::techniques::ptychography
