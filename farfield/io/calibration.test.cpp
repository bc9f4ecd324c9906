#include "farfield/io/calibration.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "farfield/io/testing.hpp"

namespace farfield::io {
namespace {

using core::ErrorCode;
using core::Index;
using testing::caught;

/// Frames whose pixel i counts base + i in even and base + i + 2 in odd frames.
void write_scan(const std::filesystem::path& path, Index frames, std::uint16_t base, Index nx = 3) {
  model::Acquisition a;
  a.detector.ny = 2;
  a.detector.nx = nx;
  a.detector.dtype = core::DType::u16;
  ScanWriter writer(path, a, frames);
  core::Array<std::uint16_t, 2> image({2, nx});
  for (Index t = 0; t < frames; ++t) {
    for (Index i = 0; i < image.size(); ++i)
      image.data()[i] = static_cast<std::uint16_t>(base + i + (t % 2 == 1 ? 2 : 0));
    const model::FrameView frame{t, core::AnyImage::of<std::uint16_t>(image.view())};
    writer.append({&frame, 1}, {});
  }
  writer.commit();
}

TEST(Calibration, DarkAndFlatAreMeansOfScans) {
  const testing::TemporaryFolder folder;
  write_scan(folder / "scan.cxi", 3, 100);
  write_scan(folder / "dark.cxi", 4, 10);
  write_scan(folder / "flat.cxi", 2, 4);
  const auto source = with_calibrations(open_scan(folder / "scan.cxi"), (folder / "dark.cxi").string(),
                                        (folder / "flat.cxi").string(), {});
  const auto& inputs = source->acquisition().inputs;
  const auto dark = inputs.at("dark").to<float, 2>(), std = inputs.at("dark_std").to<float, 2>(),
             flat = inputs.at("flat").to<float, 2>();
  for (Index i = 0; i < 6; ++i) {
    EXPECT_FLOAT_EQ(dark.data()[i], static_cast<float>(11 + i));
    EXPECT_FLOAT_EQ(std.data()[i], std::sqrt(4.0F / 3)) << "four values, two 1 above and two 1 below their mean";
    EXPECT_FLOAT_EQ(flat.data()[i], (5.0F + static_cast<float>(i)) / 7.5F) << "5 to 10, mean 7.5";
  }
}

TEST(Calibration, OneDarkFrameHasNoDeviation) {
  const testing::TemporaryFolder folder;
  write_scan(folder / "scan.cxi", 3, 100);
  write_scan(folder / "dark.cxi", 1, 10);
  const auto source = with_calibrations(open_scan(folder / "scan.cxi"), (folder / "dark.cxi").string(), "", {});
  EXPECT_TRUE(source->acquisition().inputs.contains("dark"));
  EXPECT_FALSE(source->acquisition().inputs.contains("dark_std"));
}

TEST(Calibration, SparseFramesAreZeroElsewhere) {
  struct Sparse final : model::FrameSource {
    Sparse() { a.detector.ny = a.detector.nx = 2; }
    const model::Acquisition& acquisition() const override { return a; }
    bool next(std::stop_token, const std::function<void(const model::FrameBatch&)>& take) override {
      if (done) return false;
      const std::vector<model::PixelCount> first{{1, 2}, {1, 1}}, second{{3, 5}};  // a pixel twice: the sum
      take({{{0, {}, {2, 2, first}}, {1, {}, {2, 2, second}}}, {}, {}});
      return done = true;
    }
    model::Acquisition a;
    bool done = false;
  } source;
  const auto s = pixel_statistics(source);
  EXPECT_EQ(s.frames, 2);
  EXPECT_FLOAT_EQ(s.mean(0, 0), 0);
  EXPECT_FLOAT_EQ(s.mean(0, 1), 1.5F);
  EXPECT_FLOAT_EQ(s.mean(1, 1), 2.5F);
  EXPECT_FLOAT_EQ(s.deviation(0, 1), std::sqrt(4.5F));
  EXPECT_THROW(pixel_statistics(source), core::Error) << "no frame is left";
}

TEST(Calibration, RefusesWhatDoesNotFit) {
  const testing::TemporaryFolder folder;
  write_scan(folder / "scan.cxi", 2, 100);
  write_scan(folder / "wide.cxi", 2, 10, 4);
  const auto open = [&](const char* dark) {
    return with_calibrations(open_scan(folder / "scan.cxi"), (folder / dark).string(), "", {});
  };
  const auto wide = caught([&] { open("wide.cxi"); });
  EXPECT_EQ(wide.code, ErrorCode::invalid_argument);
  EXPECT_NE(wide.text.find("wide.cxi"), std::string::npos) << wide.text;
  EXPECT_THROW(open("none.cxi"), core::Error);
}

}  // namespace
}  // namespace farfield::io
