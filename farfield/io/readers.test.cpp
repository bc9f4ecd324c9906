// Hand-made files of each layout, in which the answer is known.

#include <cmath>

#include "farfield/io/cxi/layout.hpp"
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

void with_unit(hdf5::File& f, const std::string& path, double value, const std::string& unit) {
  f.write_number(path, value);
  if (!unit.empty()) f.set_attribute(path, "units", unit);
}

class Reader : public ::testing::Test {
protected:
  hdf5::File create(const std::string& name) { return hdf5::File::create(folder / name, folder / name); }
  std::unique_ptr<model::FrameSource> open(const std::string& name, const std::string& recipe = "") {
    return open_scan(folder / name, {.recipe = recipe});
  }
  testing::TemporaryFolder folder;
};

// ---------------------------------------------------------------- CXI

TEST_F(Reader, CxiDefaultDirections) {
  {
    auto f = create("a.cxi");
    f.write("/entry_1/data_1/data", counts({2, 4, 6}));
    with_unit(f, "/entry_1/instrument_1/source_1/energy", 1.41e-15, "");  // J, as CXI says
    with_unit(f, "/entry_1/instrument_1/detector_1/distance", 4.4, "");
    // x, y, z of the sample in the laboratory
    f.write("/entry_1/sample_1/geometry_1/translation", numbers({2, 3}, {1e-6, 2e-6, 0, -3e-6, 5e-6, 7e-6}));
  }
  const auto s = open("a.cxi");
  EXPECT_NEAR(*s->acquisition().beam.energy_eV, 1.41e-15 / 1.602176634e-19, 1e-9);
  EXPECT_EQ(s->acquisition().detector.distance_m, 4.4);
  const auto t = testing::take_all(*s);
  // Rows grow downwards (-y), columns to the right of who looks along the beam (-x). The sample goes up by
  // 2 um: the window goes down on it, to larger rows.
  EXPECT_EQ(t.values.at(0).at("y_m"), 2e-6);
  EXPECT_EQ(t.values.at(0).at("x_m"), 1e-6);
  EXPECT_EQ(t.values.at(1).at("y_m"), 5e-6);
  EXPECT_EQ(t.values.at(1).at("x_m"), -3e-6);
}

TEST_F(Reader, CxiBasisVectorsDecide) {
  {
    auto f = create("a.cxi");
    f.write("/entry_1/instrument_1/detector_1/data", counts({1, 4, 6}));
    // Rows along +x, columns along +y: turned by a quarter and mirrored. Pitches 20 um and 30 um.
    f.write("/entry_1/instrument_1/detector_1/basis_vectors", numbers({2, 3}, {20e-6, 0, 0, 0, 30e-6, 0}));
    f.write("/entry_1/instrument_1/detector_1/corner_position", numbers({3}, {0.1, 0.1, 0.7}));
    f.write("/entry_1/sample_1/geometry_1/translation", numbers({1, 3}, {1e-6, 2e-6, 0}));
  }
  const auto s = open("a.cxi");
  const auto& d = s->acquisition().detector;
  EXPECT_NEAR(*d.pixel_size_y_m, 20e-6, 1e-18);
  EXPECT_NEAR(*d.pixel_size_x_m, 30e-6, 1e-18);
  EXPECT_EQ(d.distance_m, 0.7);
  const auto t = testing::take_all(*s);
  EXPECT_DOUBLE_EQ(t.values.at(0).at("y_m"), -1e-6);
  EXPECT_DOUBLE_EQ(t.values.at(0).at("x_m"), -2e-6);
}

TEST_F(Reader, CxiUnitsAttributesWin) {
  {
    auto f = create("a.cxi");
    f.write("/entry_1/data_1/data", counts({1, 4, 6}));
    with_unit(f, "/entry_1/instrument_1/source_1/energy", 8.8, "keV");
    with_unit(f, "/entry_1/instrument_1/detector_1/distance", 440, "mm");
    f.write("/entry_1/data_1/translation", numbers({1, 3}, {1, 2, 0}));
    f.set_attribute("/entry_1/data_1/translation", "units", std::string("um"));
  }
  const auto s = open("a.cxi");
  EXPECT_NEAR(*s->acquisition().beam.energy_eV, 8800, 1e-9);
  EXPECT_NEAR(*s->acquisition().detector.distance_m, 0.44, 1e-12);
  EXPECT_NEAR(testing::take_all(*s).values.at(0).at("y_m"), 2e-6, 1e-18);
}

TEST_F(Reader, CxiMaskBitsAndCornerDc) {
  {
    auto f = create("a.cxi");
    f.write("/entry_1/data_1/data", counts({1, 2, 3}));
    core::AnyArray mask(core::DType::u32, {2, 3});
    auto* m = static_cast<std::uint32_t*>(mask.data());
    m[1] = 1U << 3;   // dead
    m[2] = 1U << 2;   // hot
    m[5] = 1U << 20;  // no bit that CXI knows
    f.write("/entry_1/instrument_1/detector_1/mask", mask);
    f.write_number("/entry_1/instrument_1/detector_1/is_fft_shifted", 1);
  }
  const auto s = open("a.cxi");
  const auto& d = s->acquisition().detector;
  EXPECT_EQ(d.dc, model::DcLocation::corner);
  EXPECT_EQ(d.pixel_mask(0, 0), 0U);
  EXPECT_EQ(d.pixel_mask(0, 1), model::pixel_mask::kDead);
  EXPECT_EQ(d.pixel_mask(0, 2), model::pixel_mask::kOver);
  EXPECT_EQ(d.pixel_mask(1, 2), model::pixel_mask::kUser);
}

TEST_F(Reader, CxiContradictionsAreSaid) {
  const auto make = [&](const std::function<void(hdf5::File&)>& more) {
    {
      auto f = create("a.cxi");
      f.write("/entry_1/data_1/data", counts({3, 4, 6}));
      more(f);
    }
    return caught([&] { open("a.cxi"); });
  };
  auto e =
      make([](auto& f) { f.write("/entry_1/sample_1/geometry_1/translation", numbers({2, 3}, {1, 2, 3, 4, 5, 6})); });
  EXPECT_EQ(e.code, ErrorCode::corrupt_data);
  EXPECT_CONTAINS(e.text, "2 positions for 3 frames");
  EXPECT_CONTAINS(e.text, "/entry_1/sample_1/geometry_1/translation");
  e = make([](auto& f) { f.write("/entry_1/sample_1/geometry_1/translation", numbers({6}, {1, 2, 3, 4, 5, 6})); });
  EXPECT_CONTAINS(e.text, "not (frame, 3)");
  e = make([](auto& f) {
    f.write("/entry_1/sample_1/geometry_1/translation", numbers({3, 3}, std::vector<double>(9, std::nan(""))));
  });
  EXPECT_CONTAINS(e.text, "none of the 3 positions");
  e = make([](auto& f) { f.write("/entry_1/instrument_1/detector_1/mask", counts({4, 5})); });
  EXPECT_CONTAINS(e.text, "mask of 4 x 5");
  e = make([](auto& f) {
    core::AnyArray all(core::DType::u8, {4, 6});
    std::memset(all.data(), 1, 24);
    f.write("/entry_1/instrument_1/detector_1/mask", all);
  });
  EXPECT_CONTAINS(e.text, "hides all 24 pixels");
  e = make([](auto& f) { with_unit(f, "/entry_1/instrument_1/source_1/energy", 8800, ""); });
  EXPECT_CONTAINS(e.text, "joules");
  e = make([](auto& f) { with_unit(f, "/entry_1/instrument_1/detector_1/distance", -1, "m"); });
  EXPECT_CONTAINS(e.text, "must be > 0");
  e = make([](auto& f) { with_unit(f, "/entry_1/instrument_1/detector_1/distance", 1, "parsec"); });
  EXPECT_CONTAINS(e.text, "parsec");
  e = make([](auto& f) { f.write("/entry_1/instrument_1/source_1/illumination", counts({2, 2, 8, 8})); });
  EXPECT_CONTAINS(e.text, "not (mode, y, x)");
  e = make([](auto& f) { f.write("/entry_1/farfield/frame_id", numbers({3}, {0, 2, 2})); });
  EXPECT_CONTAINS(e.text, "frame number 2 comes twice");
  e = make([](auto& f) { f.write("/entry_1/farfield/frame_id", numbers({3}, {0, 1e300, 2})); });
  EXPECT_CONTAINS(e.text, "whole number");
}

TEST(Cxi, PositionsAndTranslationsAreInverse) {
  // A basis that is turned by an angle: rows and columns stay perpendicular.
  const double c = std::cos(0.3), s = std::sin(0.3);
  const cxi::Basis turned{{s, -c, 0}, {-c, -s, 0}};
  for (const auto& basis : {cxi::Basis{}, turned}) {
    const auto t = cxi::translation_of({1.5e-6, -2.5e-6}, basis);
    const auto p = cxi::position_of(t, basis);
    EXPECT_NEAR(p.y, 1.5e-6, 1e-20);
    EXPECT_NEAR(p.x, -2.5e-6, 1e-20);
  }
  for (std::uint32_t bit = 0; bit < 5; ++bit) EXPECT_EQ(cxi::nexus_bits(cxi::cxi_bits(1U << bit)), 1U << bit);
}

// ---------------------------------------------------------------- NeXus

TEST_F(Reader, NxmxWithMovingSample) {
  {
    auto f = create("master.h5");
    f.make_group("/entry");
    f.set_attribute("/entry", "NX_class", std::string("NXentry"));
    const std::string detector = "/entry/instrument/eiger";
    f.write("/entry/data/data_000001", counts({2, 4, 6}));
    f.write("/entry/data/data_000002", counts({1, 4, 6}));
    f.link_external("missing_000003.h5", "/entry/data/data", "/entry/data/data_000003");  // not written in a short scan
    f.set_attribute("/entry/data", "NX_class", std::string("NXdata"));
    with_unit(f, detector + "/detector_distance", 2.1, "m");
    with_unit(f, detector + "/x_pixel_size", 75, "um");
    with_unit(f, detector + "/y_pixel_size", 75e-6, "m");
    f.set_attribute(detector, "NX_class", std::string("NXdetector"));
    f.write_number(detector + "/saturation_value", 65000);
    f.set_attribute("/entry/instrument", "NX_class", std::string("NXinstrument"));
    with_unit(f, "/entry/instrument/beam/incident_wavelength", 1.5, "angstrom");
    // The stage moves along vectors: "h" along -x of the laboratory in mm, "v" along +y in um.
    const std::string chain = "/entry/sample/transformations";
    f.write(chain + "/h", numbers({3}, {0, 1e-3, 2e-3}));
    f.set_attribute(chain + "/h", "units", std::string("mm"));
    f.write(chain + "/v", numbers({3}, {5, 6, 7}));
    f.set_attribute(chain + "/v", "units", std::string("um"));
    for (const char* axis : {"/h", "/v"})
      f.set_attribute(chain + axis, "transformation_type", std::string("translation"));
    f.set_vector_attribute(chain + "/h", "vector", {-1, 0, 0});
    f.set_vector_attribute(chain + "/v", "vector", {0, 1, 0});
  }
  const auto s = open("master.h5");
  const auto& a = s->acquisition();
  EXPECT_EQ(a.scan.expected_frames, 3);
  EXPECT_EQ(a.detector.distance_m, 2.1);
  EXPECT_NEAR(*a.detector.pixel_size_x_m, 75e-6, 1e-18);
  EXPECT_EQ(a.detector.saturation_counts, 65000);
  EXPECT_NEAR(*a.beam.energy_eV, 12398.41984332 / 1.5, 1e-6);
  const auto t = testing::take_all(*s);
  for (int i = 0; i < 3; ++i) {
    EXPECT_NEAR(t.values.at(i).at("x_m"), -1e-6 * i, 1e-18);
    EXPECT_NEAR(t.values.at(i).at("y_m"), 1e-6 * (5 + i), 1e-18);
  }
  EXPECT_EQ((t.frames.at(2).view<std::uint16_t, 2>()(3, 5)), 23);
}

TEST_F(Reader, NexusRasterAxes) {
  {
    auto f = create("raster.nxs");
    f.write("/entry/data/data", counts({2, 3, 4, 6}));
    f.set_attribute("/entry", "NX_class", std::string("NXentry"));
    f.set_attribute("/entry/data", "NX_class", std::string("NXdata"));
    f.set_attribute("/entry/data", "signal", std::string("data"));
    f.write("/entry/data/y", numbers({2}, {10, 20}));
    f.write("/entry/data/x", numbers({3}, {1, 2, 3}));
    for (const char* axis : {"y", "x"}) f.set_attribute(std::string("/entry/data/") + axis, "units", std::string("um"));
  }
  const auto t = testing::take_all(*open("raster.nxs"));
  ASSERT_EQ(t.frames.size(), 6U);
  EXPECT_NEAR(t.values.at(4).at("y_m"), 20e-6, 1e-18);
  EXPECT_NEAR(t.values.at(4).at("x_m"), 2e-6, 1e-18);
}

// ---------------------------------------------------------------- ptyd

TEST_F(Reader, Ptyd) {
  {
    auto f = create("scan.ptyd");
    f.write_number("/meta/energy", 7.2);
    f.write_number("/meta/distance", 7.19);
    f.write("/meta/psize", numbers({2}, {172e-6, 171e-6}));
    // 10 chunks, so that "10" sorts before "2" as text.
    for (int c = 0; c < 11; ++c) {
      const std::string at = "/chunks/" + std::to_string(c);
      f.write(at + "/data", counts({2, 4, 4}));
      f.write(at + "/positions", numbers({2, 2}, {c * 1e-6, c * 2e-6, c * 1e-6 + 5e-7, c * 2e-6}));
      core::AnyArray indices(core::DType::i64, {2});
      static_cast<std::int64_t*>(indices.data())[0] = 2 * c;
      static_cast<std::int64_t*>(indices.data())[1] = 2 * c + 1;
      f.write(at + "/indices", indices);
    }
    core::AnyArray weight(core::DType::f64, {4, 4});
    for (int i = 0; i < 16; ++i) static_cast<double*>(weight.data())[i] = i == 6 ? 0 : 1;
    f.write("/meta/weight2d", weight);
  }
  const auto s = open("scan.ptyd");
  const auto& a = s->acquisition();
  EXPECT_NEAR(*a.beam.energy_eV, 7200, 1e-9);
  EXPECT_EQ(a.detector.distance_m, 7.19);
  EXPECT_EQ(a.detector.pixel_size_y_m, 172e-6);
  EXPECT_EQ(a.detector.pixel_size_x_m, 171e-6);
  EXPECT_EQ(a.detector.dc, model::DcLocation::centre);
  EXPECT_NE(a.detector.pixel_mask(1, 2), 0U);
  EXPECT_EQ(a.detector.pixel_mask(0, 0), 0U);
  const auto t = testing::take_all(*s);
  ASSERT_EQ(t.frames.size(), 22U);
  EXPECT_DOUBLE_EQ(t.values.at(21).at("y_m"), 10e-6 + 5e-7);  // row first
  EXPECT_DOUBLE_EQ(t.values.at(21).at("x_m"), 20e-6);
}

// ---------------------------------------------------------------- nothing known

TEST_F(Reader, UnknownHdf5NamesWhatItHolds) {
  { create("x.h5").write("/frames/of/something", counts({2, 4, 4})); }
  const auto e = caught([&] { open("x.h5"); });
  EXPECT_EQ(e.code, ErrorCode::unsupported);
  EXPECT_CONTAINS(e.text, "/frames/of/something");
  EXPECT_CONTAINS(e.text, "ptychoshelves");
  { create("r.cxi").write("/entry_1/image_1/data", counts({4, 4})); }
  EXPECT_CONTAINS(caught([&] { open("r.cxi"); }).text, "a result, not a scan");
}

}  // namespace
}  // namespace farfield::io
