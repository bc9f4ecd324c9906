#include "farfield/io/recipe/recipe.hpp"

#include <cmath>

#include "farfield/io/hdf5/file.hpp"
#include "farfield/io/testing.hpp"

namespace farfield::io {
namespace {

using core::ErrorCode;
using core::Index;
using testing::caught;

core::AnyArray counts(std::vector<Index> shape) {
  core::AnyArray a(core::DType::u16, std::move(shape));
  for (Index i = 0; i < a.size(); ++i) static_cast<std::uint16_t*>(a.data())[i] = static_cast<std::uint16_t>(i);
  return a;
}
core::AnyArray numbers(std::vector<Index> shape, const std::vector<double>& values) {
  core::AnyArray a(core::DType::f64, std::move(shape));
  std::copy(values.begin(), values.end(), static_cast<double*>(a.data()));
  return a;
}

TEST(Recipe, AllShippedOnesParse) {
  ASSERT_GE(recipe_names().size(), 8U);
  for (const auto& name : recipe_names()) {
    const auto r = recipe::load(name);
    EXPECT_EQ(r.name, name);
    EXPECT_FALSE(r.summary.empty()) << name;
  }
  const auto e = caught([] { recipe_text("ptychoshelve"); });
  EXPECT_EQ(e.code, ErrorCode::not_found);
  EXPECT_CONTAINS(e.text, "did you mean ptychoshelves");
}

TEST(Recipe, SlipsAreNamedWithTheirLine) {
  const auto fails = [](const std::string& text) {
    const auto e = caught([&] { recipe::parse(text, "my.toml"); });
    EXPECT_EQ(e.code, ErrorCode::invalid_argument) << text;
    EXPECT_CONTAINS(e.text, "my.toml");
    return e.text;
  };
  EXPECT_CONTAINS(fails("[frames]\npath = \"/a\"\ntranspos = true\n"), "did you mean transpose");
  EXPECT_CONTAINS(fails("[frames]\npath = \"/a\"\ntranspos = true\n"), "line 3");
  EXPECT_CONTAINS(fails("[frames\n"), "not TOML");
  EXPECT_CONTAINS(fails("detect = [ \"/a\", }\n"), "not TOML");
  EXPECT_CONTAINS(fails("  # µ is fine in a comment\nsummary = \"µ\"\n"), "line 2");
  EXPECT_CONTAINS(fails("name = \"x\"\n"), "frames");
  EXPECT_CONTAINS(fails("[frames]\npath = 3\n"), "must be a text");
  EXPECT_CONTAINS(fails("[frames]\npath = \"/a\"\ndc = \"middle\"\n"), "centre or corner");
  EXPECT_CONTAINS(fails("[frames]\npath = \"/a\"\n[distance]\nvalue = 1.0\nunit = \"eV\"\n"), "not a length");
  EXPECT_CONTAINS(fails("[frames]\npath = \"/a\"\n[energy]\nvalue = 1.0\npath = \"/b\"\n"), "either path or value");
  EXPECT_CONTAINS(fails("[frames]\npath = \"/a\"\n[positions]\ny = {path=\"/y\"}\n"), "positions.x");
  EXPECT_CONTAINS(
      fails("[frames]\npath = \"/a\"\n[files.para]\nname=\"b\"\n[distance]\nfile = \"par\"\npath = \"/d\"\n"),
      "did you mean para");
  EXPECT_CONTAINS(fails("[frames]\npath = \"/a\"\n[positions]\ny = {path=\"/y\", axis = 0}\nx = {path=\"/x\"}\n"),
                  "axis and index");
}

TEST(Recipe, EveryKeyDoesWhatItSays) {
  const testing::TemporaryFolder folder;
  {
    auto f = hdf5::File::create(folder / "run7.h5", folder / "run7.h5");
    f.write("/raw/part_1", counts({2, 3, 4}));
    f.write("/raw/part_2", counts({1, 3, 4}));
    f.write("/raw/other", counts({5}));
    f.write_number("/mono", 8.8);
    f.write_number("/z", 1200);
    core::AnyArray good(core::DType::u8, {3, 4});
    std::memset(good.data(), 1, 12);
    static_cast<std::uint8_t*>(good.data())[4 * 1 + 2] = 0;
    f.write("/good", good);
    f.write_text("/who", "a user");
  }
  {
    auto f = hdf5::File::create(folder / "run7_pos.h5", folder / "run7_pos.h5");
    // (2 samples per frame, interleaved): the mean is taken; column 0 y, column 1 x
    f.write("/enc", numbers({6, 2}, {1, 10, 3, 20, 5, 30, 7, 40, 9, 50, 11, 60}));
  }
  std::ofstream(folder / "my.toml") << R"(
name = "mine"
[files.pos]
name = "{stem}_pos.h5"
[frames]
path = "/raw/part_*"
dc = "corner"
transpose = true
flip_y = true
[energy]
path = "/mono"
unit = "keV"
scale = 2.0
offset = 0.4
[distance]
path = "/z"
unit = "mm"
[pixel_size]
value = 55.0
unit = "um"
[saturation]
value = 1000.0
[mask]
path = "/good"
good = 1
[positions]
unit = "um"
y = { file = "pos", path = "/enc", axis = 1, index = 0, scale = -1.0 }
x = { file = "pos", path = "/enc", axis = 1, index = 1, offset = 5.0 }
[metadata]
operator = { path = "/who" }
)";
  const auto s = open_scan(folder / "run7.h5", {.recipe = (folder / "my.toml").string()});
  const auto& a = s->acquisition();
  EXPECT_EQ(a.detector.ny, 4);
  EXPECT_EQ(a.detector.nx, 3);
  EXPECT_EQ(a.detector.dc, model::DcLocation::corner);
  EXPECT_NEAR(*a.beam.energy_eV, 18000, 1e-9);
  EXPECT_NEAR(*a.detector.distance_m, 1.2, 1e-12);
  EXPECT_NEAR(*a.detector.pixel_size_y_m, 55e-6, 1e-15);
  EXPECT_NEAR(*a.detector.pixel_size_x_m, 55e-6, 1e-15);
  EXPECT_EQ(a.detector.saturation_counts, 1000);
  EXPECT_EQ(a.metadata.at("operator"), "a user");
  EXPECT_EQ(a.metadata.at("recipe"), "mine");
  const auto t = testing::take_all(*s);
  ASSERT_EQ(t.frames.size(), 3U);
  // Stored (v, u) -> transposed (y = u, x = v) -> flipped in y: y = 3 - u.
  for (Index v = 0; v < 3; ++v)
    for (Index u = 0; u < 4; ++u) EXPECT_EQ((t.frames.at(1).view<std::uint16_t, 2>()(3 - u, v)), 12 + 4 * v + u);
  EXPECT_NE(a.detector.pixel_mask(3 - 2, 1), 0U);
  EXPECT_EQ(std::count(a.detector.pixel_mask.begin(), a.detector.pixel_mask.end(), 0U), 11);
  EXPECT_NEAR(t.values.at(1).at("y_m"), -6e-6, 1e-18);
  EXPECT_NEAR(t.values.at(1).at("x_m"), 40e-6, 1e-18);
}

TEST(Recipe, MissingPathSuggestsTheNearest) {
  const testing::TemporaryFolder folder;
  { hdf5::File::create(folder / "a.h5", folder / "a.h5").write("/raw/frames", counts({2, 3, 4})); }
  std::ofstream(folder / "r.toml") << "[frames]\npath = \"/raw/frame\"\n";
  const auto e = caught([&] { open_scan(folder / "a.h5", {.recipe = (folder / "r.toml").string()}); });
  EXPECT_EQ(e.code, ErrorCode::not_found);
  EXPECT_CONTAINS(e.text, "did you mean /raw/frames");
  EXPECT_CONTAINS(e.text, "a.h5");
}

TEST(Recipe, Ptychoshelves) {
  const testing::TemporaryFolder folder;
  { hdf5::File::create(folder / "data_roi0_dp.hdf5", folder / "dp").write("/dp", counts({2, 4, 4})); }
  auto e = caught([&] { open_scan(folder / "data_roi0_dp.hdf5"); });  // detected, but its other half is missing
  EXPECT_EQ(e.code, ErrorCode::not_found);
  EXPECT_CONTAINS(e.text, "data_roi0_para.hdf5");
  {
    auto f = hdf5::File::create(folder / "data_roi0_para.hdf5", folder / "para");
    f.write("/ppX", numbers({1, 2}, {1e-6, 2e-6}));
    f.write("/ppY", numbers({1, 2}, {3e-6, 4e-6}));
    f.write("/dx", numbers({1, 1}, {1e-8}));
    f.write("/lambda", numbers({1, 1}, {1.4e-10}));
  }
  const auto s = open_scan(folder / "data_roi0_dp.hdf5");
  EXPECT_NEAR(*s->acquisition().beam.energy_eV, 1.239841984332e-6 / 1.4e-10, 1e-6);
  EXPECT_EQ(s->acquisition().scan.unit, model::PositionUnit::pixels);
  const auto t = testing::take_all(*s);
  EXPECT_NEAR(t.values.at(0).at("y_px"), -300, 1e-9);
  EXPECT_NEAR(t.values.at(1).at("x_px"), -200, 1e-9);
  EXPECT_EQ((t.frames.at(0).view<std::uint16_t, 2>()(1, 2)), 4 * 2 + 1);
}

TEST(Recipe, VelociprobeTable) {
  const testing::TemporaryFolder folder;
  {
    auto f = hdf5::File::create(folder / "fly007.h5", folder / "fly007.h5");
    f.write("/entry/data/data_000001", counts({2, 4, 4}));
    const std::string d = "/entry/instrument/detector";
    f.write_number(d + "/detectorSpecific/photon_energy", 8800);
    f.write_number(d + "/detector_distance", 1.9);
    f.write_number(d + "/y_pixel_size", 75e-6);
    f.write_number(d + "/x_pixel_size", 75e-6);
  }
  std::ofstream(folder / "fly007.csv")
      << "# comment\n0,100,200,0,0,-200,0,0\n1,300,400,0,0,-400,0,0\n2,1000,2000,0,0,-2000,0,1\n3,9,9,0,0,9,0,2\n";
  const auto t = testing::take_all(*open_scan(folder / "fly007.h5", {.recipe = "aps-velociprobe"}));
  EXPECT_NEAR(t.values.at(0).at("x_m"), 200e-9, 1e-18);
  EXPECT_NEAR(t.values.at(0).at("y_m"), 300e-9, 1e-18);
  EXPECT_NEAR(t.values.at(1).at("y_m"), 2000e-9, 1e-18);
}

TEST(Recipe, HxnAmplitudes) {
  const testing::TemporaryFolder folder;
  {
    auto f = hdf5::File::create(folder / "scan.h5", folder / "scan.h5");
    core::AnyArray amplitude(core::DType::f32, {2, 4, 4});
    for (Index i = 0; i < 32; ++i) static_cast<float*>(amplitude.data())[i] = static_cast<float>(i);
    f.write("/diffamp", amplitude);
    f.write("/points", numbers({2, 2}, {1, 2, 30, 40}));
    f.write_number("/lambda_nm", 0.1);
    f.write_number("/z_m", 0.5);
    f.write_number("/ccd_pixel_um", 55);
  }
  const auto s = open_scan(folder / "scan.h5");
  EXPECT_NEAR(*s->acquisition().beam.energy_eV, 12398.4198, 1e-3);
  const auto t = testing::take_all(*s);
  EXPECT_EQ((t.frames.at(1).view<float, 2>()(3, 3)), 31.0F * 31.0F);
  EXPECT_NEAR(t.values.at(1).at("x_m"), 2e-6, 1e-18);
  EXPECT_NEAR(t.values.at(1).at("y_m"), 40e-6, 1e-18);
}

}  // namespace
}  // namespace farfield::io
