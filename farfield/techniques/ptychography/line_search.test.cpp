#include "farfield/techniques/ptychography/line_search.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace farfield::techniques::ptychography {
namespace {

TEST(LineSearch, RootOfAParabolaIsExact) {
  int calls = 0;
  const auto slopes = [&](const Trials& t) {
    ++calls;
    Trials v;
    for (std::size_t k = 0; k < t.size(); ++k) v[k] = (t[k] - 0.83) * (t[k] + 3);
    return v;
  };
  EXPECT_NEAR(find_root(slopes, -0.83 * 3, 1), 0.83, 1e-12);
  EXPECT_EQ(calls, 1);
}

TEST(LineSearch, FindsTheFirstMinimumFromAPoorGuess) {
  // tanh is far from a parabola; the interpolation error falls with the spread of the trials about the root.
  for (const double root : {3e-3, 0.2, 7.0, 4e3}) {
    const auto slopes = [&](const Trials& t) {
      Trials v;
      for (std::size_t k = 0; k < t.size(); ++k) v[k] = std::tanh(t[k] / root - 1);
      return v;
    };
    const double coarse = find_root(slopes, std::tanh(-1), 1);
    EXPECT_NEAR(find_root(slopes, std::tanh(-1), coarse), root, 0.03 * root);
  }
}

TEST(LineSearch, NoDescentNoStep) {
  EXPECT_EQ(find_root([](const Trials&) { return Trials{1, 2}; }, 1, 1), 0);
}

TEST(LineSearch, AnEndlessDescentEnds) {
  const double step = find_root([](const Trials&) { return Trials{-1, -1}; }, -1, 1);
  EXPECT_TRUE(std::isfinite(step));
  EXPECT_GT(step, 1);
}

}  // namespace
}  // namespace farfield::techniques::ptychography
