#include "farfield/io/product_file.hpp"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "farfield/io/atomic_file.hpp"
#include "farfield/io/hdf5/file.hpp"
#include "farfield/io/metrics_json.hpp"
#include "farfield/io/npz/npy.hpp"
#include "farfield/io/testing.hpp"

namespace farfield::io {
namespace {

using core::cfloat;
using core::ErrorCode;
using core::Index;
using testing::caught;

template <class T>
core::AnyArray filled(std::vector<Index> shape, double step) {
  core::AnyArray a(core::dtype_of<T>, std::move(shape));
  for (Index i = 0; i < a.size(); ++i) {
    if constexpr (std::is_arithmetic_v<T>) static_cast<T*>(a.data())[i] = static_cast<T>(step * static_cast<double>(i));
    else
      static_cast<T*>(a.data())[i] = T(static_cast<typename T::value_type>(step * static_cast<double>(i)),
                                       static_cast<typename T::value_type>(-1));
  }
  return a;
}

model::Product a_product() {
  model::Product p;
  p.technique = "ptychography";
  p.verb = "reconstruct";
  // Large enough for compressed chunks of several rows, and every element type.
  p.datasets.push_back({"object", filled<cfloat>({150, 170}, 0.3), "", {"y", "x"}, "the object"});
  p.datasets.push_back({"probe", filled<cfloat>({2, 16, 16}, 0.1), "", {"mode", "y", "x"}, ""});
  p.datasets.push_back({"positions", filled<double>({7, 2}, 1e-9 / 3), "m", {"frame", "yx"}, ""});
  p.datasets.push_back({"cost", filled<double>({5}, 0.7), "", {"iteration"}, ""});
  p.datasets.push_back({"a_scalar", filled<float>({}, 1), "eV", {}, ""});
  p.datasets.push_back({"nothing", core::AnyArray(core::DType::i16, {0, 3}), "", {"y", "x"}, ""});
  p.datasets.push_back({"c128", filled<core::cdouble>({3}, 1), "", {}, ""});
  p.datasets.push_back({"i8", filled<std::int8_t>({3}, -1), "", {}, ""});
  p.datasets.push_back({"u64", filled<std::uint64_t>({300, 300}, 1e9), "", {}, ""});
  p.metrics = {
      {"final_cost", 0.38812345678901234}, {"diverged", std::numeric_limits<double>::infinity()}, {"iterations", 32}};
  p.provenance = {{"options", R"({"algorithm":"lsqml","probe-modes":3})"},
                  {"version", "0.1.0 (abc)"},
                  {"checksum", "sha256:00"},
                  {"empty", ""},
                  {"note", "Ångström"}};
  p.pixel_size_y_m = 1.1e-8 / 3;
  p.pixel_size_x_m = 1.2e-8;
  p.energy_eV = 8801.0 / 3;
  return p;
}

void expect_equal(const model::Product& a, const model::Product& b) {
  EXPECT_EQ(a.technique, b.technique);
  EXPECT_EQ(a.verb, b.verb);
  EXPECT_EQ(a.metrics, b.metrics);
  EXPECT_EQ(a.provenance, b.provenance);
  EXPECT_EQ(a.pixel_size_y_m, b.pixel_size_y_m);
  EXPECT_EQ(a.pixel_size_x_m, b.pixel_size_x_m);
  EXPECT_EQ(a.energy_eV, b.energy_eV);
  ASSERT_EQ(a.datasets.size(), b.datasets.size());
  for (std::size_t i = 0; i < a.datasets.size(); ++i) {
    const auto &d = a.datasets[i], &e = b.datasets[i];
    EXPECT_EQ(d.name, e.name);
    EXPECT_EQ(d.unit, e.unit);
    EXPECT_EQ(d.axes, e.axes);
    EXPECT_EQ(d.help, e.help);
    EXPECT_TRUE(testing::same(d.data, e.data)) << d.name;
  }
}

TEST(Product, RoundTripIsExact) {
  const testing::TemporaryFolder folder;
  const auto p = a_product();
  write_product(folder / "r.cxi", p);
  expect_equal(p, read_product(folder / "r.cxi"));
  // The same product gives the same bytes.
  write_product(folder / "s.cxi", p);
  EXPECT_EQ(read_file(folder / "r.cxi", 1 << 28), read_file(folder / "s.cxi", 1 << 28));
}

TEST(Product, OtherProgramsFindWhatCxiPromises) {
  const testing::TemporaryFolder folder;
  const auto p = a_product();
  write_product(folder / "r.cxi", p);
  const auto file = hdf5::File::open(folder / "r.cxi");
  EXPECT_EQ(file.dataset("/cxi_version").number(), 160);
  EXPECT_TRUE(testing::same(file.dataset("/entry_1/image_1/data").read(), p.find("object")->data));
  EXPECT_TRUE(testing::same(file.dataset("/entry_1/instrument_1/source_1/illumination").read(), p.find("probe")->data));
  EXPECT_NEAR(file.dataset("/entry_1/instrument_1/source_1/energy").number(), *p.energy_eV * 1.602176634e-19, 1e-30);
  // Windows move against the sample; with rows down and columns to the right (who looks along the beam sees
  // x to the left), the sample's (x, y) translation is the window's (x, y) position.
  const auto t = file.dataset("/entry_1/sample_1/geometry_1/translation").read().to<double, 2>();
  const auto v = p.find("positions")->data.to<double, 2>();
  for (Index i = 0; i < 7; ++i) {
    EXPECT_EQ(t(i, 0), v(i, 1));
    EXPECT_EQ(t(i, 1), v(i, 0));
    EXPECT_EQ(t(i, 2), 0);
  }
}

TEST(Product, LeavesOutWhatIsNotKnown) {
  const testing::TemporaryFolder folder;
  model::Product p;
  p.technique = "statistics";
  p.verb = "mean";
  p.datasets.push_back({"mean", filled<float>({4, 4}, 1), "counts", {"y", "x"}, ""});
  write_product(folder / "r.cxi", p);
  const auto file = hdf5::File::open(folder / "r.cxi");
  for (const char* path :
       {"/entry_1/image_1", "/entry_1/instrument_1", "/entry_1/sample_1", "/entry_1/farfield/energy_eV"})
    EXPECT_FALSE(file.has(path)) << path;
  expect_equal(p, read_product(folder / "r.cxi"));
}

TEST(Product, RefusesNamesThatAreNone) {
  const testing::TemporaryFolder folder;
  model::Product p;
  for (const char* name : {"", "a/b", ".", ".."}) {
    p.datasets = {{name, filled<float>({4}, 1)}};
    EXPECT_EQ(caught([&] { write_product(folder / "r.cxi", p); }).code, ErrorCode::invalid_argument) << name;
  }
  p.datasets = {{"a", filled<float>({4}, 1)}, {"a", filled<float>({4}, 1)}};
  EXPECT_EQ(caught([&] { write_product(folder / "r.cxi", p); }).code, ErrorCode::invalid_argument);
  p.datasets = {{"a", {}}};
  EXPECT_EQ(caught([&] { write_product(folder / "r.cxi", p); }).code, ErrorCode::invalid_argument);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Product, ForeignNpz) {
  const testing::TemporaryFolder folder;
  {
    AtomicFile file(folder / "tike.npz");
    npz::ZipWriter zip(file);
    const std::pair<const char*, core::AnyArray> arrays[] = {{"psi.npy", filled<cfloat>({1, 9, 8}, 1)},
                                                             {"probe.npy", filled<cfloat>({1, 1, 1, 2, 4, 4}, 1)},
                                                             {"scan.npy", filled<float>({1, 3, 2}, 1)}};
    for (const auto& [name, array] : arrays) {
      zip.begin(name);
      zip.write(npz::npy_header(array.dtype(), array.shape()));
      zip.write({static_cast<const std::byte*>(array.data()), static_cast<std::size_t>(array.bytes())});
      zip.end();
    }
    zip.finish();
    file.commit();
  }
  const auto p = read_product(folder / "tike.npz");
  EXPECT_EQ(p.find("object")->data.shape(), (std::vector<Index>{9, 8}));
  EXPECT_EQ(p.find("probe")->data.shape(), (std::vector<Index>{2, 4, 4}));
  EXPECT_EQ((p.find("positions")->data.view<double, 2>()(2, 1)), 5);
}

TEST(Product, ForeignHdf5) {
  const testing::TemporaryFolder folder;
  {
    auto f = hdf5::File::create(folder / "r.ptyr", folder / "r.ptyr");
    f.write("/content/obj/Sscan_00G00/data", filled<cfloat>({1, 20, 30}, 1));
    f.write("/content/obj/Sscan_00G00/_psize", filled<double>({2}, 2e-8));
    f.write_number("/content/obj/Sscan_00G00/_energy", 6.2);
    f.write("/content/probe/Sscan_00G00/data", filled<core::cdouble>({2, 8, 8}, 1));
  }
  auto p = read_product(folder / "r.ptyr");
  EXPECT_EQ(p.find("object")->data.shape(), (std::vector<Index>{20, 30}));
  EXPECT_EQ(p.find("probe")->data.dtype(), core::DType::c64);
  EXPECT_EQ(p.pixel_size_x_m, 2e-8);
  EXPECT_NEAR(*p.energy_eV, 6200, 1e-9);
  {
    // ptychodus: the probe is image_1.
    auto f = hdf5::File::create(folder / "p.cxi", folder / "p.cxi");
    f.write("/entry_1/image_1/data", filled<cfloat>({1, 8, 8}, 1));
    f.link("/entry_1/image_1/data", "/entry_1/instrument_1/source_1/illumination");
    f.write("/entry_1/image_2/data", filled<cfloat>({1, 20, 30}, 1));
    f.make_group("/entry_1/ptychodus");
  }
  p = read_product(folder / "p.cxi");
  EXPECT_EQ(p.find("object")->data.shape(), (std::vector<Index>{20, 30}));
  EXPECT_EQ(p.find("probe")->data.shape(), (std::vector<Index>{1, 8, 8}));
  {
    auto f = hdf5::File::create(folder / "x.h5", folder / "x.h5");
    f.write("/something", filled<float>({4}, 1));
  }
  const auto error = caught([&] { read_product(folder / "x.h5"); });
  EXPECT_EQ(error.code, ErrorCode::unsupported);
  EXPECT_CONTAINS(error.text, "/something");
}

TEST(Product, TruthBesideAScan) {
  const testing::TemporaryFolder folder;
  model::Acquisition a;
  a.detector.ny = a.detector.nx = 8;
  ScanWriter writer(folder / "scan.cxi", a, 0);
  auto truth = a_product();
  writer.set_truth(truth);
  writer.commit();
  expect_equal(truth, read_product(folder / "scan.cxi"));
}

TEST(MetricsJson, EmbedsOptionsAndSurvivesInfinity) {
  const auto json = nlohmann::json::parse(metrics_json(a_product()));
  EXPECT_EQ(json["provenance"]["options"]["algorithm"], "lsqml");
  EXPECT_EQ(json["provenance"]["note"], "Ångström");
  EXPECT_EQ(json["metrics"]["iterations"], 32);
  EXPECT_EQ(json["metrics"]["final_cost"], 0.38812345678901234);
  EXPECT_TRUE(json["metrics"]["diverged"].is_null());
  EXPECT_EQ(json["datasets"][1]["shape"], (std::vector<Index>{2, 16, 16}));
}

}  // namespace
}  // namespace farfield::io
