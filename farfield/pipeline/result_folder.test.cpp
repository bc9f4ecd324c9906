#include "farfield/pipeline/result_folder.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <set>

#include "farfield/io/product_file.hpp"

namespace farfield::pipeline {
namespace {

namespace fs = std::filesystem;

struct ResultFolderTest : testing::Test {
  ResultFolderTest() {
    product.technique = "statistics";
    product.verb = "mean";
    product.datasets.push_back({"mean", core::AnyArray(core::Array<float, 2>({4, 4}, 2.0F)), "counts", {"y", "x"}});
    product.metrics = {{"frames", 3}};
  }
  ~ResultFolderTest() override { fs::remove_all(folder); }
  std::set<std::string> files(const fs::path& path) const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(path)) names.insert(entry.path().filename());
    return names;
  }
  fs::path folder = fs::path(testing::TempDir()) / ("farfield_results_" + std::to_string(getpid()));
  model::Product product;
};

TEST_F(ResultFolderTest, APathThatEndsLikeAFileIsTheResult) {
  product.technique = "xpcs";
  product.datasets.push_back({"g2", core::AnyArray(core::Array<double, 2>({1, 1}, 1.5))});
  product.datasets.push_back({"delay", core::AnyArray(core::Array<double, 1>({1}, 1.0))});
  const ResultFolder results(folder / "run.h5");
  const auto written = results.write(product, nullptr);
  EXPECT_EQ(files(folder), (std::set<std::string>{"run", "run.h5"}));
  EXPECT_TRUE(files(folder / "run").contains("metrics.json"));
  EXPECT_EQ(written.back(), folder / "run.h5");
  EXPECT_NE(io::read_product(folder / "run.h5").find("g2"), nullptr);
}

TEST_F(ResultFolderTest, ATechniqueWithALayoutOfItsOwnHasItInAFolderToo) {
  product.technique = "xpcs";
  product.datasets.push_back({"g2", core::AnyArray(core::Array<double, 2>({1, 1}, 1.5))});
  product.datasets.push_back({"delay", core::AnyArray(core::Array<double, 1>({1}, 1.0))});
  product.datasets.push_back({"qmap/dynamic_roi_map", core::AnyArray(core::Array<std::uint32_t, 2>({2, 2}, 1))});
  product.datasets.push_back({"qmap/static_roi_map", core::AnyArray(core::Array<std::uint32_t, 2>({2, 2}, 1))});
  const auto written = ResultFolder(folder).write(product, nullptr);
  EXPECT_EQ(written.back(), folder / "result.h5");
  EXPECT_NE(io::read_product(written.back()).find("qmap/dynamic_roi_map"), nullptr);
}

TEST_F(ResultFolderTest, WritesTheProductLast) {
  const ResultFolder results(folder / "a" / "b");
  EXPECT_TRUE(files(folder / "a/b").empty()) << "trying the folder leaves nothing";
  const FrameTotals frames{};
  const auto written = results.write(product, &frames);
  EXPECT_EQ(files(folder / "a/b"), (std::set<std::string>{"mean.png", "frames.json", "metrics.json", "result.cxi"}));
  EXPECT_EQ(written.back().filename(), "result.cxi");
  EXPECT_EQ(io::read_product(written.back()).metrics.at("frames"), 3);
  EXPECT_EQ(results.write(product, nullptr).size(), 3U) << "again, over what is there; without an account";
}

TEST_F(ResultFolderTest, AFolderThatCannotBeIsRefusedAtOnce) {
  fs::create_directories(folder);
  std::ofstream(folder / "file") << "in the way";
  try {
    const ResultFolder results(folder / "file" / "out");
    FAIL() << "no error";
  } catch (const core::Error& e) {
    EXPECT_EQ(e.code(), core::ErrorCode::io);
    EXPECT_NE(std::string(e.what()).find("file/out"), std::string::npos);
  }
}

TEST_F(ResultFolderTest, PreviewsGoWhenTheResultIsThere) {
  const ResultFolder results(folder);
  PreviewFolder previews(results);
  previews.show(product, 1);
  EXPECT_EQ(files(folder), std::set<std::string>{"preview_mean.png"});
  previews.clear();
  EXPECT_TRUE(files(folder).empty());
  PreviewFolder silent(results, false);
  silent.show(product, 1);
  EXPECT_TRUE(files(folder).empty());
}

}  // namespace
}  // namespace farfield::pipeline
