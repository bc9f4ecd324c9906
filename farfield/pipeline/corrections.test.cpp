#include "farfield/pipeline/corrections.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace farfield::pipeline {
namespace {

using core::Array;

model::Acquisition scan(Index ny, Index nx) {
  model::Acquisition a;
  a.detector.ny = ny;
  a.detector.nx = nx;
  a.detector.dtype = core::DType::u16;
  a.detector.pixel_size_y_m = a.detector.pixel_size_x_m = 75e-6;
  return a;
}

/// image(y, x) = 10 y + x
Array<std::uint16_t, 2> ramp(Index ny, Index nx) {
  Array<std::uint16_t, 2> image({ny, nx});
  for (Index y = 0; y < ny; ++y)
    for (Index x = 0; x < nx; ++x) image(y, x) = static_cast<std::uint16_t>(10 * y + x);
  return image;
}

struct Corrected {
  core::AnyImage image;
  Array<std::byte, 1> bytes;
};
Corrected apply(const Corrector& corrector, const core::AnyImage& image) {
  Corrected out;
  out.bytes = Array<std::byte, 1>({corrector.frame_bytes()});
  out.image = corrector.apply(image, out.bytes.data());
  return out;
}

core::ErrorCode error_of(const model::Acquisition& a, const CorrectionOptions& options) {
  try {
    const Corrector corrector(a, options);
  } catch (const core::Error& e) {
    return e.code();
  }
  ADD_FAILURE() << "no error";
  return core::ErrorCode::internal;
}

TEST(Corrections, WithoutAnyFramesPassUnchanged) {
  const Corrector corrector(scan(3, 4), {});
  const auto image = ramp(3, 4);
  const auto out = apply(corrector, core::AnyImage::of<std::uint16_t>(image.view()));
  EXPECT_EQ(out.image.dtype, core::DType::u16);
  for (Index y = 0; y < 3; ++y)
    for (Index x = 0; x < 4; ++x) EXPECT_EQ(out.image.view<std::uint16_t>()(y, x), image(y, x));
}

TEST(Corrections, CropKeepsTypeAndTakesTheMaskAlong) {
  auto a = scan(5, 6);
  a.detector.pixel_mask = Array<std::uint32_t, 2>({5, 6});
  a.detector.pixel_mask(2, 3) = 7;
  const Corrector corrector(a, {.crop = Crop{1, 2, 3, 2}});
  const auto image = ramp(5, 6);
  const auto out = apply(corrector, core::AnyImage::of<std::uint16_t>(image.view()));
  const auto pixels = out.image.view<std::uint16_t>();
  EXPECT_EQ(pixels(0, 0), 12);
  EXPECT_EQ(pixels(2, 1), 33);
  EXPECT_EQ(corrector.acquisition().detector.pixel_mask(1, 1), 7U);
  EXPECT_EQ(*corrector.acquisition().detector.pixel_size_y_m, 75e-6);
}

TEST(Corrections, DarkAndFlat) {
  auto a = scan(2, 2);
  Array<float, 2> dark({2, 2}, 1.0F), flat({2, 2}, 2.0F);
  flat(0, 1) = 0;
  dark(1, 0) = NAN;
  a.inputs["dark"] = core::AnyArray(dark);
  a.inputs["flat"] = core::AnyArray(flat);
  const Corrector corrector(a, {});
  const auto image = ramp(2, 2);
  const auto out = apply(corrector, core::AnyImage::of<std::uint16_t>(image.view()));
  EXPECT_EQ(out.image.view<float>()(0, 0), -0.5F);
  EXPECT_EQ(out.image.view<float>()(1, 1), 5.0F);
  const auto& mask = corrector.acquisition().detector.pixel_mask;
  EXPECT_EQ(mask(0, 0), 0U);
  EXPECT_EQ(mask(0, 1), model::pixel_mask::kDead);
  EXPECT_EQ(mask(1, 0), model::pixel_mask::kDead);
  EXPECT_FALSE(corrector.acquisition().inputs.contains("dark")) << "used up: nobody may subtract it again";
  EXPECT_EQ(corrector.acquisition().detector.dtype, core::DType::f32);
}

TEST(Corrections, BinSumsAndPassesMaskAndPixelSizeOn) {
  auto a = scan(4, 4);
  a.detector.pixel_mask = Array<std::uint32_t, 2>({4, 4});
  a.detector.pixel_mask(3, 0) = model::pixel_mask::kGap;
  const Corrector corrector(a, {.bin = 2});
  const auto image = ramp(4, 4);
  const auto out = apply(corrector, core::AnyImage::of<std::uint16_t>(image.view()));
  EXPECT_EQ(out.image.view<float>()(0, 0), 0 + 1 + 10 + 11);
  EXPECT_EQ(out.image.view<float>()(1, 1), 22 + 23 + 32 + 33);
  EXPECT_EQ(corrector.acquisition().detector.pixel_mask(1, 0), model::pixel_mask::kGap);
  EXPECT_EQ(corrector.acquisition().detector.pixel_mask(1, 1), 0U);
  EXPECT_DOUBLE_EQ(*corrector.acquisition().detector.pixel_size_x_m, 150e-6);
}

TEST(Corrections, ASaturatedPixelStaysRecognisableAndNoOtherLooksLikeIt) {
  auto a = scan(2, 4);
  a.detector.saturation_counts = 100;
  Array<float, 2> flat({2, 4}, 1.0F);
  flat(0, 0) = 0.5F;
  a.inputs["flat"] = core::AnyArray(flat);
  const Corrector corrector(a, {.bin = 2});
  Array<std::uint16_t, 2> image({2, 4}, 99);  // the highest counts that are not saturated
  image(1, 2) = 100;
  const auto out = apply(corrector, core::AnyImage::of<std::uint16_t>(image.view()));
  const double saturation = *corrector.acquisition().detector.saturation_counts;
  EXPECT_LT(out.image.view<float>()(0, 0), saturation);
  EXPECT_GE(out.image.view<float>()(0, 1), saturation);
}

/// Sparse frame of 2 x 3 pixels: (0, 1) = 5, (1, 2) = 7 in two parts.
struct SparseFrame {
  std::vector<model::PixelCount> events{{1, 5}, {5, 4}, {5, 3}};
  model::FrameView view() const { return {9, {}, {2, 3, events}}; }
};

TEST(Corrections, SparseFramesStaySparseWhereTheTechniqueTakesThem) {
  const Corrector corrector(scan(2, 3), {.crop = Crop{0, 1, 2, 2}, .sparse = true});
  const SparseFrame frame;
  std::vector<std::byte> out(static_cast<std::size_t>(corrector.bytes_of(frame.view()))), scratch;
  const auto cut = corrector.apply(frame.view(), out.data(), scratch);
  ASSERT_TRUE(cut.is_sparse());
  EXPECT_EQ(cut.id, 9);
  ASSERT_EQ(cut.sparse.events.size(), 3U);
  EXPECT_EQ(cut.sparse.events[0].pixel, 0U);
  EXPECT_EQ(cut.sparse.events[2].pixel, 3U);
  EXPECT_EQ(cut.sparse.events[2].count, 3U);
}

TEST(Corrections, SparseFramesBecomeDenseForAllOthers) {
  for (const bool sparse : {false, true}) {
    auto a = scan(2, 3);
    if (sparse) a.inputs["flat"] = core::AnyArray(Array<float, 2>({2, 3}, 1.0F));  // arithmetic wants images
    const Corrector corrector(a, {.sparse = sparse});
    const SparseFrame frame;
    std::vector<std::byte> out(static_cast<std::size_t>(corrector.bytes_of(frame.view()))), scratch;
    const auto whole = corrector.apply(frame.view(), out.data(), scratch);
    ASSERT_FALSE(whole.is_sparse());
    ASSERT_EQ(whole.image.dtype, sparse ? core::DType::f32 : core::DType::u16);
    const double value = sparse ? static_cast<double>(whole.image.view<float>()(1, 2))
                                : static_cast<double>(whole.image.view<std::uint16_t>()(1, 2));
    EXPECT_EQ(value, 7);
  }
}

TEST(Corrections, RefusesEventsThatCannotBe) {
  const Corrector corrector(scan(2, 3), {});
  std::vector<std::byte> out(static_cast<std::size_t>(corrector.frame_bytes())), scratch;
  SparseFrame outside, many, shape;
  outside.events.push_back({6, 1});
  many.events.push_back({5, 65535});  // u16 frames: the sum does not fit, and is not wrapped
  EXPECT_THROW(corrector.apply(outside.view(), out.data(), scratch), core::Error);
  EXPECT_THROW(corrector.apply(many.view(), out.data(), scratch), core::Error);
  auto turned = shape.view();
  std::swap(turned.sparse.ny, turned.sparse.nx);
  EXPECT_THROW(corrector.apply(turned, out.data(), scratch), core::Error);
}

TEST(Corrections, RefusesWhatCannotBe) {
  using enum core::ErrorCode;
  EXPECT_EQ(error_of(scan(4, 4), {.crop = Crop{2, 0, 3, 4}}), invalid_argument);
  EXPECT_EQ(error_of(scan(4, 4), {.crop = Crop{-1, 0, 2, 2}}), invalid_argument);
  EXPECT_EQ(error_of(scan(4, 4), {.crop = Crop{INT64_MAX, 0, 2, 2}}), invalid_argument);
  EXPECT_EQ(error_of(scan(4, 4), {.bin = 3}), invalid_argument);
  EXPECT_EQ(error_of(scan(4, 4), {.bin = 0}), invalid_argument);
  auto corner = scan(4, 4);
  corner.detector.dc = model::DcLocation::corner;
  EXPECT_EQ(error_of(corner, {.bin = 2}), unsupported);
  auto pixels = scan(4, 4);
  pixels.scan.unit = model::PositionUnit::pixels;
  EXPECT_EQ(error_of(pixels, {.bin = 2}), unsupported);
  auto wrong = scan(4, 4);
  wrong.inputs["dark"] = core::AnyArray(Array<float, 2>({4, 3}));
  EXPECT_EQ(error_of(wrong, {}), corrupt_data);
  const Corrector corrector(scan(4, 4), {});
  const auto small = ramp(4, 3);
  EXPECT_THROW(apply(corrector, core::AnyImage::of<std::uint16_t>(small.view())), core::Error);
}

/// A scan with a table as DECTRIS detectors send it, (measured, true).
model::Acquisition with_table(std::vector<std::array<float, 2>> pairs) {
  auto a = scan(1, 6);
  Array<float, 2> table({static_cast<Index>(pairs.size()), 2});
  for (Index i = 0; i < table.extent(0); ++i)
    for (Index k = 0; k < 2; ++k) table(i, k) = pairs[static_cast<std::size_t>(i)][static_cast<std::size_t>(k)];
  a.inputs["countrate"] = core::AnyArray(table);
  return a;
}

TEST(Corrections, CountsThatWereMissedAreAdded) {
  auto a = with_table({{0, 0}, {10, 10}, {20, 30}, {40, 100}});
  a.detector.saturation_counts = 65535;
  const Corrector corrector(a, {});
  EXPECT_FALSE(corrector.acquisition().inputs.contains("countrate")) << "it is used up";
  Array<std::uint16_t, 2> image({1, 6});
  const std::uint16_t measured[] = {0, 5, 15, 40, 41, 65535};
  std::copy(std::begin(measured), std::end(measured), image.begin());
  const auto out = apply(corrector, core::AnyImage::of<std::uint16_t>(image.view()));
  const auto counts = out.image.view<float>();
  EXPECT_EQ(counts(0, 0), 0);
  EXPECT_EQ(counts(0, 1), 5);
  EXPECT_EQ(counts(0, 2), 20);
  EXPECT_EQ(counts(0, 3), 100);
  const double limit = *corrector.acquisition().detector.saturation_counts;
  EXPECT_GT(limit, 100);
  EXPECT_GE(counts(0, 4), limit) << "beyond the table nothing is known";
  EXPECT_GE(counts(0, 5), limit);
}

TEST(Corrections, TheCountRateComesBeforeTheFlatField) {
  auto a = with_table({{0, 0}, {10, 20}});
  Array<float, 2> flat({1, 6}, 0.5F);
  a.inputs["flat"] = core::AnyArray(flat);
  Array<std::uint16_t, 2> image({1, 6}, std::uint16_t{10});
  const Corrector corrector(a, {.bin = 1});
  EXPECT_EQ(apply(corrector, core::AnyImage::of<std::uint16_t>(image.view())).image.view<float>()(0, 0), 40);
  const Corrector without(a, {.flat = false, .countrate = false});
  EXPECT_TRUE(without.acquisition().inputs.contains("countrate"));
  EXPECT_EQ(without.acquisition().detector.dtype, core::DType::u16);
}

TEST(Corrections, TablesThatDoNotGrowAreRefused) {
  EXPECT_EQ(error_of(with_table({{0, 0}, {10, 10}, {10, 20}}), {}), core::ErrorCode::corrupt_data);
  EXPECT_EQ(error_of(with_table({{0, 0}, {10, 10}, {20, 9}}), {}), core::ErrorCode::corrupt_data);
  EXPECT_EQ(error_of(with_table({{0, 0}, {10, NAN}}), {}), core::ErrorCode::corrupt_data);
  auto a = scan(1, 6);
  a.inputs["countrate"] = core::AnyArray(Array<float, 2>({2, 3}));
  EXPECT_EQ(error_of(a, {}), core::ErrorCode::corrupt_data);
}

/// Pedestals and factors of every gain the same for all pixels, as GainCorrection alone would use them.
GainConstants constants(Index ny, Index nx) {
  GainConstants c{Array<float, 3>({3, ny, nx}), Array<float, 3>({3, ny, nx})};
  for (Index y = 0; y < ny; ++y)
    for (Index x = 0; x < nx; ++x)
      for (Index g = 0; g < 3; ++g) {
        c.pedestal_ADU(g, y, x) = static_cast<float>(g == 0 ? 1000 : 15000) + static_cast<float>(y * nx + x);
        c.factor(g, y, x) = g == 0 ? 0.03F : g == 1 ? -0.7F : -9.0F;
      }
  return c;
}

TEST(Corrections, GainsAreSwitchedWithinTheWindow) {
  auto a = scan(4, 4);
  const auto c = constants(4, 4);
  a.inputs["gain_pedestal"] = core::AnyArray(c.pedestal_ADU);
  auto factor = c.factor.clone();
  for (Index g = 0; g < 3; ++g) factor(g, 2, 2) = 0;
  a.inputs["gain_factor"] = core::AnyArray(factor);
  Array<std::uint16_t, 2> words({4, 4});
  for (Index y = 0; y < 4; ++y)
    for (Index x = 0; x < 4; ++x)
      words(y, x) = static_cast<std::uint16_t>(((y * 4 + x) % 2 == 0 ? 0 : 0x4000) + 2000 + 10 * y + x);
  words(1, 1) = 0xc000;  // at the end of gain 2

  Array<float, 2> oracle({4, 4});
  GainCorrection({c.pedestal_ADU.clone(), factor.clone()}).apply(words.view(), oracle.view());
  const Corrector corrector(a, {.crop = Crop{1, 1, 3, 3}});
  EXPECT_EQ(corrector.acquisition().detector.dtype, core::DType::f32);
  EXPECT_EQ(corrector.acquisition().detector.pixel_mask(1, 1), model::pixel_mask::kDead) << "no constants";
  const auto out = apply(corrector, core::AnyImage::of<std::uint16_t>(words.view()));
  const double limit = *corrector.acquisition().detector.saturation_counts;
  for (Index y = 0; y < 3; ++y)
    for (Index x = 0; x < 3; ++x) {
      const float energy = out.image.view<float>()(y, x), expected = oracle(y + 1, x + 1);
      if (std::isnan(expected)) {
        EXPECT_GE(energy, limit);
      } else {
        EXPECT_EQ(energy, expected);
        EXPECT_LT(energy, limit);
      }
    }

  a.inputs.erase("gain_factor");
  EXPECT_EQ(error_of(a, {}), core::ErrorCode::corrupt_data);
  a.inputs["gain_factor"] = core::AnyArray(Array<float, 3>({3, 4, 5}));
  EXPECT_EQ(error_of(a, {}), core::ErrorCode::corrupt_data);
  a.detector.dtype = core::DType::u32;
  EXPECT_EQ(error_of(a, {}), core::ErrorCode::unsupported);
}

}  // namespace
}  // namespace farfield::pipeline
