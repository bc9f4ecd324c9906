// farfield xpcs as a process: calibrations, maps of two times, live with steering, by a flow.

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "farfield/core/testing.hpp"
#include "farfield/io/product_file.hpp"
#include "tests/domain/program/ports.hpp"
#include "tests/domain/program/process.hpp"
#include "tests/support/shared_data.hpp"

namespace farfield::testing_program {
namespace {

namespace fs = std::filesystem;
using core::Index;

struct Xpcs : ::testing::Test {
  std::string path(const std::string& name) const { return (folder / name).string(); }
  /// Speckle of 64 x 64 pixels and a map of six rings, as the tutorial makes them.
  void simulate(const std::string& name, const std::vector<std::string>& more) const {
    std::vector<std::string> scan{"xpcs", "simulate", "--shape", "64,64", "--seed", "4", "--out", path(name)};
    scan.insert(scan.end(), more.begin(), more.end());
    const auto made = farfield(scan);
    ASSERT_EQ(made.exit_code, 0) << made.err;
    const auto map = farfield({"xpcs", "qmap", "--shape", "64,64", "--distance", "5", "--pixel-size", "75e-6",
                               "--energy", "10000", "--first-range", "5e-4,2.3e-3", "--first-bins", "6",
                               "--first-static-per-bin", "2", "--out", path("qmap.h5")});
    ASSERT_EQ(map.exit_code, 0) << map.err;
  }
  core::Array<double, 2> of(const std::string& result, const std::string& dataset) const {
    const auto product = io::read_product(folder / result);
    const auto* found = product.find(dataset);
    return found == nullptr || found->data.rank() != 2 ? core::Array<double, 2>() : found->data.to<double, 2>();
  }
  static bool same(const core::Array<double, 2>& a, const core::Array<double, 2>& b) {
    if (a.empty() || a.extents() != b.extents()) return false;
    for (Index i = 0; i < a.size(); ++i)
      if (a.data()[i] != b.data()[i] && !(std::isnan(a.data()[i]) && std::isnan(b.data()[i]))) return false;
    return true;
  }
  /// A replay of `scan` to a live run; the replay may be left standing where the run ends early.
  Finished play(const std::string& scan, const std::vector<std::string>& live, const std::vector<std::string>& replay,
                Finished* sender) const {
    const std::string images = "ipc://" + path("images");
    std::vector<std::string> send{"replay", path(scan), "--to", "@" + images, "--json", "--patience", "10"};
    send.insert(send.end(), replay.begin(), replay.end());
    std::jthread thread([&] { *sender = farfield(send); });
    std::vector<std::string> receive{"live", "xpcs", "--source", images, "--qmap", path("qmap.h5"), "--json"};
    receive.insert(receive.end(), live.begin(), live.end());
    auto received = farfield(receive);
    thread.join();
    return received;
  }
  core::testing::TemporaryFolder folder;
};

TEST_F(Xpcs, LiveGivesWhatTheFileGives) {
  simulate("scan.cxi", {"--frames", "400"});
  const auto file = farfield({"xpcs", "correlate", path("scan.cxi"), "--qmap", path("qmap.h5"), "--out", path("file")});
  ASSERT_EQ(file.exit_code, 0) << file.err;
  Finished sender;
  const auto live = play("scan.cxi", {"--out", path("live"), "--preview-every", "0.05"}, {}, &sender);
  ASSERT_EQ(live.exit_code, 0) << live.err;
  EXPECT_EQ(sender.exit_code, 0) << sender.err;
  EXPECT_TRUE(same(of("file/result.h5", "g2"), of("live/result.h5", "g2"))) << "same bits, looked at or not";
  EXPECT_TRUE(same(of("file/result.h5", "g2_error"), of("live/result.h5", "g2_error")));
}

TEST_F(Xpcs, LiveStopsOnceTheRelaxationTimesAreKnown) {
  // Bright speckle: tau of every ring is known to a third long before the 8000th frame.
  simulate("scan.cxi", {"--frames", "8000", "--mean-counts", "0.5", "--contrast", "0.9", "--tau", "0.02"});
  Finished sender;  // ends as it likes: nobody listens any more
  const auto live =
      play("scan.cxi", {"--out", path("live"), "--tau-error", "0.3", "--queue", "1"}, {"--rate", "2000"}, &sender);
  ASSERT_EQ(live.exit_code, 3) << "part of the scan: " << live.err;
  const auto text = live.out + live.err;
  EXPECT_NE(text.find("every relaxation time is known"), std::string::npos) << text;
  const auto metrics = io::read_product(folder / "live/result.h5").metrics;
  EXPECT_LT(metrics.at("frames"), 8000);
  EXPECT_GE(metrics.at("frames"), 16);
}

TEST_F(Xpcs, LiveWarnsOfDynamicsThatChangeInTheBeam) {
  // Each second slows the sample down by a factor of 21: g2 of the second part stands far above that of the first.
  simulate("scan.cxi", {"--frames", "1500", "--mean-counts", "0.5", "--contrast", "0.9", "--dynamics", "ageing",
                        "--tau", "0.002", "--age", "0.05"});
  Finished sender;
  const auto live = play("scan.cxi", {"--out", path("live"), "--part", "500", "--damage", "5"}, {}, &sender);
  ASSERT_EQ(live.exit_code, 0) << live.err;
  const auto text = live.out + live.err;
  EXPECT_NE(text.find("the sample may be changing in the beam"), std::string::npos) << text;

  simulate("still.cxi", {"--frames", "1500", "--mean-counts", "0.5", "--contrast", "0.9", "--tau", "0.01"});
  const auto still = play("still.cxi", {"--out", path("still"), "--part", "500", "--damage", "5"}, {}, &sender);
  ASSERT_EQ(still.exit_code, 0) << still.err;
  EXPECT_EQ((still.out + still.err).find("may be changing"), std::string::npos) << still.out << still.err;
}

TEST_F(Xpcs, MapsOfTwoTimesBeyondTheMemoryAreTheSameInTheFile) {
  simulate("scan.bin", {"--frames", "600"});
  const auto twotime = [&](const std::string& out, const std::string& limit_GiB) {
    const auto ran = farfield({"xpcs", "twotime", path("scan.bin"), "--qmap", path("qmap.h5"), "--frame-shape", "64,64",
                               "--memory-limit", limit_GiB, "--out", path(out)});
    EXPECT_EQ(ran.exit_code, 0) << ran.err;
    return ran.err;
  };
  EXPECT_EQ(twotime("whole", "1").find("worked out twice"), std::string::npos);
  // Six maps of 600 x 600 take 8.6 MB, 0.004 GiB are 4.3 MB.
  EXPECT_NE(twotime("pieces", "0.004").find("worked out twice"), std::string::npos);
  for (const char* bin : {"c2_00001", "c2_00004", "c2_00006"})
    EXPECT_TRUE(same(of("whole/result.h5", bin), of("pieces/result.h5", bin))) << bin;
  EXPECT_TRUE(same(of("whole/result.h5", "c2_g2"), of("pieces/result.h5", "c2_g2")));
  EXPECT_TRUE(fs::exists(folder / "pieces/overview_00001.png"));
}

// xpcs-eigen sums in float, as its file is; both are within 3e-7 of a sum in double.
TEST_F(Xpcs, MapsOfTwoTimesEqualThoseOfXpcsEigen) {
  const auto scan = fs::absolute(tests::shared_data("xpcs/d.bin")),
             map = fs::absolute(tests::shared_data("xpcs/qmap.h5"));
  FARFIELD_REQUIRE_SHARED(scan);
  const auto ran = farfield(
      {"xpcs", "twotime", scan, "--qmap", map, "--frame-shape", "128,128", "--frames", "0-499", "--out", path("out")});
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  const auto ours = io::read_product(folder / "out/result.h5");
  const auto theirs = io::read_product(tests::shared_data("xpcs/xpcs_eigen_twotime500_result.h5"));
  for (int bin = 1; bin <= 18; ++bin) {
    const auto name = fmt::format("c2_{:05d}", bin);
    ASSERT_NE(theirs.find(name), nullptr) << name;
    const auto a = ours.find(name)->data.to<double, 2>(), b = theirs.find(name)->data.to<double, 2>();
    ASSERT_EQ(a.extents(), b.extents());
    for (Index y = 0; y < a.extent(0); ++y)
      for (Index x = y + 1; x < a.extent(1); ++x)
        ASSERT_NEAR(a(y, x), b(y, x), 1e-6 * std::max(1.0, b(y, x))) << name << " " << y << ", " << x;
  }
}

TEST_F(Xpcs, DarksAndFlatsAreScansOfTheirOwn) {
  simulate("scan.cxi", {"--frames", "50", "--mean-counts", "2"});
  const auto run = [&](const std::string& out, const std::vector<std::string>& more) {
    std::vector<std::string> words{"xpcs", "saxs", path("scan.cxi"), "--qmap", path("qmap.h5"), "--out", path(out)};
    words.insert(words.end(), more.begin(), more.end());
    return farfield(words);
  };
  ASSERT_EQ(run("plain", {}).exit_code, 0);
  const auto corrected = run("corrected", {"--dark", path("scan.cxi"), "--sigma", "1"});
  ASSERT_EQ(corrected.exit_code, 0) << corrected.err;
  // Less its own mean, and only where that is a standard deviation: most of the light is gone, not all of it.
  const auto plain = of("plain/result.h5", "saxs_2d"), left = of("corrected/result.h5", "saxs_2d");
  double before = 0, after = 0;
  for (Index i = 0; i < plain.size(); ++i)
    if (std::isfinite(plain.data()[i]) && std::isfinite(left.data()[i])) {
      before += plain.data()[i];
      after += left.data()[i];
    }
  EXPECT_GT(after, 0);
  EXPECT_LT(after, 0.5 * before);
  EXPECT_NE(run("none", {"--sigma", "1"}).exit_code, 0) << "no dark, no scatter";
  EXPECT_EQ(run("missing", {"--dark", path("missing.cxi")}).exit_code, 10);
}

TEST_F(Xpcs, WhatIsTheWorkOfOneProcessRefusesSeveral) {
  RunOptions two;
  two.environment = {{"OMPI_COMM_WORLD_SIZE", "2"}};
  const auto ran = farfield({"xpcs", "fit", path("result.h5"), "--out", path("fit")}, two);
  EXPECT_NE(ran.exit_code, 0);
  EXPECT_NE(ran.err.find("leave mpirun out"), std::string::npos) << ran.err;
}

TEST_F(Xpcs, AScanGoesThroughTheFlowAndComesBackFitted) {
  simulate("scan.cxi", {"--frames", "600", "--mean-counts", "0.2", "--tau", "0.01"});
  bool dropped = false, stopped = false;
  RunOptions options;
  options.environment = {{"HOME", path("home")}, {"XDG_CONFIG_HOME", ""}, {"XDG_STATE_HOME", ""}};
  options.on_output = [&](Running& running, const std::string& out, const std::string& err) {
    if (!dropped && out.find('\n') != std::string::npos) {  // the token: all is there
      fs::create_directories(folder / "scan7");
      fs::rename(folder / "scan.cxi", folder / "scan7/scan.cxi");
      fs::rename(folder / "qmap.h5", folder / "scan7/qmap.h5");
      fs::rename(folder / "scan7", folder / "up/beamline/input/scan7");
      dropped = true;
    }
    if (!stopped && (err.find("scan7: done") != std::string::npos || err.find("scan7: FAILED") != std::string::npos)) {
      stopped = true;
      running.send(SIGTERM);
    }
  };
  const auto ran = farfield({"up", "--folder", path("up"), "--port", std::to_string(free_ports()), "--flow",
                             FARFIELD_EXAMPLES "/flows/xpcs.json", "--quiet", "0.5", "--threads", "1", "--no-login"},
                            options);
  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  const auto back = folder / "up/beamline/recon/7";
  ASSERT_TRUE(fs::exists(back / "fit/result.h5")) << ran.err;
  EXPECT_TRUE(fs::exists(back / "fit/tau.png"));
  EXPECT_TRUE(fs::exists(back / "g2/g2.png"));
  const auto metrics = io::read_product(back / "fit/result.h5").metrics;
  EXPECT_NEAR(metrics.at("law_exponent"), -2, 0.5) << "diffusion, from few frames";
}

}  // namespace
}  // namespace farfield::testing_program
