#pragma once
// For the tests of the kernels: noise, and fast results beside those of the oracle.

#include <gtest/gtest.h>

#include <algorithm>
#include <complex>

#include "farfield/core/array.hpp"
#include "farfield/math/random.hpp"
#include "farfield/techniques/ptychography/kernels.hpp"

namespace farfield::techniques::ptychography::testing {

inline core::Array<cfloat, 2> noise(Index ny, Index nx, std::uint64_t seed) {
  math::Random random(seed);
  core::Array<cfloat, 2> a({ny, nx});
  for (auto& v : a) v = {static_cast<float>(random.normal()), static_cast<float>(random.normal())};
  return a;
}

/// Single-precision kernels against double-precision sums of up to 40 terms of order one: 5e-6 relative to
/// the largest value is about 40 units in the last place.
template <class T>
void expect_near(const T* a, const T* b, Index n, const char* what) {
  double largest = 0, worst = 0;
  for (Index i = 0; i < n; ++i) {
    largest = std::max<double>(largest, std::abs(b[i]));
    worst = std::max<double>(worst, std::abs(a[i] - b[i]));
  }
  EXPECT_LE(worst, 5e-6 * largest) << what;
}

/// An instruction set and a shape to test it on; skips where this machine has no such set.
struct KernelCase {
  core::Isa isa;
  Shape shape;
};
class KernelTest : public ::testing::TestWithParam<KernelCase> {
protected:
  void SetUp() override {
    if (GetParam().isa > core::isa()) GTEST_SKIP() << "this machine has no " << core::name(GetParam().isa);
  }
};

}  // namespace farfield::techniques::ptychography::testing
