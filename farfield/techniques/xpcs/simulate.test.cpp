#include "farfield/techniques/xpcs/simulate.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace farfield::techniques::xpcs {
namespace {

std::vector<core::Array<std::uint16_t, 2>> frames_of(technique::Simulation& simulation) {
  std::vector<core::Array<std::uint16_t, 2>> frames;
  while (simulation.next({}, [&](const model::FrameBatch& batch) {
    for (const auto& f : batch.frames) {
      core::Array<std::uint16_t, 2> copy({f.image.ny, f.image.nx});
      std::copy_n(f.image.view<std::uint16_t>().data(), copy.size(), copy.data());
      frames.push_back(std::move(copy));
    }
  })) {}
  return frames;
}

SimulateOptions flat() {
  SimulateOptions o;
  o.frames = 400;
  o.shape = {40, 50};
  o.mean_counts = 1.5;
  o.exponent = 0;  // one relaxation time for all pixels
  o.tau_s = 0.02;
  return o;
}

/// <I(t) I(t + lag)> / <I>^2 over frames [from, to) and pixels; with `lag` = 0 without the shot noise.
double g2_of(const std::vector<core::Array<std::uint16_t, 2>>& frames, std::size_t lag, std::size_t from,
             std::size_t to) {
  double product = 0, first = 0, second = 0, n = 0;
  for (std::size_t t = from; t + lag < to; ++t)
    for (Index p = 0; p < frames[t].size(); ++p) {
      const double a = frames[t].data()[p], b = frames[t + lag].data()[p];
      product += lag == 0 ? a * (a - 1) : a * b;
      first += a;
      second += b;
      ++n;
    }
  return product * n / (first * second);
}

// 2000 pixels x 400 frames; a speckle lasts about 20 frames, so there are 40000 independent ones: 1 / sqrt(40000) of
// a contrast below 1 is 0.005, and three of that the tolerance.
TEST(XpcsSimulate, CorrelatesAsItSays) {
  for (const auto dynamics : {Dynamics::diffusive, Dynamics::ballistic})
    for (const double contrast : {0.15, 0.9}) {
      auto o = flat();
      o.dynamics = dynamics;
      o.contrast = contrast;
      const auto frames = frames_of(*make_simulation(o, 3));
      ASSERT_EQ(frames.size(), 400U);
      for (const std::size_t lag : {0, 2, 5, 10, 20, 60}) {
        const double x = static_cast<double>(lag) * o.frame_time_s / o.tau_s;
        const double g1 = dynamics == Dynamics::diffusive ? std::exp(-x) : std::exp(-x * x);
        EXPECT_NEAR(g2_of(frames, lag, 0, 400), 1 + contrast * g1 * g1, 0.015) << lag << " of " << contrast;
      }
    }
}

TEST(XpcsSimulate, CountsAsManyAsItSays) {
  auto o = flat();
  o.frames = 50;
  o.contrast = 0;
  o.dead_pixels = 30;
  o.hot_pixels = 20;
  const auto simulation = make_simulation(o, 1);
  const auto mask = simulation->acquisition().detector.pixel_mask.clone();
  double sum = 0, squares = 0, n = 0;
  Index dead = 0, hot = 0;
  for (const auto& frame : frames_of(*simulation))
    for (Index p = 0; p < frame.size(); ++p) {
      const double v = frame.data()[p];
      if (mask.data()[p] == 0) {
        sum += v;
        squares += v * v;
        ++n;
      } else {
        dead += v == 0 ? 1 : 0;
        hot += v == 60000 ? 1 : 0;
      }
    }
  EXPECT_EQ(dead, 30 * 50);
  EXPECT_EQ(hot, 20 * 50);
  // Poisson without contrast: mean and variance are the same; 97500 samples.
  EXPECT_NEAR(sum / n, 1.5, 0.02);
  EXPECT_NEAR(squares / n - sum / n * sum / n, 1.5, 0.04);
}

TEST(XpcsSimulate, AgeingSlowsDown) {
  auto o = flat();
  o.dynamics = Dynamics::ageing;
  o.contrast = 0.9;
  o.age_s = 0.1;
  o.frames = 600;
  const auto frames = frames_of(*make_simulation(o, 4));
  // g1 between t and t + lag is ((age + t) / (age + t + lag))^(age / tau).
  const auto expected = [&](double from, double to, double lag) {
    double sum = 0, n = 0;
    for (double t = from; t + lag < to; t += 1e-3, ++n) sum += std::pow((0.1 + t) / (0.1 + t + lag), 2 * 0.1 / 0.02);
    return 1 + 0.9 * sum / n;
  };
  EXPECT_NEAR(g2_of(frames, 20, 0, 100), expected(0, 0.1, 0.02), 0.03);
  EXPECT_NEAR(g2_of(frames, 20, 400, 600), expected(0.4, 0.6, 0.02), 0.06);
}

TEST(XpcsSimulate, SeedsDecideAndTruthIsTold) {
  auto o = flat();
  o.frames = 20;
  const auto a = frames_of(*make_simulation(o, 7)), b = frames_of(*make_simulation(o, 7)),
             c = frames_of(*make_simulation(o, 8));
  EXPECT_TRUE(std::equal(a[19].begin(), a[19].end(), b[19].begin()));
  EXPECT_FALSE(std::equal(a[19].begin(), a[19].end(), c[19].begin()));
  o.exponent = -2;
  const auto truth = make_simulation(o, 1)->truth();
  const auto q = truth.find("q")->data.to<double, 2>(), tau = truth.find("tau")->data.to<double, 2>();
  EXPECT_NEAR(tau(3, 4), truth.metrics.at("law_prefactor") * std::pow(q(3, 4), truth.metrics.at("law_exponent")),
              1e-12 * tau(3, 4));
  o.dynamics = Dynamics::ballistic;
  o.contrast = 1;
  EXPECT_THROW(make_simulation(o, 1), core::Error);
}

}  // namespace
}  // namespace farfield::techniques::xpcs
