#include "farfield/techniques/ptychography/modes.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "farfield/math/complex.hpp"
#include "farfield/math/random.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::Array;
using core::cdouble;
using core::cfloat;
using core::Index;

Array<cfloat, 3> random_modes(Index count, double falloff = 1) {
  math::Random random(11);
  Array<cfloat, 3> modes({count, 12, 10});
  for (Index m = 0; m < count; ++m)
    for (cfloat& v : modes[m])
      v = cfloat(cdouble(random.normal(), random.normal()) * std::pow(falloff, static_cast<double>(m)));
  return modes;
}

cdouble inner(core::View<const cfloat, 2> a, core::View<const cfloat, 2> b) {
  cdouble sum = 0;
  for (Index i = 0; i < a.size(); ++i) sum += std::conj(cdouble(a.data()[i])) * cdouble(b.data()[i]);
  return sum;
}

double intensity(const Array<cfloat, 3>& modes, Index y, Index x) {
  double sum = 0;
  for (Index m = 0; m < modes.extent(0); ++m) sum += std::norm(cdouble(modes(m, y, x)));
  return sum;
}

TEST(Modes, BecomeOrthogonalStrongestFirst) {
  auto modes = random_modes(5);
  orthogonalise(modes);
  for (Index a = 0; a < 5; ++a)
    for (Index b = 0; b < a; ++b) {
      const double aa = inner(modes[a], modes[a]).real(), bb = inner(modes[b], modes[b]).real();
      EXPECT_LT(std::abs(inner(modes[a], modes[b])), 1e-5 * std::sqrt(aa * bb));
      EXPECT_GE(bb, aa);
    }
}

TEST(Modes, MixingLeavesTheMutualIntensityAsItIs) {
  // sum_m P_m(r) conj(P_m(r')) is what any detector behind any object sees.
  auto modes = random_modes(4, 0.3);
  const auto before = modes.clone();
  orthogonalise(modes);
  for (Index y = 0; y < 12; ++y)
    for (Index x = 0; x < 10; ++x) {
      EXPECT_NEAR(intensity(modes, y, x), intensity(before, y, x), 1e-5 * (1 + intensity(before, y, x)));
      cdouble now = 0, then = 0;
      for (Index m = 0; m < 4; ++m) {
        now += cdouble(modes(m, y, x)) * std::conj(cdouble(modes(m, Index{3}, Index{4})));
        then += cdouble(before(m, y, x)) * std::conj(cdouble(before(m, Index{3}, Index{4})));
      }
      EXPECT_LT(std::abs(now - then), 2e-5);
    }
}

TEST(Modes, OrthogonalOnesAreNotTouched) {
  auto modes = random_modes(3, 0.5);
  orthogonalise(modes);
  const auto before = modes.clone();
  orthogonalise(modes);
  EXPECT_TRUE(std::equal(modes.begin(), modes.end(), before.begin()));
}

TEST(Modes, TheFirstMayStandApart) {
  auto modes = random_modes(3);
  const auto before = modes.clone();
  orthogonalise(modes, 1);
  EXPECT_TRUE(std::equal(modes[0].begin(), modes[0].end(), before.view()[0].begin()));
  EXPECT_LT(std::abs(inner(modes[1], modes[2])), 1e-3);
}

TEST(Modes, ZeroModesStayZero) {
  Array<cfloat, 3> modes({3, 4, 4});
  modes[1].data()[0] = 2;
  orthogonalise(modes);
  EXPECT_EQ(modes(Index{0}, Index{0}, Index{0}), cfloat(2));
  const auto shares = power_shares(modes);
  EXPECT_EQ(shares(0), 1);
  EXPECT_EQ(shares(1) + shares(2), 0);
  EXPECT_EQ(power_shares(Array<cfloat, 3>({2, 4, 4}))(0), 0);
}

}  // namespace
}  // namespace farfield::techniques::ptychography
