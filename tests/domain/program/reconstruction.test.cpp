// The long-running command: progress, interruption, going on.

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "farfield/io/product_file.hpp"
#include "tests/domain/program/process.hpp"

namespace farfield::testing_program {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Reconstruction : testing::Test {
  Reconstruction() {
    fs::create_directories(folder);
    const auto made = farfield({"ptychography", "simulate", "--patterns", "64", "--shape", "32", "--probe", "disc",
                                "--probe-size", "12", "--step", "4", "--seed", "2", "--out", path("scan.cxi")});
    EXPECT_EQ(made.exit_code, 0) << made.err;
  }
  ~Reconstruction() override { fs::remove_all(folder); }
  std::string path(const std::string& name) const { return (folder / name).string(); }
  std::vector<std::string> reconstruct(const std::string& out, std::vector<std::string> more) const {
    std::vector<std::string> all{"ptychography", "reconstruct", path("scan.cxi"), "--out", path(out),
                                 "--threads",    "1",           "--seed",         "5",     "--json"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  static std::vector<json> lines_of(const std::string& out) {
    std::vector<json> objects;
    std::istringstream lines(out);
    for (std::string line; std::getline(lines, line);) objects.push_back(json::parse(line));
    return objects;
  }
  static bool same_object(const fs::path& a, const fs::path& b) {
    const auto x = io::read_product(a), y = io::read_product(b);
    const auto &p = x.find("object")->data, &q = y.find("object")->data;
    return p.shape() == q.shape() && std::memcmp(p.data(), q.data(), static_cast<std::size_t>(p.bytes())) == 0;
  }
  fs::path folder = fs::path(testing::TempDir()) / ("farfield_reconstruction_" + std::to_string(getpid()));
};

TEST_F(Reconstruction, ReportsEveryIterationAndWritesPictures) {
  const auto run = farfield(reconstruct("out", {"--iterations", "6"}));
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const auto lines = lines_of(run.out);
  std::vector<double> cost;
  for (const auto& line : lines)
    if (line.at("message_type") == "iteration") {
      EXPECT_EQ(line.at("iteration"), cost.size() + 1);
      EXPECT_TRUE(line.contains("r_factor"));
      EXPECT_TRUE(line.contains("seconds"));
      cost.push_back(line.at("cost"));
    }
  ASSERT_EQ(cost.size(), 6U);
  EXPECT_LT(cost.back(), cost.front());
  EXPECT_TRUE(lines.back().at("metrics").contains("final_cost"));
  for (const char* name : {"object_phase.png", "object_amplitude.png", "probe.png", "cost.png", "result.cxi",
                           "metrics.json", "frames.json"})
    EXPECT_TRUE(fs::exists(folder / "out" / name)) << name;
}

TEST_F(Reconstruction, CtrlCKeepsSnapshotAndCheckpointAndResumeEndsInTheSameBits) {
  // The third iteration has been reported: stop.
  bool sent = false;
  const auto stopped = farfield(reconstruct("part", {"--iterations", "100000"}),
                                {.on_output = [&](Running& running, const std::string& out, const std::string&) {
                                  if (!sent && out.find("\"iteration\":3,") != std::string::npos) {
                                    sent = true;
                                    running.send(SIGINT);
                                  }
                                }});
  ASSERT_EQ(stopped.exit_code, 130) << stopped.err;
  EXPECT_EQ(lines_of(stopped.out).back().at("state"), "interrupted");
  ASSERT_TRUE(fs::exists(folder / "part/result.cxi"));
  ASSERT_TRUE(fs::exists(folder / "part/checkpoint.ffc"));
  EXPECT_NE(stopped.err.find("--resume"), std::string::npos);

  // Go on to a number of iterations that both can reach.
  std::int64_t done = 0;
  for (const auto& line : lines_of(stopped.out))
    if (line.at("message_type") == "iteration") done = line.at("iteration");
  const std::string total = std::to_string(done + 5);
  ASSERT_EQ(farfield(reconstruct("straight", {"--iterations", total})).exit_code, 0);
  const auto resumed =
      farfield(reconstruct("resumed", {"--iterations", total, "--resume", path("part/checkpoint.ffc")}));
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  std::int64_t more = 0;
  for (const auto& line : lines_of(resumed.out)) more += line.at("message_type") == "iteration" ? 1 : 0;
  EXPECT_LE(more, 6) << "it went on; it did not start again";
  EXPECT_TRUE(same_object(folder / "straight/result.cxi", folder / "resumed/result.cxi"));
}

TEST_F(Reconstruction, ACheckpointOfAnotherScanIsRefused) {
  ASSERT_EQ(farfield(reconstruct("out", {"--iterations", "3", "--checkpoint-every", "1e-9"})).exit_code, 0);
  ASSERT_TRUE(fs::exists(folder / "out/checkpoint.ffc"));
  ASSERT_EQ(farfield({"ptychography", "simulate", "--patterns", "64", "--shape", "32", "--probe", "disc",
                      "--probe-size", "12", "--step", "4", "--seed", "3", "--out", path("scan.cxi")})
                .exit_code,
            0);
  const auto run = farfield(reconstruct("other", {"--iterations", "3", "--resume", path("out/checkpoint.ffc")}));
  EXPECT_EQ(run.exit_code, 11) << run.err;
  EXPECT_NE(run.err.find("checkpoint belongs to another input"), std::string::npos) << run.err;
}

}  // namespace
}  // namespace farfield::testing_program
