#include "farfield/io/convert.hpp"

#include <cmath>

#include "farfield/io/hdf5/file.hpp"
#include "farfield/io/product_file.hpp"
#include "farfield/io/testing.hpp"
#include "farfield/io/tiff.hpp"

namespace farfield::io {
namespace {

using core::ErrorCode;
using core::Index;
using testing::caught;

void write_scan(const std::filesystem::path& path, bool metres) {
  model::Acquisition a;
  a.detector.ny = 5;  // odd: the centre is where rotations by half are not their own inverse
  a.detector.nx = 6;
  a.detector.dtype = core::DType::u16;
  a.beam.energy_eV = 8000;
  a.detector.distance_m = 1.5;
  a.detector.pixel_size_y_m = a.detector.pixel_size_x_m = 55e-6;
  a.detector.pixel_mask = core::Array<std::uint32_t, 2>({5, 6});
  a.detector.pixel_mask(2, 3) = model::pixel_mask::kDead;  // the centre
  core::Array<core::cfloat, 3> probe({1, 5, 6}, core::cfloat(1, 2));
  a.inputs["probe"] = core::AnyArray(probe);
  ScanWriter writer(path, a, 4);
  for (Index i = 0; i < 4; ++i) {
    core::Array<std::uint16_t, 2> frame({5, 6});
    for (Index p = 0; p < 30; ++p) frame.data()[p] = static_cast<std::uint16_t>(100 * i + p);
    const model::FrameView view[] = {{i, core::AnyImage::of(core::View<const std::uint16_t, 2>(frame))}};
    const double v = static_cast<double>(i);
    const std::pair<model::FrameId, model::Values> values[] = {
        {i, metres ? model::Values{{"y_m", v * 1e-6}, {"x_m", v * -2e-6}}
                   : model::Values{{"y_px", v * 3}, {"x_px", v * -4}}}};
    writer.append(view, values);
  }
  writer.commit();
}

TEST(Convert, ScansThroughEveryFormat) {
  const testing::TemporaryFolder folder;
  write_scan(folder / "a.cxi", true);
  const auto first = testing::take_all(*open_scan(folder / "a.cxi"));
  // Metres stay exact where a format holds metres.
  convert(folder / "a.cxi", folder / "b.ptyd");
  convert(folder / "b.ptyd", folder / "c.nxs");
  const auto source = open_scan(folder / "c.nxs");
  EXPECT_NEAR(*source->acquisition().beam.energy_eV, 8000, 1e-9);
  EXPECT_EQ(source->acquisition().detector.pixel_size_y_m, 55e-6);
  EXPECT_NE(source->acquisition().detector.pixel_mask(2, 3), 0U);
  auto t = testing::take_all(*source);
  ASSERT_EQ(t.frames.size(), 4U);
  for (Index i = 0; i < 4; ++i) {
    EXPECT_TRUE(testing::same(t.frames.at(i), first.frames.at(i)));
    EXPECT_EQ(t.values.at(i).at("y_m"), first.values.at(i).at("y_m"));
    EXPECT_EQ(t.values.at(i).at("x_m"), first.values.at(i).at("x_m"));
  }
  // tike: zero frequency to the corner, positions in object pixels.
  convert(folder / "a.cxi", folder / "d.npz");
  const auto tike = open_scan(folder / "d.npz");
  EXPECT_EQ(tike->acquisition().detector.dc, model::DcLocation::corner);
  EXPECT_NE(tike->acquisition().detector.pixel_mask(0, 0), 0U);
  EXPECT_EQ(tike->acquisition().inputs.at("probe").shape(), (std::vector<Index>{1, 5, 6}));
  t = testing::take_all(*tike);
  const double pixel_y = 1.239841984332e-6 / 8000 * 1.5 / (5 * 55e-6), pixel_x = pixel_y * 5 / 6;
  for (Index i = 0; i < 4; ++i) {
    EXPECT_EQ((t.frames.at(i).view<std::uint16_t, 2>()(0, 0)), 100 * i + 6 * 2 + 3);
    EXPECT_EQ((t.frames.at(i).view<std::uint16_t, 2>()(4, 5)), 100 * i + 6 * 1 + 2);
    EXPECT_NEAR(t.values.at(i).at("y_px"), static_cast<double>(i) * 1e-6 / pixel_y, 1e-4);   // stored as float32
    EXPECT_NEAR(t.values.at(i).at("x_px"), static_cast<double>(i) * -2e-6 / pixel_x, 1e-4);
  }
  // And back: frames as they were.
  convert(folder / "d.npz", folder / "e.cxi");
  t = testing::take_all(*open_scan(folder / "e.cxi"));
  EXPECT_EQ((t.frames.at(3).view<std::uint16_t, 2>()(0, 0)), 300 + 15);
}

TEST(Convert, RefusesWhatATargetCannotHold) {
  const testing::TemporaryFolder folder;
  write_scan(folder / "px.cxi", false);
  EXPECT_EQ(caught([&] { convert(folder / "px.cxi", folder / "a.ptyd"); }).code, ErrorCode::invalid_argument);
  const auto e = caught([&] { convert(folder / "px.cxi", folder / "a.jpg"); });
  EXPECT_EQ(e.code, ErrorCode::unsupported);
  EXPECT_CONTAINS(e.text, ".jpg");
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(caught([&] { convert(folder / "px.cxi", folder / "b.cxi", {}, stop.get_token()); }).code,
            ErrorCode::cancelled);
  for (const char* name : {"a.ptyd", "a.jpg", "b.cxi"}) EXPECT_FALSE(std::filesystem::exists(folder / name)) << name;
}

TEST(Convert, Products) {
  const testing::TemporaryFolder folder;
  model::Product p;
  p.technique = "ptychography";
  core::Array<core::cfloat, 2> object({7, 9});
  for (Index i = 0; i < object.size(); ++i)
    object.data()[i] = std::polar(0.5F + 0.01F * static_cast<float>(i), 0.04F * static_cast<float>(i));
  core::Array<core::cfloat, 3> probe({2, 4, 4}, core::cfloat(0, 3));
  p.datasets.push_back({"object", core::AnyArray(object), "", {"y", "x"}, ""});
  p.datasets.push_back({"probe", core::AnyArray(probe), "", {"mode", "y", "x"}, ""});
  write_product(folder / "r.cxi", p);
  convert(folder / "r.cxi", folder / "r.npz");
  EXPECT_TRUE(testing::same(read_product(folder / "r.npz").find("object")->data, core::AnyArray(object)));
  convert(folder / "r.npz", folder / "again.cxi");
  EXPECT_TRUE(testing::same(read_product(folder / "again.cxi").find("probe")->data, core::AnyArray(probe)));
  convert(folder / "r.cxi", folder / "r.tif");
  const auto phase = read_tiff(folder / "r_object_phase.tif"), amplitude = read_tiff(folder / "r_object_amplitude.tif");
  for (Index i = 0; i < object.size(); ++i) {
    EXPECT_FLOAT_EQ(phase.data()[i], std::arg(object.data()[i]));
    EXPECT_FLOAT_EQ(amplitude.data()[i], std::abs(object.data()[i]));
  }
  EXPECT_EQ(read_tiff(folder / "r_probe_1_amplitude.tif")(3, 3), 3);
}

}  // namespace
}  // namespace farfield::io
