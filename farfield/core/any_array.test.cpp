#include "farfield/core/any_array.hpp"

#include <gtest/gtest.h>

#include <rapidcheck/gtest.h>
#include <cmath>
#include <cstdint>
#include <limits>

namespace farfield::core {
namespace {

const std::vector<DType> kAll{DType::u8,  DType::u16, DType::u32, DType::u64, DType::i8,  DType::i16,
                              DType::i32, DType::i64, DType::f32, DType::f64, DType::c64, DType::c128};

TEST(DType, NamesSizesAndTypesAgree) {
  for (const DType type : kAll) {
    visit_dtype(type, [&](auto v) {
      EXPECT_EQ(dtype_of<decltype(v)>, type);
      EXPECT_EQ(item_size(type), static_cast<Index>(sizeof v));
    });
    EXPECT_NE(name(type), "unknown");
    // The number in the name is the size in bits.
    const std::string text(name(type));
    EXPECT_EQ(std::stoll(text.substr(text.find_first_of("0123456789"))), 8 * item_size(type)) << text;
  }
}

TEST(AnyArray, KeepsTypeShapeAndElements) {
  Array<std::uint16_t, 2> source({2, 3});
  for (Index i = 0; i < 6; ++i) source.data()[i] = static_cast<std::uint16_t>(i * 100);
  const AnyArray any(source);
  EXPECT_EQ(any.dtype(), DType::u16);
  EXPECT_EQ(any.shape(), (std::vector<Index>{2, 3}));
  EXPECT_EQ(any.bytes(), 12);
  EXPECT_EQ((any.view<std::uint16_t, 2>()(1, 2)), 500);
}

TEST(AnyArray, TakesAStridedViewInOrder) {
  Array<int, 2> image({4, 5});
  for (Index i = 0; i < 20; ++i) image.data()[i] = static_cast<int>(i);
  const AnyArray any(image.view().window({1, 2}, {2, 2}));
  const auto v = any.view<int, 2>();
  EXPECT_EQ(v(0, 0), 7);
  EXPECT_EQ(v(0, 1), 8);
  EXPECT_EQ(v(1, 0), 12);
  EXPECT_EQ(v(1, 1), 13);
}

TEST(AnyArray, CopiesShareAndClonesDoNot) {
  AnyArray a(DType::f64, {2});
  const AnyArray shared = a, apart = a.clone();
  a.view<double, 1>()(1) = 5;
  EXPECT_EQ((shared.view<double, 1>()(1)), 5);
  EXPECT_EQ((apart.view<double, 1>()(1)), 0);
}

TEST(AnyArray, ScalarHasOneElementAndAnEmptyOneNone) {
  const AnyArray scalar(DType::f32, {}), none, flat(DType::u8, {0, 4});
  EXPECT_EQ(scalar.size(), 1);
  EXPECT_EQ(none.size(), 0);
  EXPECT_EQ(none.bytes(), 0);
  EXPECT_TRUE(none.empty());
  EXPECT_TRUE(none.clone().empty());
  EXPECT_EQ(flat.size(), 0);
  EXPECT_FALSE(flat.empty());
}

TEST(AnyArray, WrongTypeOrRankIsABug) {
  const AnyArray a(DType::f32, {2, 2});
  EXPECT_THROW((a.view<double, 2>()), Error);
  EXPECT_THROW((a.view<float, 1>()), Error);
  EXPECT_THROW((a.to<float, 3>()), Error);
  EXPECT_THROW((AnyArray().view<float, 1>()), Error);
}

TEST(AnyArray, RefusesShapesThatNoMemoryHolds) {
  EXPECT_THROW(AnyArray(DType::u8, {-1}), Error);
  EXPECT_THROW(AnyArray(DType::c128, {Index{1} << 31, Index{1} << 31}), Error);
}

template <class To, class From>
To converted(From v) {
  AnyArray a(dtype_of<From>, {1});
  a.view<From, 1>()(0) = v;
  return a.to<To, 1>()(0);
}

TEST(AnyArray, ConversionToIntegersSaturates) {
  constexpr auto nan = std::numeric_limits<double>::quiet_NaN();
  constexpr auto inf = std::numeric_limits<double>::infinity();
  EXPECT_EQ((converted<std::uint16_t>(65535.9)), 65535);
  EXPECT_EQ((converted<std::uint16_t>(65536.0)), 65535);
  EXPECT_EQ((converted<std::uint16_t>(-3.0)), 0);
  EXPECT_EQ((converted<std::int8_t>(-128.0)), -128);
  EXPECT_EQ((converted<std::int8_t>(-1e9)), -128);
  EXPECT_EQ((converted<std::int64_t>(1e19)), std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ((converted<std::uint64_t>(inf)), std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ((converted<std::int32_t>(-inf)), std::numeric_limits<std::int32_t>::min());
  EXPECT_EQ((converted<std::int32_t>(nan)), 0);
  EXPECT_EQ((converted<std::uint8_t>(std::int32_t{-1})), 0);
  EXPECT_EQ((converted<std::int16_t>(std::uint64_t{1} << 40)), 32767);
  EXPECT_EQ((converted<std::uint16_t>(cfloat(7.5F, 3.0F))), 7);
}

TEST(AnyArray, ConversionKeepsComplexNumbers) {
  EXPECT_EQ((converted<cdouble>(cfloat(1.5F, -2.0F))), cdouble(1.5, -2.0));
  EXPECT_EQ((converted<cfloat>(3.0)), cfloat(3.0F, 0.0F));
  EXPECT_EQ((converted<float>(cdouble(1.5, -2.0))), 1.5F);
}

// What the wider type holds comes back whole.
RC_GTEST_PROP(AnyArray, WideningRoundTrips, (std::int32_t v)) {
  RC_ASSERT((converted<std::int32_t>(converted<double>(v)) == v));
  RC_ASSERT((converted<std::int32_t>(converted<std::int64_t>(v)) == v));
  RC_ASSERT((converted<std::int32_t>(converted<cdouble>(v)) == v));
}

TEST(AnyImage, SeesRowsWithTheirStride) {
  Array<std::uint8_t, 2> wide({3, 10});
  wide(2, 4) = 9;
  const auto image = AnyImage::of<std::uint8_t>(wide.view().window({1, 2}, {2, 5}));
  EXPECT_EQ(image.ny, 2);
  EXPECT_EQ(image.nx, 5);
  EXPECT_EQ((image.view<std::uint8_t>()(1, 2)), 9);
  EXPECT_THROW(image.view<float>(), Error);
}

TEST(AnyImage, RefusesPixelsThatAreNotNeighbours) {
  Array<float, 2> image({4, 4});
  const View<const float, 2> every_other(image.data(), {4, 2}, {4, 2});
  EXPECT_THROW(AnyImage::of<float>(every_other), Error);
}

}  // namespace
}  // namespace farfield::core
