#include <cmath>

#include "farfield/io/npz/npy.hpp"
#include "farfield/io/testing.hpp"

namespace farfield::io {
namespace {

using core::ErrorCode;
using core::Index;
using testing::caught;

TEST(NpyHeader, ReadsWhatNumpyWrites) {
  const auto h =
      npz::parse_npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 516, 128, 128), }            \n");
  EXPECT_EQ(h.dtype, core::DType::f32);
  EXPECT_FALSE(h.fortran_order);
  EXPECT_EQ(h.shape, (std::vector<Index>{1, 516, 128, 128}));
  EXPECT_EQ(npz::parse_npy_header("{'descr': '>c16', 'fortran_order': True, 'shape': ()}").shape.size(), 0U);
  EXPECT_EQ(npz::parse_npy_header("{'shape': (3,), 'descr': '|b1', 'fortran_order': True}").dtype, core::DType::u8);
}

TEST(NpyHeader, RefusesNonsense) {
  const char* damaged[] = {"",
                           "{",
                           "{'descr': '<f4'}",
                           "{'descr': '<f4', 'fortran_order': Maybe, 'shape': ()}",
                           "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
                           "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}",
                           "{'descr': '<f4', 'fortran_order': False, 'shape': (4 4)}"};
  for (const char* text : damaged)
    EXPECT_EQ(caught([&] { npz::parse_npy_header(text); }).code, ErrorCode::corrupt_data) << text;
  EXPECT_EQ(caught([] { npz::parse_npy_header("{'descr': '<U4', 'fortran_order': False, 'shape': (4,)}"); }).code,
            ErrorCode::unsupported);
}

// Hand-made archives: what a writer does not tell, the test says in bytes.
std::vector<std::byte> archive_of(const std::filesystem::path& scratch,
                                  const std::vector<std::pair<std::string, core::AnyArray>>& arrays) {
  {
    AtomicFile file(scratch);
    npz::ZipWriter zip(file);
    for (const auto& [name, array] : arrays) {
      zip.begin(name + ".npy");
      zip.write(npz::npy_header(array.dtype(), array.shape()));
      zip.write({static_cast<const std::byte*>(array.data()), static_cast<std::size_t>(array.bytes())});
      zip.end();
    }
    zip.finish();
    file.commit();
  }
  return read_file(scratch, 1 << 24);
}

core::AnyArray ramp(core::DType type, std::vector<Index> shape) {
  core::AnyArray a(type, std::move(shape));
  core::visit_dtype(type, [&](auto zero) {
    using T = decltype(zero);
    for (Index i = 0; i < a.size(); ++i) {
      if constexpr (std::is_arithmetic_v<T>) static_cast<T*>(a.data())[i] = static_cast<T>(i);
      else static_cast<T*>(a.data())[i] = T(static_cast<typename T::value_type>(i), 1);
    }
  });
  return a;
}

TEST(Npz, TikeScan) {
  const testing::TemporaryFolder folder;
  const auto data = ramp(core::DType::u16, {1, 5, 2, 3}), scan = ramp(core::DType::f32, {1, 5, 2}),
             probe = ramp(core::DType::c64, {1, 1, 1, 2, 2, 3});
  archive_of(folder / "scan.npz", {{"data", data}, {"scan", scan}, {"probe", probe}});
  const auto source = open_scan(folder / "scan.npz", {.batch_bytes = 2 * 12});
  const auto& a = source->acquisition();
  EXPECT_EQ(a.detector.dc, model::DcLocation::corner);
  EXPECT_EQ(a.scan.unit, model::PositionUnit::pixels);
  EXPECT_EQ(a.scan.expected_frames, 5);
  EXPECT_FALSE(a.beam.energy_eV || a.detector.distance_m || a.detector.pixel_size_y_m);
  EXPECT_EQ(a.inputs.at("probe").shape(), (std::vector<Index>{2, 2, 3}));
  const auto taken = testing::take_all(*source);
  EXPECT_EQ(taken.batches, 3);
  for (Index i = 0; i < 5; ++i) {
    EXPECT_EQ((taken.frames.at(i).view<std::uint16_t, 2>()(1, 2)), 6 * i + 5);
    EXPECT_EQ(taken.values.at(i).at("y_px"), 2.0 * static_cast<double>(i));      // column 0: rows
    EXPECT_EQ(taken.values.at(i).at("x_px"), 2.0 * static_cast<double>(i) + 1);  // column 1: columns
  }
}

TEST(Npz, DamageIsFound) {
  const testing::TemporaryFolder folder;
  const auto bytes = archive_of(
      folder / "a.npz", {{"data", ramp(core::DType::f32, {4, 8, 8})}, {"scan", ramp(core::DType::f64, {4, 2})}});
  const auto write = [&](const std::vector<std::byte>& b) { testing::write_plain(folder / "b.npz", b); };
  // A flipped bit in the counts: the CRC of the member tells.
  auto flipped = bytes;
  flipped[300] ^= std::byte{4};
  write(flipped);
  const auto damaged = caught([&] { testing::take_all(*open_scan(folder / "b.npz")); });
  EXPECT_EQ(damaged.code, ErrorCode::corrupt_data) << damaged.text;
  EXPECT_CONTAINS(damaged.text, "b.npz");
  // Cut off anywhere: never a crash, always an error.
  for (std::size_t n = 5; n < bytes.size(); n += 7) {
    write({bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(n)});
    EXPECT_EQ(caught([&] { testing::take_all(*open_scan(folder / "b.npz")); }).code, ErrorCode::corrupt_data) << n;
  }
}

TEST(Npz, WrongShapesAndNames) {
  const testing::TemporaryFolder folder;
  const auto open = [&](const std::vector<std::pair<std::string, core::AnyArray>>& arrays) {
    archive_of(folder / "c.npz", arrays);
    return caught([&] { open_scan(folder / "c.npz"); });
  };
  const auto data = ramp(core::DType::f32, {4, 8, 8}), scan = ramp(core::DType::f64, {4, 2});
  auto e = open({{"dat", data}, {"scan", scan}});
  EXPECT_EQ(e.code, ErrorCode::not_found);
  EXPECT_CONTAINS(e.text, "did you mean \"dat\"");
  EXPECT_EQ(open({{"data", ramp(core::DType::f32, {8, 8})}, {"scan", scan}}).code, ErrorCode::corrupt_data);
  e = open({{"data", data}, {"scan", ramp(core::DType::f64, {5, 2})}});
  EXPECT_EQ(e.code, ErrorCode::corrupt_data);
  EXPECT_CONTAINS(e.text, "5 positions for 4 frames");
  core::AnyArray nan(core::DType::f64, {4, 2});
  for (Index i = 0; i < 8; ++i) static_cast<double*>(nan.data())[i] = std::nan("");
  EXPECT_CONTAINS(open({{"data", data}, {"scan", nan}}).text, "none of the 4 positions");
  EXPECT_EQ(open({{"data", data}, {"scan", scan}, {"probe", ramp(core::DType::c64, {2, 2, 8, 8})}}).code,
            ErrorCode::corrupt_data);
}

TEST(Npz, RealSiemensStar) {
  const std::filesystem::path path =
      "examples/data/siemens-star/siemens-star-small.npz.bz2";  // tests run in the repository
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no example data at " << path;
  const auto source = open_scan(path);
  EXPECT_EQ(source->acquisition().inputs.at("probe").shape(), (std::vector<Index>{1, 128, 128}));
  const auto taken = testing::take_all(*source);
  ASSERT_EQ(taken.frames.size(), 516U);
  double sum = 0, most = 0, low = 1e9, high = -1e9;
  for (const auto& [id, image] : taken.frames)
    for (const float v : image.view<float, 2>()) {
      sum += v;
      most = std::max<double>(most, v);
    }
  for (const auto& [id, v] : taken.values) {
    low = std::min({low, v.at("y_px"), v.at("x_px")});
    high = std::max({high, v.at("y_px"), v.at("x_px")});
  }
  EXPECT_NEAR(sum / (516.0 * 128 * 128), 28.15, 0.005);  // the published mean, to its digits
  EXPECT_EQ(most, 963);
  EXPECT_NEAR(low, -164, 0.5);
  EXPECT_NEAR(high, 168, 0.5);
}

}  // namespace
}  // namespace farfield::io
