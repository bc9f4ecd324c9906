#include "farfield/techniques/ptychography/geometry.hpp"

#include <gtest/gtest.h>

namespace farfield::techniques::ptychography {
namespace {

using core::ErrorCode;

/// 8 keV, 2 m, 64 x 128 px of 50 x 100 um.
model::Acquisition acquisition() {
  model::Acquisition a;
  a.beam.energy_eV = 8000;
  a.detector.ny = 64;
  a.detector.nx = 128;
  a.detector.distance_m = 2;
  a.detector.pixel_size_y_m = 50e-6;
  a.detector.pixel_size_x_m = 100e-6;
  a.scan.unit = model::PositionUnit::metres;
  return a;
}
constexpr double kWavelength = 1.239841984332e-6 / 8000;

TEST(Geometry, FarFieldPixelIsLambdaZOverTheDetector) {
  const Geometry g(acquisition(), {}, {64, 128});
  EXPECT_NEAR(*g.pixel_y_m(), kWavelength * 2 / (64 * 50e-6), 1e-20);
  EXPECT_NEAR(*g.pixel_x_m(), kWavelength * 2 / (128 * 100e-6), 1e-20);
  const auto at = g.position_px({{"y_m", 2 * *g.pixel_y_m()}, {"x_m", -3 * *g.pixel_x_m()}});
  EXPECT_DOUBLE_EQ(at->first, 2);
  EXPECT_DOUBLE_EQ(at->second, -3);
  EXPECT_FALSE(g.position_px({{"y_m", 1}}));
}

TEST(Geometry, BinKeepsThePixelCropEnlargesIt) {
  Options o;
  o.bin = 2;
  const Geometry binned(acquisition(), o, {32, 64}), whole(acquisition(), {}, {64, 128}),
      cropped(acquisition(), {}, {32, 32});
  EXPECT_DOUBLE_EQ(*binned.pixel_y_m(), *whole.pixel_y_m());
  EXPECT_DOUBLE_EQ(*cropped.pixel_y_m(), 2 * *whole.pixel_y_m());
  EXPECT_DOUBLE_EQ(*cropped.pixel_x_m(), 4 * *whole.pixel_x_m());
}

TEST(Geometry, RecordedPixelsAreThoseOfWholeFrames) {
  auto a = acquisition();
  a.scan.unit = model::PositionUnit::pixels;
  a.beam.energy_eV.reset();
  const Geometry cropped(a, {}, {32, 32});
  EXPECT_FALSE(cropped.pixel_y_m());
  const auto at = cropped.position_px({{"y_px", 10}, {"x_px", 20}});
  EXPECT_DOUBLE_EQ(at->first, 5);
  EXPECT_DOUBLE_EQ(at->second, 5);
}

TEST(Geometry, OptionsWinSwapAndScale) {
  auto a = acquisition();
  a.scan.unit = model::PositionUnit::pixels;
  Options o;
  o.energy_eV = 16000;
  o.distance_m = 4;
  o.detector_pixel_m = 100e-6;
  o.swap_positions = true;
  o.position_scale_y = -1;
  o.position_scale_x = 2;
  const Geometry g(a, o, {64, 128});
  EXPECT_NEAR(*g.pixel_y_m(), kWavelength / 2 * 4 / (64 * 100e-6), 1e-20);
  const auto at = g.position_px({{"y_px", 10}, {"x_px", 20}});
  EXPECT_DOUBLE_EQ(at->first, -20);
  EXPECT_DOUBLE_EQ(at->second, 20);
}

TEST(Geometry, TransposedFramesExchangeThePixelSizes) {
  Options o;
  o.transpose = true;
  const Geometry g(acquisition(), o, {128, 64});
  EXPECT_NEAR(*g.pixel_y_m(), kWavelength * 2 / (128 * 100e-6), 1e-20);
  EXPECT_NEAR(*g.pixel_x_m(), kWavelength * 2 / (64 * 50e-6), 1e-20);
}

TEST(Geometry, NearFieldPixelIsTheDetectors) {
  Options o;
  o.propagation = Propagation::angular_spectrum;
  o.bin = 2;
  const Geometry g(acquisition(), o, {32, 64});
  EXPECT_DOUBLE_EQ(*g.pixel_y_m(), 100e-6);
  EXPECT_DOUBLE_EQ(*g.pixel_x_m(), 200e-6);
  EXPECT_FALSE(g.propagator(math::FftEffort::estimate).is_far_field());
  auto a = acquisition();
  a.detector.distance_m.reset();
  try {
    Geometry(a, o, {32, 64});
    FAIL();
  } catch (const core::Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
    EXPECT_NE(std::string(e.what()).find("says: distance"), std::string::npos) << e.what();
  }
}

TEST(Geometry, MetresWithoutLengthsAreRefused) {
  auto a = acquisition();
  a.beam.energy_eV.reset();
  a.detector.distance_m.reset();
  const Geometry g(a, {}, {64, 128});
  try {
    g.position_px({{"y_m", 1e-6}, {"x_m", 1e-6}});
    FAIL();
  } catch (const core::Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
    EXPECT_NE(std::string(e.what()).find("energy, distance"), std::string::npos) << e.what();
  }
  EXPECT_THROW(g.free_space(1e-3, "option probe-defocus"), core::Error);
}

}  // namespace
}  // namespace farfield::techniques::ptychography
