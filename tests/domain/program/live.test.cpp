// farfield replay | farfield live: file = replay = live, with every frame accounted for.

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>
#include <thread>

#include "farfield/io/product_file.hpp"
#include "tests/domain/program/process.hpp"

namespace farfield::testing_program {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

json last_line(const std::string& out) {
  const auto end = out.find_last_not_of('\n');
  const auto start = out.rfind('\n', end);
  return json::parse(out.substr(start == std::string::npos ? 0 : start + 1), nullptr, false);
}

class LiveProgram : public ::testing::Test {
protected:
  void SetUp() override {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(::testing::TempDir()) / ("farfield_live_" + std::to_string(getpid())) / test->name();
    fs::create_directories(folder_);
    // Sockets in the file system: no port that another test could hold.
    images_ = "ipc://" + (folder_ / "images").string();
    positions_ = "ipc://" + (folder_ / "positions").string();
  }
  void TearDown() override { fs::remove_all(folder_.parent_path()); }

  /// The replay listens, the live run connects; whoever comes first waits.
  Finished play(const std::vector<std::string>& replay, const std::vector<std::string>& live,
                Finished* sender = nullptr) {
    std::vector<std::string> send{"replay"};
    send.insert(send.end(), replay.begin(), replay.end());
    send.insert(send.end(), {"--to", "@" + images_, "--json", "--patience", "60"});
    Finished sent;
    std::jthread thread([&] { sent = farfield(send); });
    std::vector<std::string> receive{"live"};
    receive.insert(receive.end(), live.begin(), live.end());
    receive.insert(receive.end(), {"--source", images_, "--json"});
    auto received = farfield(receive);
    thread.join();
    EXPECT_EQ(sent.exit_code, 0) << sent.err;
    if (sender != nullptr) *sender = sent;
    return received;
  }
  std::string simulated(const std::vector<std::string>& arguments) {
    const std::string scan = folder_ / "scan.cxi";
    auto all = arguments;
    all.insert(all.end(), {"--out", scan});
    const auto made = farfield(all);
    EXPECT_EQ(made.exit_code, 0) << made.err;
    return scan;
  }
  static std::vector<double> values(const fs::path& result, const std::string& name) {
    const auto product = io::read_product(result / "result.cxi");
    const auto* dataset = product.find(name);
    if (dataset == nullptr) return {};
    const auto bytes =
        std::span(static_cast<const std::byte*>(dataset->data.data()), static_cast<std::size_t>(dataset->data.bytes()));
    std::vector<double> out;
    for (const auto b : bytes) out.push_back(std::to_integer<int>(b));
    return out;
  }

  fs::path folder_;
  std::string images_, positions_;
};

TEST_F(LiveProgram, FileReplayAndLiveGiveTheSameNumbers) {
  const auto scan = simulated({"statistics", "simulate", "--frames", "40", "--shape", "24", "--dead-pixels", "3"});
  const std::string from_file = folder_ / "file";
  ASSERT_EQ(farfield({"statistics", "mean", scan, "--out", from_file}).exit_code, 0);
  const auto expected = values(from_file, "mean");
  ASSERT_FALSE(expected.empty());
  for (const std::string protocol : {"v1", "v2"}) {
    const std::string out = folder_ / protocol;
    const auto ran = play({scan, "--protocol", protocol}, {"statistics", "--out", out});
    ASSERT_EQ(ran.exit_code, 0) << ran.err;
    EXPECT_EQ(last_line(ran.out)["frames"]["processed"], 40);
    EXPECT_EQ(values(out, "mean"), expected) << protocol;
  }
}

TEST_F(LiveProgram, EveryFrameIsAccountedForWhateverGoesWrong) {
  const auto scan = simulated({"statistics", "simulate", "--frames", "300", "--shape", "8"});
  Finished sender;
  const auto ran =
      play({scan, "--gaps", "0.1", "--duplicates", "0.2", "--disorder", "4", "--rate", "2000", "--jitter", "1"},
           {"statistics", "--out", folder_ / "out", "--stage-times"}, &sender);
  EXPECT_EQ(ran.exit_code, 3) << "frames are missing: " << ran.err;
  const auto sent = last_line(sender.out);
  const auto frames = last_line(ran.out)["frames"];
  EXPECT_EQ(frames["expected"], 300);
  EXPECT_EQ(frames["processed"], sent["sent"]);
  EXPECT_EQ(frames["missing"], sent["left_out"]);
  EXPECT_EQ(frames["duplicates"], sent["duplicated"]);
  EXPECT_GT(sent["left_out"], 0);
  EXPECT_GT(sent["duplicated"], 0);
  EXPECT_TRUE(fs::exists(folder_ / "out" / "stage_times.ffc"));
}

TEST_F(LiveProgram, TheArchiveHoldsWhatWasAnalysedAndOpensAsAScan) {
  const auto scan = simulated({"statistics", "simulate", "--frames", "30", "--shape", "16"});
  const std::string raw = folder_ / "raw.h5";
  const auto ran = play({scan}, {"statistics", "--out", folder_ / "live", "--archive", raw});
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  ASSERT_EQ(farfield({"statistics", "mean", raw, "--out", folder_ / "again"}).exit_code, 0);
  EXPECT_EQ(values(folder_ / "again", "mean"), values(folder_ / "live", "mean"));
  EXPECT_EQ(farfield({"live", "statistics", "--source", scan, "--archive", raw, "--out", folder_ / "no"}).exit_code, 2)
      << "a file is no stream";
}

TEST_F(LiveProgram, ThroughASpoolComesTheSameAndNothingStays) {
  const auto scan = simulated({"statistics", "simulate", "--frames", "30", "--shape", "16"});
  ASSERT_EQ(farfield({"statistics", "mean", scan, "--out", folder_ / "file"}).exit_code, 0);
  for (const std::string out : {"first", "second"}) {
    const auto ran = play({scan}, {"statistics", "--out", folder_ / out, "--spool", folder_ / "spool"});
    ASSERT_EQ(ran.exit_code, 0) << ran.err;
    EXPECT_EQ(last_line(ran.out)["frames"]["processed"], 30) << "of this series and no other";
    EXPECT_EQ(values(folder_ / out, "mean"), values(folder_ / "file", "mean"));
  }
}

TEST_F(LiveProgram, ADistributorFeedsTwoAnalysesFromOneDetector) {
  const auto scan = simulated({"statistics", "simulate", "--frames", "30", "--shape", "16"});
  ASSERT_EQ(farfield({"statistics", "mean", scan, "--out", folder_ / "file"}).exit_code, 0);
  const std::string one = "ipc://" + (folder_ / "one").string(), two = "ipc://" + (folder_ / "two").string();
  std::promise<Running> started;
  Finished ended;
  std::jthread distributor([&, told = false]() mutable {
    ended = farfield({"distribute", "--source", images_, "--to", "block=@" + one + ",block=@" + two, "--json"},
                     {.on_output = [&](Running& running, const std::string&, const std::string&) {
                       if (!std::exchange(told, true)) started.set_value(running);
                     }});
  });
  std::jthread detector([&] { (void)farfield({"replay", scan, "--to", "@" + images_, "--patience", "60"}); });
  Finished first;
  std::jthread other(
      [&] { first = farfield({"live", "statistics", "--source", one, "--out", folder_ / "first", "--json"}); });
  const auto second = farfield({"live", "statistics", "--source", two, "--out", folder_ / "second", "--json"});
  other.join();
  detector.join();
  EXPECT_EQ(first.exit_code, 0) << first.err;
  EXPECT_EQ(second.exit_code, 0) << second.err;
  EXPECT_EQ(values(folder_ / "first", "mean"), values(folder_ / "file", "mean"));
  EXPECT_EQ(values(folder_ / "second", "mean"), values(folder_ / "file", "mean"));
  started.get_future().get().send(SIGINT);
  distributor.join();
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  const auto account = last_line(ended.out);
  EXPECT_EQ(account["images"], 30);
  EXPECT_EQ(account["outlets"][0]["images"], 30);
  EXPECT_EQ(account["outlets"][1]["dropped"], 0);
}

TEST_F(LiveProgram, AReconstructionFromTwoStreamsEqualsThatOfTheFile) {
  const auto scan = simulated({"ptychography", "simulate", "--shape", "64", "--patterns", "36", "--threads", "1"});
  const std::vector<std::string> options{"--iterations", "3", "--threads", "1", "--fft-planning", "estimate"};
  std::vector<std::string> file{"ptychography", "reconstruct", scan, "--out", folder_ / "file"};
  file.insert(file.end(), options.begin(), options.end());
  ASSERT_EQ(farfield(file).exit_code, 0);
  std::vector<std::string> live{"ptychography", "--out",       folder_ / "live", "--like",
                                scan,           "--positions", positions_,       "--no-iterate-while-reading"};
  live.insert(live.end(), options.begin(), options.end());
  const auto ran = play({scan, "--positions", "@" + positions_}, live);
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_EQ(values(folder_ / "live", "object"), values(folder_ / "file", "object"));
}

TEST_F(LiveProgram, MistakesAreSaidBeforeAnyFrameComes) {
  EXPECT_EQ(farfield({"live", "statistics", "--out", folder_ / "out"}).exit_code, 2) << "no source";
  EXPECT_EQ(farfield({"live", "statistics", "--source", "pigeon://loft", "--out", folder_ / "out"}).exit_code, 2);
  EXPECT_EQ(farfield({"live", "statistics", "--source", images_, "--out", "/proc/nowhere"}).exit_code, 1);
  EXPECT_EQ(farfield({"replay", folder_ / "missing.cxi", "--to", "@" + images_}).exit_code, 10);
}

}  // namespace
}  // namespace farfield::testing_program
