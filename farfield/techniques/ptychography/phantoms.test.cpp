#include "farfield/techniques/ptychography/phantoms.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "farfield/core/error.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::Index;

constexpr Phantom kAll[] = {Phantom::siemens_star, Phantom::coins, Phantom::catalyst, Phantom::random, Phantom::flat};

TEST(Phantoms, ThicknessIsFromNoneToFullAndOfOneSeed) {
  for (const Phantom phantom : kAll) {
    const auto t = phantom_thickness(phantom, 120, 150, 4), again = phantom_thickness(phantom, 120, 150, 4);
    ASSERT_EQ(t.extent(0), 120);
    ASSERT_EQ(t.extent(1), 150);
    EXPECT_TRUE(std::equal(t.begin(), t.end(), again.begin()));
    const auto [low, high] = std::minmax_element(t.begin(), t.end());
    EXPECT_GE(*low, 0.0F);
    EXPECT_LE(*high, 1.0F + 1e-6F);
    EXPECT_TRUE(phantom == Phantom::flat || *high - *low > 0.5F) << static_cast<int>(phantom);
  }
  for (const Phantom phantom : {Phantom::coins, Phantom::catalyst, Phantom::random}) {
    const auto a = phantom_thickness(phantom, 64, 64, 1), b = phantom_thickness(phantom, 64, 64, 2);
    EXPECT_FALSE(std::equal(a.begin(), a.end(), b.begin()));
  }
}

TEST(Phantoms, StarHas36SpokesOnACircle) {
  const auto t = phantom_thickness(Phantom::siemens_star, 601, 601, 0);
  const double r = 0.6 * 0.48 * 601;  // between the breaks at 0.45 and 0.70
  int edges = 0;
  constexpr int kSamples = 7200;
  const auto inside = [&](int i) {
    const double a = 2 * std::numbers::pi * i / kSamples + 1e-3;
    return t(static_cast<Index>(std::lround(300 + r * std::sin(a))),
             static_cast<Index>(std::lround(300 + r * std::cos(a)))) > 0.5F;
  };
  for (int i = 0; i < kSamples; ++i) edges += inside(i) != inside((i + 1) % kSamples);
  EXPECT_EQ(edges, 72);
}

TEST(Phantoms, TransmissionFollowsTheMaterial) {
  const auto t = phantom_thickness(Phantom::siemens_star, 100, 100, 0);
  const auto object = make_phantom(Phantom::siemens_star, 100, 100, {1.2, 0.3}, 0);
  for (Index i = 0; i < t.size(); ++i) {
    // Single precision of the stored values.
    EXPECT_NEAR(std::abs(object.data()[i]), std::pow(0.7, static_cast<double>(t.data()[i])), 1e-6);
    EXPECT_NEAR(std::arg(object.data()[i]), -1.2 * static_cast<double>(t.data()[i]), 1e-6);
  }
}

TEST(Phantoms, RefusesWhatCannotBe) {
  EXPECT_THROW(phantom_thickness(Phantom::coins, 0, 10, 0), core::Error);
  EXPECT_THROW(make_phantom(Phantom::flat, 10, 10, {1, 1.0}, 0), core::Error);
  EXPECT_THROW(make_phantom(Phantom::flat, 10, 10, {INFINITY, 0.1}, 0), core::Error);
}

}  // namespace
}  // namespace farfield::techniques::ptychography
