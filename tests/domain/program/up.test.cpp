// farfield up, as a newcomer uses it: a scan appears, its pictures come back, Ctrl-C ends all of it.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "farfield/core/testing.hpp"
#include "tests/domain/program/ports.hpp"
#include "tests/domain/program/process.hpp"

namespace farfield::testing_program {
namespace {
namespace fs = std::filesystem;

/// Command lines of processes, not this one, that name `folder`: blocks and workers are told where theirs is.
std::vector<std::string> processes_of(const fs::path& folder) {
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "cmdline");
    std::string line((std::istreambuf_iterator<char>(file)), {});
    std::replace(line.begin(), line.end(), '\0', ' ');
    if (entry.path().filename() != std::to_string(::getpid()) && line.find(folder.string()) != std::string::npos)
      found.push_back(line);
  }
  return found;
}

RunOptions at_home(const fs::path& folder) {
  RunOptions options;
  options.environment = {{"HOME", folder / "home"}, {"XDG_CONFIG_HOME", ""}, {"XDG_STATE_HOME", ""}};
  return options;
}

TEST(Up, WhatIsWrongWithTheFlowIsSaidBeforeAnythingStarts) {
  const core::testing::TemporaryFolder folder;
  std::ofstream(folder / "flow.json") << R"({"StartAt": "A", "States": {}})";
  const auto ran = farfield({"up", "--folder", (folder / "up").string(), "--port", std::to_string(free_ports()),
                             "--flow", (folder / "flow.json").string(), "--no-login"},
                            at_home(folder.path()));
  EXPECT_NE(ran.exit_code, 0);
  EXPECT_NE(ran.err.find("/States"), std::string::npos) << ran.err;
  EXPECT_FALSE(fs::exists(folder / "up/state/endpoint"));
  EXPECT_EQ(processes_of(folder.path()), std::vector<std::string>{});
}

/// The watched folder comes last, when a block has been asked for and its worker may be at work.
TEST(Up, NothingStaysBehindWhereTheRestCannotStart) {
  const core::testing::TemporaryFolder folder;
  const auto ran = farfield({"up", "--folder", (folder / "up").string(), "--port", std::to_string(free_ports()),
                             "--marker", "no/name", "--no-login"},
                            at_home(folder.path()));
  EXPECT_NE(ran.exit_code, 0);
  EXPECT_NE(ran.err.find("no/name"), std::string::npos) << ran.err;
  EXPECT_TRUE(fs::exists(folder / "up/state/endpoint"));
  // Ended processes are in the table until their parent has seen it.
  for (int i = 0; i < 100 && !processes_of(folder.path()).empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(processes_of(folder.path()), std::vector<std::string>{});
}

TEST(Up, AScanGoesThereAndItsPicturesComeBack) {
  const core::testing::TemporaryFolder folder;
  const fs::path up = folder / "up";
  ASSERT_EQ(farfield({"ptychography", "simulate", "--out", (folder / "frames.cxi").string(), "--shape", "64",
                      "--patterns", "60", "--seed", "3"})
                .exit_code,
            0);
  bool dropped = false, stopped = false;
  auto options = at_home(folder.path());
  options.on_output = [&](Running& running, const std::string& out, const std::string& err) {
    if (!dropped && out.find('\n') != std::string::npos) {  // the token: all is there
      fs::create_directories(folder / "scan7");
      fs::rename(folder / "frames.cxi", folder / "scan7/frames.cxi");
      fs::rename(folder / "scan7", up / "beamline/input/scan7");
      dropped = true;
    }
    if (!stopped && (err.find("scan7: done") != std::string::npos || err.find("scan7: FAILED") != std::string::npos)) {
      stopped = true;
      running.send(SIGTERM);
    }
  };
  const auto ran = farfield({"up", "--folder", up.string(), "--port", std::to_string(free_ports()), "--iterations", "2",
                             "--quiet", "0.5", "--threads", "1"},
                            options);
  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_TRUE(stopped) << ran.err;
  EXPECT_TRUE(fs::exists(up / "beamline/recon/7/object_phase.png")) << ran.err;
  EXPECT_TRUE(fs::exists(up / "cluster/2026-1-Example-1/input/7/frames.cxi"));
  EXPECT_TRUE(fs::exists(folder / "home/.config/farfield/credentials.json"));
}

TEST(Up, AScanIsCarriedWhileItIsWritten) {
  const core::testing::TemporaryFolder folder;
  const fs::path scan = folder / "up/beamline/input/scan8", staged = folder / "up/cluster/2026-1-Example-1/input/8";
  ASSERT_EQ(farfield({"ptychography", "simulate", "--out", (folder / "frames.cxi").string(), "--shape", "64",
                      "--patterns", "60", "--seed", "3"})
                .exit_code,
            0);
  std::ifstream file(folder / "frames.cxi", std::ios::binary);
  const std::string frames((std::istreambuf_iterator<char>(file)), {});
  bool begun = false, finished = false, stopped = false, early = false;
  auto options = at_home(folder.path());
  options.on_output = [&](Running& running, const std::string& out, const std::string& err) {
    if (!begun && out.find('\n') != std::string::npos) {
      begun = true;
      fs::create_directories(scan);
      std::ofstream(scan / "frames.cxi", std::ios::binary) << frames.substr(0, frames.size() / 2);
    }
    if (!finished && err.find("scan8: run") != std::string::npos) {
      finished = true;
      for (int i = 0; i < 1000 && !fs::exists(staged / "frames.cxi"); ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      early = fs::exists(staged / "frames.cxi");  // half of it, while the scan goes on
      std::ofstream(scan / "frames.cxi", std::ios::binary | std::ios::app) << frames.substr(frames.size() / 2);
      std::ofstream(scan / "done") << "";
    }
    if (!stopped && (err.find("scan8: done") != std::string::npos || err.find("scan8: FAILED") != std::string::npos)) {
      stopped = true;
      running.send(SIGTERM);
    }
  };
  const auto ran =
      farfield({"up", "--folder", (folder / "up").string(), "--port", std::to_string(free_ports()), "--iterations", "2",
                "--start", "first-file", "--marker", "done", "--quiet", "0", "--threads", "1", "--no-login"},
               options);
  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_TRUE(early) << ran.err;
  EXPECT_EQ(fs::file_size(staged / "frames.cxi"), frames.size());
  EXPECT_TRUE(fs::exists(folder / "up/beamline/recon/8/object_phase.png")) << ran.err;
}
}  // namespace
}  // namespace farfield::testing_program
