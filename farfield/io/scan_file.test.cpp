#include <cmath>
#include <random>

#include "farfield/io/testing.hpp"

namespace farfield::io {
namespace {

using core::ErrorCode;
using core::Index;
using testing::caught;
using testing::take_all;
using testing::TemporaryFolder;

model::Acquisition small_scan(Index ny, Index nx) {
  model::Acquisition a;
  a.title = "a test";
  a.beam.energy_eV = 8801.3;
  a.detector.ny = ny;
  a.detector.nx = nx;
  a.detector.dtype = core::DType::u16;
  a.detector.distance_m = 1.92;
  a.detector.pixel_size_y_m = 75e-6;
  a.detector.pixel_size_x_m = 55e-6;
  a.detector.saturation_counts = 60000;
  a.detector.pixel_mask = core::Array<std::uint32_t, 2>({ny, nx});
  a.detector.pixel_mask(1, 2) = model::pixel_mask::kDead;
  a.detector.pixel_mask(2, 0) = model::pixel_mask::kUser | model::pixel_mask::kOver;
  a.scan.unit = model::PositionUnit::metres;
  a.metadata = {{"sample", "Siemens star"}, {"beamline", "2-ID-D"}, {"operator", "Ångström"}};
  core::Array<core::cfloat, 3> probe({2, ny, nx});
  for (Index i = 0; i < probe.size(); ++i) probe.data()[i] = {static_cast<float>(i), -0.5F * static_cast<float>(i)};
  a.inputs["probe"] = core::AnyArray(probe);
  core::Array<float, 2> background({ny, nx}, 0.25F);
  a.inputs["background"] = core::AnyArray(background);
  return a;
}

core::Array<std::uint16_t, 3> random_frames(Index n, Index ny, Index nx) {
  core::Array<std::uint16_t, 3> frames({n, ny, nx});
  std::mt19937 random(5);
  for (auto& v : frames) v = static_cast<std::uint16_t>(random() % 1000);
  return frames;
}

model::FrameView frame(model::FrameId id, core::View<const std::uint16_t, 2> image) {
  return {id, core::AnyImage::of(image)};
}

TEST(ScanWriter, RoundTripIsExact) {
  const TemporaryFolder folder;
  const auto path = folder / "scan.cxi";
  const Index n = 23, ny = 6, nx = 11;  // not multiples of 8: bitshuffle leaves a rest
  const auto a = small_scan(ny, nx);
  const auto frames = random_frames(n, ny, nx);
  {
    ScanWriter writer(path, a, n);
    for (Index i = 0; i < n; ++i) {
      const model::FrameView one[] = {frame(i, frames.view()[i])};
      const std::pair<model::FrameId, model::Values> values[] = {{i,
                                                                  {{"y_m", 1e-7 / 3 * static_cast<double>(i)},
                                                                   {"x_m", -2e-7 * static_cast<double>(i)},
                                                                   {"monitor", 5.0 + static_cast<double>(i)}}}};
      writer.append(one, values);
      EXPECT_FALSE(std::filesystem::exists(path));  // only at commit
    }
    writer.commit();
  }
  core::ThreadPool pool(2);
  OpenOptions options;
  options.pool = &pool;
  options.batch_bytes = 5 * ny * nx * 2;
  const auto source = open_scan(path, options);
  const auto& b = source->acquisition();
  EXPECT_EQ(b.title, a.title);
  EXPECT_EQ(b.beam.energy_eV, a.beam.energy_eV);
  EXPECT_EQ(b.detector.distance_m, a.detector.distance_m);
  EXPECT_EQ(b.detector.pixel_size_y_m, a.detector.pixel_size_y_m);
  EXPECT_EQ(b.detector.pixel_size_x_m, a.detector.pixel_size_x_m);
  EXPECT_EQ(b.detector.saturation_counts, a.detector.saturation_counts);
  EXPECT_EQ(b.detector.dc, model::DcLocation::centre);
  EXPECT_EQ(b.detector.dtype, core::DType::u16);
  EXPECT_EQ(b.scan.unit, model::PositionUnit::metres);
  EXPECT_EQ(b.scan.expected_frames, n);
  EXPECT_EQ(b.metadata, a.metadata);
  EXPECT_TRUE(std::equal(a.detector.pixel_mask.begin(), a.detector.pixel_mask.end(), b.detector.pixel_mask.begin()));
  EXPECT_TRUE(testing::same(a.inputs.at("probe"), b.inputs.at("probe")));
  EXPECT_TRUE(testing::same(a.inputs.at("background"), b.inputs.at("background")));
  EXPECT_TRUE(b.checksum.starts_with("sha256:")) << b.checksum;

  const auto taken = take_all(*source);
  EXPECT_EQ(taken.largest_batch, 5);
  ASSERT_EQ(static_cast<Index>(taken.frames.size()), n);
  for (Index i = 0; i < n; ++i) {
    EXPECT_TRUE(testing::same(taken.frames.at(i), core::AnyArray(frames.view()[i]))) << i;
    EXPECT_EQ(taken.values.at(i).at("y_m"), 1e-7 / 3 * static_cast<double>(i));
    EXPECT_EQ(taken.values.at(i).at("x_m"), -2e-7 * static_cast<double>(i));
    EXPECT_EQ(taken.values.at(i).at("monitor"), 5.0 + static_cast<double>(i));
  }
}

TEST(ScanWriter, FramesOutOfOrderAndLatePositions) {
  const TemporaryFolder folder;
  const auto path = folder / "scan.cxi";
  auto a = small_scan(4, 8);
  a.scan.unit = model::PositionUnit::pixels;
  const auto frames = random_frames(3, 4, 8);
  {
    ScanWriter writer(path, a, -1);
    const model::FrameView first[] = {frame(7, frames.view()[0]), frame(2, frames.view()[1])};
    writer.append(first, {});
    const model::FrameView second[] = {frame(3, frames.view()[2])};
    const std::pair<model::FrameId, model::Values> values[] = {{2, {{"y_px", 1.5}, {"x_px", 2.5}}},
                                                               {7, {{"y_px", -3.25}, {"x_px", 4}}}};
    writer.append(second, values);
    writer.commit();
  }
  const auto taken = take_all(*open_scan(path));
  EXPECT_TRUE(testing::same(taken.frames.at(7), core::AnyArray(frames.view()[0])));
  EXPECT_TRUE(testing::same(taken.frames.at(2), core::AnyArray(frames.view()[1])));
  EXPECT_TRUE(testing::same(taken.frames.at(3), core::AnyArray(frames.view()[2])));
  EXPECT_EQ(taken.values.at(7).at("y_px"), -3.25);
  EXPECT_EQ(taken.values.at(2).at("x_px"), 2.5);
  EXPECT_TRUE(std::isnan(taken.values.at(3).at("y_px")));  // never given: the technique refuses the frame
}

TEST(ScanWriter, NothingIsLeftWithoutCommit) {
  const TemporaryFolder folder;
  {
    ScanWriter writer(folder / "scan.cxi", small_scan(4, 8), 1);
    const auto frames = random_frames(1, 4, 8);
    const model::FrameView one[] = {frame(0, frames.view()[0])};
    writer.append(one, {});
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(ScanWriter, RefusesWhatDoesNotFit) {
  const TemporaryFolder folder;
  const auto a = small_scan(4, 8);
  ScanWriter writer(folder / "scan.cxi", a, 1);
  const auto wrong = random_frames(1, 5, 8);
  const model::FrameView one[] = {frame(0, wrong.view()[0])};
  EXPECT_EQ(caught([&] { writer.append(one, {}); }).code, ErrorCode::invalid_argument);
  const std::pair<model::FrameId, model::Values> mixed[] = {{0, {{"y_px", 1.0}}}};
  EXPECT_EQ(caught([&] { writer.append({}, mixed); }).code, ErrorCode::invalid_argument);
  const auto missing = caught([&] { ScanWriter(folder / "none/scan.cxi", a, 1); });
  EXPECT_EQ(missing.code, ErrorCode::io);
  EXPECT_CONTAINS(missing.text, "none/scan.cxi");
}

TEST(OpenScan, SaysWhatIsWrongWithTheFile) {
  const TemporaryFolder folder;
  EXPECT_EQ(caught([&] { open_scan(folder / "absent.cxi"); }).code, ErrorCode::not_found);
  EXPECT_EQ(caught([&] { open_scan(folder.path()); }).code, ErrorCode::io);
  std::ofstream(folder / "empty.cxi");
  EXPECT_EQ(caught([&] { open_scan(folder / "empty.cxi"); }).code, ErrorCode::corrupt_data);
  std::ofstream(folder / "foreign.cxi") << "this is a text file, whatever its name says";
  EXPECT_EQ(caught([&] { open_scan(folder / "foreign.cxi"); }).code, ErrorCode::unsupported);
}

TEST(OpenScan, TruncatedScanIsCorrupt) {
  const TemporaryFolder folder;
  const auto path = folder / "scan.cxi";
  const auto frames = random_frames(40, 32, 32);
  {
    ScanWriter writer(path, small_scan(32, 32), 40);
    for (Index i = 0; i < 40; ++i) {
      const model::FrameView one[] = {frame(i, frames.view()[i])};
      writer.append(one, {});
    }
    writer.commit();
  }
  const auto size = std::filesystem::file_size(path);
  std::filesystem::resize_file(path, size / 2);
  const auto error = caught([&] { open_scan(path); });
  EXPECT_EQ(error.code, ErrorCode::corrupt_data) << error.text;
  EXPECT_CONTAINS(error.text, "scan.cxi");
}

}  // namespace
}  // namespace farfield::io
