// Two ranks come to what one comes to, and one of them speaks.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "farfield/io/product_file.hpp"
#include "tests/domain/program/process.hpp"

namespace farfield::testing_program {
namespace {

namespace fs = std::filesystem;

struct Mpi : testing::Test {
  Mpi() {
    fs::create_directories(folder);
    EXPECT_EQ(farfield({"statistics", "simulate", "--frames", "41", "--shape", "16", "--out", path("scan.cxi")}).exit_code, 0);
  }
  ~Mpi() override { fs::remove_all(folder); }
  std::string path(const std::string& name) const { return (folder / name).string(); }
  static Finished two_ranks(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--oversubscribe", "-np", "2", FARFIELD_PROGRAM});
    return run_program("mpirun", arguments, {.environment = {{"OMPI_ALLOW_RUN_AS_ROOT", "1"},
                                                             {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
                                                             {"OMPI_MCA_btl_vader_single_copy_mechanism", "none"}}});
  }
  fs::path folder = fs::path(testing::TempDir()) / ("farfield_mpi_" + std::to_string(getpid()));
};

TEST_F(Mpi, TwoRanksComeToWhatOneComesTo) {
  ASSERT_EQ(farfield({"statistics", "mean", path("scan.cxi"), "--out", path("one")}).exit_code, 0);
  const auto run = two_ranks({"statistics", "mean", path("scan.cxi"), "--out", path("two"), "--mpi", "--json", "--threads", "1"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  int summaries = 0;
  std::istringstream lines(run.out);
  for (std::string line; std::getline(lines, line);) summaries += nlohmann::json::parse(line).at("message_type") == "summary" ? 1 : 0;
  EXPECT_EQ(summaries, 1) << "only rank 0 speaks";
  const auto one = io::read_product(folder / "one/result.cxi"), two = io::read_product(folder / "two/result.cxi");
  EXPECT_EQ(two.metrics.at("frames"), 41);
  for (const char* name : {"mean", "variance"}) {
    const auto a = one.find(name)->data.to<double, 2>(), b = two.find(name)->data.to<double, 2>();
    // Sums of 41 terms in another order: 41 ulp of numbers below 100.
    for (core::Index i = 0; i < a.size(); ++i) EXPECT_NEAR(a.data()[i], b.data()[i], 41 * 100 * 2.3e-16) << name;
  }
}

TEST_F(Mpi, AnErrorEndsAllRanks) {
  const auto run = two_ranks({"statistics", "mean", path("none.cxi"), "--out", path("out"), "--mpi"});
  EXPECT_EQ(run.exit_code, 10) << run.err;
  EXPECT_NE(run.err.find("none.cxi"), std::string::npos);
}

}  // namespace
}  // namespace farfield::testing_program
