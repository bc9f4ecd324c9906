#include "farfield/techniques/ptychography/frc.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "farfield/core/error.hpp"
#include "farfield/math/random.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::Array;
using core::cfloat;
using core::Index;

Array<cfloat, 2> noise(Index ny, Index nx, std::uint64_t seed, bool real) {
  math::Random random(seed);
  Array<cfloat, 2> out({ny, nx});
  for (auto& v : out) v = {static_cast<float>(random.normal()), real ? 0.0F : static_cast<float>(random.normal())};
  return out;
}

Array<cfloat, 2> sum(const Array<cfloat, 2>& a, const Array<cfloat, 2>& b, float weight) {
  auto out = a.clone();
  for (Index i = 0; i < out.size(); ++i) out.data()[i] += weight * b.data()[i];
  return out;
}

TEST(RingCorrelation, OfAnImageWithItselfIsOne) {
  const auto a = noise(64, 96, 1, false);
  const auto curve = ring_correlation(a.view(), a.view(), false);
  ASSERT_EQ(curve.frc.size(), 32U);
  for (const double v : curve.frc) EXPECT_NEAR(v, 1, 1e-12);
  EXPECT_FALSE(crossing(curve, curve.one_bit));
  EXPECT_NEAR(curve.frequency.back(), 31.0 / 64, 1e-12);
}

TEST(RingCorrelation, OfIndependentNoiseScattersAsItsNumberOfValuesSays) {
  for (const bool real : {false, true}) {
    // The real part of the mean of n products of unit complex normal pairs has variance 1 / (2 n); a real image has
    // n pairs of conjugates, i.e. n independent complex values too, as `independent` counts them.
    double chi2 = 0, rings = 0;
    for (std::uint64_t seed = 0; seed < 12; ++seed) {
      const auto curve =
          ring_correlation(noise(128, 128, 2 * seed, real).view(), noise(128, 128, 2 * seed + 1, real).view(), real);
      for (std::size_t r = 4; r < curve.frc.size(); ++r, rings += 1)
        chi2 += curve.frc[r] * curve.frc[r] * 2 * curve.independent[r];
    }
    // The mean over 720 rings has a standard error of sqrt(2 / 720) = 0.053; the window ties neighbouring rings
    // together, which leaves about half of them: 0.075. Three and a half of those.
    EXPECT_NEAR(chi2 / rings, 1, 0.26) << real;
  }
}

TEST(RingCorrelation, OfTwoNoisyCopiesIsTheSignalsShare) {
  // Signal variance 1, noise variance w^2 in each: expected FRC = 1 / (1 + w^2) = 0.5 in every ring.
  const auto signal = noise(256, 256, 1, false);
  const auto a = sum(signal, noise(256, 256, 2, false), 1), b = sum(signal, noise(256, 256, 3, false), 1);
  const auto curve = ring_correlation(a.view(), b.view(), false);
  double mean = 0, weight = 0;
  for (std::size_t r = 4; r < curve.frc.size(); ++r) {
    mean += curve.frc[r] * curve.independent[r];
    weight += curve.independent[r];
  }
  // Standard error below sqrt((1 - 0.25) / (2 * 13500 values)) = 0.005.
  EXPECT_NEAR(mean / weight, 0.5, 0.025);
}

TEST(RingCorrelation, ThresholdsAreThoseOfThePaper) {
  const auto a = noise(64, 64, 1, false);
  const auto curve = ring_correlation(a.view(), a.view(), false);
  for (std::size_t r = 1; r < curve.frc.size(); ++r) {
    // Information of 1/2 and 1 bit: SNR 0.4142 and 1 of the whole data, half of it in each half: n -> infinity gives
    // 0.2071 / 1.2071 and 1/3.
    EXPECT_GT(curve.half_bit[r], 0.1716);
    EXPECT_GT(curve.one_bit[r], 1.0 / 3);
    EXPECT_GT(curve.one_bit[r], curve.half_bit[r]);
  }
  const double root = 1 / std::sqrt(curve.independent[20]);
  EXPECT_DOUBLE_EQ(curve.half_bit[20], (0.2071 + 1.9102 * root) / (1.2071 + 0.9102 * root));
}

TEST(RingCorrelation, CrossingIsInterpolatedAndTold) {
  RingCorrelation c;
  c.frequency = {0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4};
  c.frc = {0.1, 0.2, 0.9, 0.4, 0.8, 0.7, 0.1, 0.2, 0.1};
  const auto at = [&](double threshold) { return crossing(c, std::vector<double>(9, threshold)); };
  // The first two rings do not count, nor does the one at 0.15 that is alone.
  EXPECT_NEAR(*at(0.5), 0.25 + 0.05 * 0.2 / 0.6, 1e-12);
  EXPECT_FALSE(at(0.05));
  EXPECT_EQ(at(0.95), 0);
  EXPECT_NEAR(*at(0.15), 0.35 + 0.05 * 0.05 / 0.1, 1e-12);  // the last ring has none after it
}

TEST(RingCorrelation, RefusesShapes) {
  EXPECT_THROW(ring_correlation(noise(32, 32, 0, true).view(), noise(32, 33, 0, true).view(), true), core::Error);
  EXPECT_THROW(ring_correlation(noise(8, 8, 0, true).view(), noise(8, 8, 0, true).view(), true), core::Error);
}

}  // namespace
}  // namespace farfield::techniques::ptychography
