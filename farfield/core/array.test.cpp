#include "farfield/core/array.hpp"

#include <gtest/gtest.h>

#include <rapidcheck/gtest.h>
#include <cstdint>
#include <limits>
#include <numeric>

#include "farfield/core/error.hpp"
#include "farfield/core/view.hpp"

namespace farfield::core {
namespace {

Array<int, 3> counting(Index nz, Index ny, Index nx) {
  Array<int, 3> a({nz, ny, nx});
  std::iota(a.begin(), a.end(), 0);
  return a;
}

TEST(View, IndexesRowMajor) {
  const auto a = counting(2, 3, 4);
  EXPECT_EQ(a(0, 0, 3), 3);
  EXPECT_EQ(a(0, 2, 0), 8);
  EXPECT_EQ(a(1, 2, 3), 23);
  EXPECT_EQ(a.view()[1](2, 3), 23);
  EXPECT_EQ(a.view()[1][2][3], 23);
}

TEST(View, WindowKeepsTheStrides) {
  auto a = counting(1, 5, 6);
  const View<int, 2> image = a[0];
  const auto window = image.window({1, 2}, {3, 2});
  EXPECT_EQ(window.extent(0), 3);
  EXPECT_EQ(window.extent(1), 2);
  EXPECT_EQ(window(0, 0), image(1, 2));
  EXPECT_EQ(window(2, 1), image(3, 3));
  EXPECT_FALSE(window.contiguous());
  EXPECT_TRUE(image.contiguous());
  window(2, 1) = -1;
  EXPECT_EQ(a(0, 3, 3), -1);
}

TEST(View, FullRowsAndSingleRowsAreContiguous) {
  const auto a = counting(1, 5, 6);
  EXPECT_TRUE(a[0].window({1, 0}, {3, 6}).contiguous());
  EXPECT_TRUE(a[0].window({1, 2}, {1, 3}).contiguous());
  EXPECT_FALSE(a[0].window({0, 2}, {2, 3}).contiguous());
}

// Every element of a view is where the strides say, and sub-views agree with the view they come from.
RC_GTEST_PROP(View, SubViewsAgreeWithTheWhole, ()) {
  const Index nz = *rc::gen::inRange<Index>(1, 5), ny = *rc::gen::inRange<Index>(1, 6),
              nx = *rc::gen::inRange<Index>(1, 7);
  const auto a = counting(nz, ny, nx);
  const Index z = *rc::gen::inRange<Index>(0, nz), y = *rc::gen::inRange<Index>(0, ny),
              x = *rc::gen::inRange<Index>(0, nx);
  RC_ASSERT(a(z, y, x) == (z * ny + y) * nx + x);
  RC_ASSERT(a[z](y, x) == a(z, y, x));
  RC_ASSERT(a.view().window({z, y, x}, {1, 1, 1})(0, 0, 0) == a(z, y, x));
}

TEST(Array, IsZeroedAndOnACacheLine) {
  for (const Index n : {1, 7, 1000}) {
    const Array<double, 1> a({n});
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(a.data()) % 64, 0U);
    for (const double v : a) EXPECT_EQ(v, 0.0);
  }
}

TEST(Array, CloneIsDeep) {
  auto a = counting(1, 2, 2);
  const auto copy = a.clone();
  a(0, 0, 0) = 99;
  EXPECT_EQ(copy(0, 0, 0), 0);
  EXPECT_EQ(copy(0, 1, 1), 3);
}

TEST(Array, MovingEmptiesTheSource) {
  auto a = counting(1, 2, 2);
  const int* elements = a.data();
  Array<int, 3> b(std::move(a));
  EXPECT_EQ(b.data(), elements);
  EXPECT_TRUE(a.empty());  // NOLINT(bugprone-use-after-move): what is left is what is tested
  auto c = counting(3, 3, 3);
  c = std::move(b);
  EXPECT_EQ(c.data(), elements);
  EXPECT_EQ(b.data(), nullptr);  // NOLINT(bugprone-use-after-move): c's old elements are gone, not parked in b
}

TEST(Array, MayBeEmpty) {
  const Array<float, 2> none, flat({0, 7});
  EXPECT_TRUE(none.empty());
  EXPECT_TRUE(flat.empty());
  EXPECT_EQ(flat.extent(1), 7);
  EXPECT_EQ(flat.begin(), flat.end());
}

ErrorCode refusal(const Array<double, 3>::Extents& extents) {
  try {
    const Array<double, 3> a(extents);
  } catch (const Error& e) {
    return e.code();
  }
  return ErrorCode::internal;  // no array of this test may come to be
}

// Extents come from files: their product must not wrap around to something small.
TEST(Array, RefusesExtentsThatNoMemoryHolds) {
  constexpr Index kHuge = Index{1} << 32;
  EXPECT_EQ(refusal({kHuge, kHuge, 1}), ErrorCode::resource_exhausted);
  EXPECT_EQ(refusal({kHuge, kHuge, 0}), ErrorCode::resource_exhausted);
  EXPECT_EQ(refusal({std::numeric_limits<Index>::max(), 1, 1}), ErrorCode::resource_exhausted);
  EXPECT_EQ(refusal({Index{1} << 58, 1, 1}), ErrorCode::resource_exhausted);  // 2 EiB: fits an Index, not a machine
  EXPECT_EQ(refusal({2, -1, 3}), ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace farfield::core
