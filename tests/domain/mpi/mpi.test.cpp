#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <complex>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "farfield/io/product_file.hpp"
#include "tests/domain/program/process.hpp"

namespace farfield::testing_program {
namespace {

namespace fs = std::filesystem;

/// The program on `ranks` processes of this machine.
Finished on_ranks(int ranks, const std::vector<std::string>& arguments) {
  std::vector<std::string> words{"--allow-run-as-root", "--oversubscribe", "-np", std::to_string(ranks), FARFIELD_RANK};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return farfield(words);
}

struct Mpi : testing::Test {
  Mpi() : folder(fs::path(testing::TempDir()) / ("farfield_mpi_" + std::to_string(getpid()))) {
    fs::create_directories(folder);
  }
  ~Mpi() override {
    std::error_code ignored;
    fs::remove_all(folder, ignored);
  }
  std::string path(const std::string& name) const { return (folder / name).string(); }

  void simulate() const {
    const auto made = on_ranks(1, {"ptychography", "simulate",  "--phantom", "random", "--patterns",
                                   "90",           "--shape",   "64",        "--step", "6",
                                   "--jitter",     "1.5",       "--probe",   "disc",   "--probe-size",
                                   "26",           "--photons", "3e5",       "--out",  path("scan.cxi"),
                                   "--quiet"});
    ASSERT_EQ(made.exit_code, 0) << made.err;
  }
  /// Metrics of a reconstruction.
  nlohmann::json reconstruct(int ranks, const std::string& algorithm, const std::string& out) const {
    std::vector<std::string> arguments{"ptychography", "reconstruct", path("scan.cxi"), "--algorithm", algorithm,
                                       "--iterations", "10",          "--threads",      "1",           "--fft-planning",
                                       "estimate",     "--out",       path(out),        "--quiet"};
    if (ranks > 1) arguments.push_back("--mpi");
    const auto done = on_ranks(ranks, arguments);
    EXPECT_EQ(done.exit_code, 0) << done.err;
    std::ifstream file(folder / out / "metrics.json");
    EXPECT_TRUE(file) << done.err;
    auto all = nlohmann::json::parse(file);
    return all.contains("metrics") ? all["metrics"] : all;
  }
  model::Product result(const std::string& out) const { return io::read_product(folder / out / "result.cxi"); }
  fs::path folder;
};

TEST_F(Mpi, FullBatchAlgorithmsReconstructAsOneProcessDoes) {
  simulate();
  for (const std::string algorithm : {"cgml", "raar"}) {
    const auto one = reconstruct(1, algorithm, algorithm + "1"), two = reconstruct(2, algorithm, algorithm + "2");
    EXPECT_NEAR(two.at("final_cost").get<double>(), one.at("final_cost").get<double>(),
                1e-3 * one.at("final_cost").get<double>())
        << algorithm;
    EXPECT_GT(two.at("bytes_sent_per_iteration").get<double>(), 0);
    EXPECT_FALSE(one.contains("bytes_sent_per_iteration"));
    const auto first = result(algorithm + "1"), second = result(algorithm + "2");
    const auto a = first.find("object")->data.to<std::complex<float>, 2>(),
               b = second.find("object")->data.to<std::complex<float>, 2>();
    const auto lit = first.find("illumination")->data.to<float, 2>();
    ASSERT_EQ(a.extents(), b.extents());
    // Each pixel counts by the light that fell on it: where hardly any did, rounding decides.
    double difference = 0, total = 0;
    for (core::Index i = 0; i < a.size(); ++i) {
      difference += static_cast<double>(lit.data()[i] * std::norm(a.data()[i] - b.data()[i]));
      total += static_cast<double>(lit.data()[i] * std::norm(a.data()[i]));
    }
    EXPECT_LT(std::sqrt(difference / total), 1e-3) << algorithm;
  }
}

TEST_F(Mpi, BatchAlgorithmsComeAsFarAsOneProcess) {
  simulate();
  for (const std::string algorithm : {"lsqml", "rpie"}) {
    const auto one = reconstruct(1, algorithm, algorithm + "1"), two = reconstruct(2, algorithm, algorithm + "2");
    // Other batches in another order, and the probe is the mean of two: a few percent on so small a scan.
    EXPECT_LT(two.at("final_cost").get<double>(), 1.05 * one.at("final_cost").get<double>()) << algorithm;
  }
}

TEST_F(Mpi, AnErrorEndsAllProcesses) {
  // Both find the file missing; nobody waits for the other for ever.
  const auto missing = on_ranks(2, {"ptychography", "reconstruct", path("nothing.cxi"), "--out", path("out"), "--mpi"});
  EXPECT_NE(missing.exit_code, 0);
  EXPECT_NE(missing.err.find("nothing.cxi"), std::string::npos) << missing.err;
}

}  // namespace
}  // namespace farfield::testing_program
