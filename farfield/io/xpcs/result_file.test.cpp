#include "farfield/io/xpcs/result_file.hpp"

#include <cmath>
#include <fstream>
#include <sstream>

#include "farfield/io/atomic_file.hpp"
#include "farfield/io/product_file.hpp"
#include "farfield/io/testing.hpp"
#include "farfield/io/xpcs/qmap_file.hpp"
#include "farfield/math/random.hpp"
#include "tests/support/shared_data.hpp"

namespace farfield::io {
namespace {

using core::ErrorCode;
using core::Index;
using testing::caught;

core::AnyArray numbers(std::vector<Index> shape, std::uint64_t seed) {
  math::Random random(seed);
  core::AnyArray a(core::DType::f64, std::move(shape));
  for (Index i = 0; i < a.size(); ++i) static_cast<double*>(a.data())[i] = random.uniform(0.5, 2);
  return a;
}
core::AnyArray row(const std::vector<double>& v) {
  return core::AnyArray(core::View<const double, 1>(v.data(), {static_cast<Index>(v.size())}));
}

constexpr Index kNy = 6, kNx = 8;

model::Product with_map(model::Product p) {
  core::Array<std::uint32_t, 2> dynamic({kNy, kNx}), fixed({kNy, kNx});
  for (Index i = 0; i < dynamic.size(); ++i) {
    dynamic.data()[i] = static_cast<std::uint32_t>(i % 3);
    fixed.data()[i] = i % 3 == 0 ? 0 : static_cast<std::uint32_t>(2 * (i % 3) - i % 2);
  }
  const auto add = [&](const char* name, core::AnyArray array) { p.datasets.push_back({name, std::move(array)}); };
  add("qmap/dynamic_roi_map", core::AnyArray(dynamic));
  add("qmap/static_roi_map", core::AnyArray(fixed));
  add("qmap/dynamic_v_list_dim0", row({0.01, 0.02}));
  add("qmap/energy", row({10.5}));
  add("qmap/pixel_size", row({75e-6}));
  add("qmap/detector_distance", row({5}));
  p.provenance["qmap/map_names"] = "q,phi";
  p.provenance["qmap/map_units"] = "1/A,deg";
  return p;
}

model::Product correlated() {
  model::Product p;
  p.technique = "xpcs";
  p.verb = "correlate";
  const auto add = [&](const char* name, core::AnyArray array) { p.datasets.push_back({name, std::move(array)}); };
  add("delay", row({2, 4, 8}));
  add("g2", numbers({3, 2}, 1));
  add("g2_error", numbers({3, 2}, 2));
  add("g2_partial", numbers({4, 3, 2}, 3));
  add("saxs_1d", numbers({4}, 4));
  add("saxs_1d_partial", numbers({5, 4}, 5));
  add("saxs_2d", numbers({kNy, kNx}, 6));
  add("frame", row({0, 1, 2, 5}));
  add("frame_sum", numbers({4}, 7));
  add("transmission", numbers({4}, 8));
  p.metrics = {{"frames", 4}, {"frame_time_s", 0.125}};
  p.provenance = {{"options", R"({"stride":2,"average":1,"bad-frames":"3,4"})"}, {"created", "2026-01-01T00:00:00Z"}};
  return with_map(std::move(p));
}

void expect_same(const model::Product& a, const model::Product& b) {
  for (const auto& d : a.datasets) {
    const auto* other = b.find(d.name);
    ASSERT_NE(other, nullptr) << d.name;
    EXPECT_EQ(other->data.shape(), d.data.shape()) << d.name;
    ASSERT_EQ(other->data.size(), d.data.size()) << d.name;
    EXPECT_TRUE(testing::same(d.data, other->data)) << d.name;
  }
}

TEST(XpcsResult, ComesBackAsItWas) {
  const testing::TemporaryFolder folder;
  const auto written = correlated();
  write_product(folder / "r.h5", written);
  const auto read = read_product(folder / "r.h5");
  EXPECT_EQ(read.technique, "xpcs");
  EXPECT_EQ(read.verb, "correlate");
  expect_same(written, read);
  EXPECT_EQ(read.metrics.at("frame_time_s"), 0.125);
  EXPECT_EQ(read.metrics.at("frames"), 4);
  EXPECT_EQ(read.provenance.at("options"), written.provenance.at("options"));
  EXPECT_EQ(read.provenance.at("qmap/map_names"), "q,phi");
  ASSERT_NE(read.find("q"), nullptr) << "from the map";
  EXPECT_EQ((read.find("q")->data.view<double, 1>()[1]), 0.02);
}

// What pyXpcsViewer and boost_corr's readers look up, by path, shape and convention.
TEST(XpcsResult, HasWhatOtherReadersLookUp) {
  const testing::TemporaryFolder folder;
  const auto written = correlated();
  write_product(folder / "r.h5", written);
  const auto file = hdf5::File::open(folder / "r.h5");
  using Shape = std::vector<Index>;
  const std::map<std::string, Shape> shapes{{"/xpcs/multitau/delay_list", {3}},
                                            {"/xpcs/multitau/normalized_g2", {3, 2}},
                                            {"/xpcs/multitau/normalized_g2_err", {3, 2}},
                                            {"/xpcs/multitau/normalized_g2_partial", {4, 3, 2}},
                                            {"/xpcs/temporal_mean/scattering_2d", {kNy, kNx}},
                                            {"/xpcs/temporal_mean/scattering_1d", {1, 4}},
                                            {"/xpcs/temporal_mean/scattering_1d_segments", {5, 4}},
                                            {"/xpcs/spatial_mean/intensity_vs_time", {2, 4}},
                                            {"/xpcs/qmap/mask", {kNy, kNx}},
                                            {"/xpcs/qmap/dynamic_roi_map", {kNy, kNx}},
                                            {"/xpcs/qmap/dynamic_v_list_dim0", {2}},
                                            {"/xpcs/qmap/dynamic_v_list_dim1", {1}},
                                            {"/xpcs/qmap/static_v_list_dim0", {4}},
                                            {"/xpcs/qmap/static_index_mapping", {4}},
                                            {"/xpcs/qmap/dynamic_index_mapping", {2}},
                                            {"/xpcs/qmap/dynamic_num_pts", {2}},
                                            {"/xpcs/qmap/static_num_pts", {2}},
                                            {"/xpcs/qmap/map_names", {2}},
                                            {"/xpcs/qmap/beam_center_x", {}},
                                            {"/exchange/tau", {1, 3}},
                                            {"/exchange/norm-0-g2", {3, 2}},
                                            {"/exchange/norm-0-stderr", {3, 2}},
                                            {"/exchange/pixelSum", {kNy, kNx}},
                                            {"/exchange/frameSum", {2, 4}},
                                            {"/exchange/partition-mean-total", {1, 4}},
                                            {"/exchange/partition-mean-partial", {5, 4}},
                                            {"/xpcs/sqmap", {kNy, kNx}}};
  for (const auto& [path, shape] : shapes) {
    ASSERT_TRUE(file.has_dataset(path)) << path;
    EXPECT_EQ(file.dataset(path).shape(), shape) << path;
  }
  // The product counts frames of the input; the layout counts steps of stride x average frames.
  EXPECT_EQ(file.dataset("/xpcs/multitau/config/stride_frame").number(), 2);
  EXPECT_EQ(file.dataset("/xpcs/multitau/config/avg_frame").number(), 1);
  EXPECT_EQ(file.dataset("/xpcs/multitau/delay_list").number(), 1);
  EXPECT_EQ(file.dataset("/xpcs/multitau/config/bad_frames").text(), "3,4");
  EXPECT_EQ(file.dataset("/entry/instrument/detector_1/frame_time").number(), 0.125);
  EXPECT_EQ(file.dataset("/entry/instrument/incident_beam/incident_energy").number(), 10.5);
  EXPECT_EQ(file.dataset("/entry/start_time").text(), "2026-01-01T00:00:00Z");
  EXPECT_EQ(file.kind("/entry/instrument/bluesky/metadata"), hdf5::Kind::group);
  EXPECT_EQ(file.text_attribute("/xpcs/qmap", "hash")->size(), 64U);
  EXPECT_EQ(file.dataset("/xpcs/qmap/map_names").texts(), (std::vector<std::string>{"q", "phi"}));
}

TEST(XpcsResult, KeepsTwoTimesAsHalves) {
  const testing::TemporaryFolder folder;
  model::Product p;
  p.technique = "xpcs";
  p.verb = "twotime";
  core::Array<float, 2> c2({5, 5});
  for (Index y = 0; y < 5; ++y)
    for (Index x = 0; x < 5; ++x) c2(y, x) = 1.0F + static_cast<float>(y * x + y + x);
  p.datasets.push_back({"c2_00003", core::AnyArray(c2)});
  p.datasets.push_back({"c2_g2", numbers({5, 1}, 1)});
  p.datasets.push_back({"c2_g2_partial", numbers({2, 2, 1}, 2)});
  p.datasets.push_back({"delay", row({0, 1, 2, 3, 4})});
  p.datasets.push_back({"bins", row({3})});
  write_product(folder / "r.hdf", p);
  expect_same(p, read_product(folder / "r.hdf"));
  const auto file = hdf5::File::open(folder / "r.hdf");
  const auto half = file.dataset("/exchange/C2T_all/g2_00003").read().to<float, 2>();
  for (Index y = 0; y < 5; ++y)
    for (Index x = 0; x < 5; ++x) EXPECT_EQ(half(y, x), x < y ? 0.0F : c2(y, x));
}

/// Rows that are made when they are asked for.
struct Rule final : model::RowSource {
  explicit Rule(Index n) : square{n, n} {}
  core::DType dtype() const override { return core::DType::f32; }
  const std::vector<Index>& shape() const override { return square; }
  static float at(Index y, Index x) { return x < y ? 0.0F : 1.0F + static_cast<float>((3 * y + 5 * x) % 101); }
  void read(Index first, Index count, void* out) const override {
    if (first == fails_at) throw core::Error(ErrorCode::internal, "no such rows");
    for (Index y = 0; y < count; ++y)
      for (Index x = 0; x < square[1]; ++x) static_cast<float*>(out)[y * square[1] + x] = at(first + y, x);
  }
  std::vector<Index> square;
  Index fails_at = -1;
};

TEST(XpcsResult, WritesTwoTimesThatAreMadeOnTheWay) {
  const testing::TemporaryFolder folder;
  model::Product p;
  p.technique = "xpcs";
  p.verb = "twotime";
  const auto rows = std::make_shared<Rule>(600);  // three stripes of chunks, the last not full
  p.datasets.push_back({"c2_00001", {}});
  p.datasets.back().rows = rows;
  p.datasets.push_back({"c2_g2", numbers({600, 1}, 1)});
  write_product(folder / "r.hdf", p);
  const auto half =
      hdf5::File::open(folder / "r.hdf").dataset("/xpcs/twotime/correlation_map/c2_00001").read().to<float, 2>();
  ASSERT_EQ(half.extent(0), 600);
  for (Index y = 0; y < 600; ++y)
    for (Index x = 0; x < 600; ++x) ASSERT_EQ(half(y, x), Rule::at(y, x)) << y << ", " << x;
  const auto back = read_product(folder / "r.hdf");
  EXPECT_EQ((back.find("c2_00001")->data.to<float, 2>()(7, 3)), Rule::at(3, 7)) << "whole again";

  rows->fails_at = 256;
  EXPECT_THROW(write_product(folder / "s.hdf", p), core::Error);
  EXPECT_FALSE(std::filesystem::exists(folder / "s.hdf"));
}

TEST(XpcsResult, PutsSumsOfPixelsInTheirPlaces) {
  const testing::TemporaryFolder folder;
  auto p = correlated();
  std::vector<std::uint32_t> pixels;
  for (std::uint32_t i = 0; i < kNy * kNx; ++i)
    if (i % 3 != 0) pixels.push_back(i);
  const auto slots = static_cast<Index>(pixels.size());
  p.datasets.push_back({"pixel", core::AnyArray(core::View<const std::uint32_t, 1>(pixels.data(), {slots}))});
  for (const auto& [name, seed] : {std::pair{"G2", 20}, {"IP", 21}, {"IF", 22}})
    p.datasets.push_back({name, core::AnyArray(numbers({3, slots}, static_cast<std::uint64_t>(seed)).to<float, 2>())});
  write_product(folder / "r.h5", p);
  expect_same(p, read_product(folder / "r.h5"));
  const auto file = hdf5::File::open(folder / "r.h5");
  const auto all = file.dataset("/xpcs/multitau/unnormalized_G2");
  EXPECT_EQ(all.shape(), (std::vector<Index>{3, 3, kNy, kNx}));
  float value = 0;
  all.read_box({2, 1, 0, 4}, {1, 1, 1, 1}, &value);
  EXPECT_EQ(value, (p.find("IP")->data.view<float, 2>()(2, 2)));  // pixel 4 is the third that is used
}

TEST(XpcsResult, RefusesContradictions) {
  const testing::TemporaryFolder folder;
  auto p = correlated();
  p.datasets[0].data = row({1, 2});
  write_product(folder / "r.h5", p);
  EXPECT_CONTAINS(caught([&] { read_product(folder / "r.h5"); }).text, "g2 has 3 delays, the list 2");
  p.datasets[0].data = numbers({1, 3}, 1);
  EXPECT_EQ(caught([&] { write_product(folder / "r.h5", p); }).code, ErrorCode::invalid_argument);
}

TEST(XpcsQMap, ComesBackAsItWas) {
  const testing::TemporaryFolder folder;
  const auto product = with_map({});
  xpcs::write_qmap(folder / "map.h5", product);
  model::Acquisition a;
  a.detector.ny = kNy;
  a.detector.nx = kNx;
  xpcs::read_qmap(folder / "map.h5", a);
  for (const auto& d : product.datasets) {
    ASSERT_TRUE(a.inputs.contains(d.name)) << d.name;
    EXPECT_TRUE(testing::same(d.data, a.inputs.at(d.name))) << d.name;
  }
  EXPECT_EQ(a.metadata.at("qmap/map_units"), "1/A,deg");
  EXPECT_DOUBLE_EQ(*a.detector.distance_m, 5);
  EXPECT_DOUBLE_EQ(*a.detector.pixel_size_x_m, 75e-6);
  EXPECT_DOUBLE_EQ(*a.beam.energy_eV, 10500);
  EXPECT_FALSE(a.inputs.contains("qmap/beam_center_x")) << "what is not known stays away";

  write_product(folder / "result.h5", correlated());
  model::Acquisition from_result;
  from_result.detector.ny = kNy;
  from_result.detector.nx = kNx;
  xpcs::read_qmap(folder / "result.h5", from_result);
  EXPECT_TRUE(testing::same(a.inputs.at("qmap/dynamic_roi_map"), from_result.inputs.at("qmap/dynamic_roi_map")));
  xpcs::read_metadata(folder / "result.h5", from_result);
  EXPECT_EQ(from_result.metadata.at("frame_time_s"), "0.125");

  testing::write_plain(folder / "no.h5", read_file(folder / "map.h5", 1 << 20));
  EXPECT_EQ(caught([&] { xpcs::read_metadata(folder / "no.h5", a); }).code, ErrorCode::not_found);
  EXPECT_EQ(caught([&] { xpcs::write_qmap(folder / "x.h5", {}); }).code, ErrorCode::invalid_argument);
}

TEST(XpcsQMap, ReadsTheMapOfTheSimulation) {
  const auto path = tests::shared_data("xpcs/qmap.h5");
  FARFIELD_REQUIRE_SHARED(path);
  model::Acquisition a;
  a.detector.ny = a.detector.nx = 128;
  xpcs::read_qmap(path, a);
  const auto dynamic = a.inputs.at("qmap/dynamic_roi_map").to<double, 2>();
  EXPECT_EQ(*std::max_element(dynamic.begin(), dynamic.end()), 18);
  const auto fixed = a.inputs.at("qmap/static_roi_map").to<double, 2>();
  EXPECT_EQ(*std::max_element(fixed.begin(), fixed.end()), 180);
}

// Results of xpcs-eigen, in the older layout.
TEST(XpcsResult, ReadsTheOlderLayout) {
  const auto path = tests::shared_data("xpcs/xpcs_eigen_fixed_multitau_result.h5");
  FARFIELD_REQUIRE_SHARED(path);
  const auto p = read_product(path);
  EXPECT_EQ(p.technique, "xpcs");
  EXPECT_EQ(p.verb, "correlate");
  const auto delay = p.find("delay")->data.to<double, 1>();
  const auto g2 = p.find("g2")->data.to<double, 2>(), error = p.find("g2_error")->data.to<double, 2>();
  ASSERT_EQ(delay.size(), 38);
  std::ifstream table(tests::shared_data("xpcs/exact_multitau_g2.txt"));
  Index i = 0;
  for (std::string line; std::getline(table, line); ++i) {
    std::istringstream words(line);
    double tau = 0, value = 0, sigma = 0;
    words >> tau;
    EXPECT_EQ(delay[i], tau);
    // Single precision in the file, six digits in the table.
    for (Index q = 0; words >> value >> sigma; ++q) {
      EXPECT_NEAR(g2(i, q), value, 2e-5 * value);
      EXPECT_NEAR(error(i, q), sigma, 2e-5);
    }
  }
  EXPECT_EQ(i, 38);
  EXPECT_EQ(p.find("saxs_2d")->data.shape(), (std::vector<Index>{128, 128}));
  EXPECT_EQ(p.find("frame_sum")->data.size(), 2000);
  EXPECT_NE(p.find("qmap/static_roi_map"), nullptr);

  const auto two = read_product(tests::shared_data("xpcs/xpcs_eigen_twotime500_result.h5"));
  EXPECT_EQ(two.verb, "twotime");
  const auto c2 = two.find("c2_00018")->data.to<float, 2>();
  EXPECT_EQ(c2(3, 490), c2(490, 3));
  EXPECT_GT(c2(490, 3), 0);
  EXPECT_EQ(two.find("delay")->data.size(), 500);
}

}  // namespace
}  // namespace farfield::io
