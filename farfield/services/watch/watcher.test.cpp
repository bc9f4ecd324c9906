// Scans that appear in every way that scans appear.

#include "farfield/services/watch/watcher.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <fstream>
#include <map>
#include <mutex>
#include <thread>

#include "farfield/store/testing.hpp"

namespace farfield::services::watch {
namespace {

namespace fs = std::filesystem;
using core::ErrorCode;

TEST(ScanName, KnowsTheUsualNames) {
  const ScanName names;
  EXPECT_EQ(names.id("scan100"), 100);
  EXPECT_EQ(names.id("flyscan100"), 100);
  EXPECT_EQ(names.id("scan_0100"), 100);
  EXPECT_EQ(names.id("flyscan_7"), 7);
  EXPECT_EQ(names.id("scan0"), 0);
  for (const auto* other :
       {"scan", "scan-1", "scan100.tmp", "myscan100", "scan100 ", "", "SCAN100", "scan1e5", "scan9999999999999999999"})
    EXPECT_FALSE(names.id(other)) << other;
  EXPECT_EQ(ScanName("S([0-9]+)_.*").id("S0042_gold"), 42);
  EXPECT_FALSE(ScanName("(.*)").id("12x"));
}

TEST(ScanName, RefusesPatternsWithoutOneNumber) {
  for (const auto* bad : {"scan[0-9]+", "(scan)([0-9]+)", "scan(", "[", "scan([0-9]+"}) try {
      const ScanName names(bad);
      ADD_FAILURE() << bad;
    } catch (const core::Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
      EXPECT_NE(std::string(e.what()).find(bad), std::string::npos);
    }
}

class Watching : public store::testing::EachDatabase {
protected:
  void SetUp() override {
    store::testing::EachDatabase::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    fs::create_directories(input());
    database = database_.open();
    options_.folder = input();
    options_.rule = {"complete", 0, {}};
    options_.rescan_s = 1000;  // what is found is found by notices, unless a test says otherwise
    options_.patience_s = 0.02;
  }
  void TearDown() override {
    watcher_.reset();
    database.reset();
  }
  fs::path input() const { return folder_.path() / "input"; }
  void start() {
    watcher_.reset();
    watcher_ = std::make_unique<Watcher>(
        *database, options_,
        [this](const Scan& scan) {
          const std::lock_guard lock(mutex_);
          if (failures_-- > 0) throw core::Error(ErrorCode::unavailable, "nobody there");
          scans_.push_back(scan);
        },
        clock_);
  }
  void write(const std::string& path, const std::string& text = "x") const {
    fs::create_directories((input() / path).parent_path());
    std::ofstream(input() / path) << text;
  }
  std::vector<Index> handled() {
    const std::lock_guard lock(mutex_);
    std::vector<Index> ids;
    for (const auto& scan : scans_) ids.push_back(scan.id);
    std::sort(ids.begin(), ids.end());
    return ids;
  }
  /// Waits until the watcher says that so many were handled.
  bool reaches(Index count, double seconds = 20) const {
    for (double waited_s = 0; waited_s < seconds; waited_s += 0.002) {
      if (watcher_->status().handled >= count) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return false;
  }
  static void rest() { std::this_thread::sleep_for(std::chrono::milliseconds(150)); }

  store::testing::TemporaryFolder folder_;
  core::SteadyClock clock_;
  std::unique_ptr<store::Database> database;
  WatcherOptions options_;
  std::mutex mutex_;
  std::atomic<int> failures_ = 0;
  std::vector<Scan> scans_;
  std::unique_ptr<Watcher> watcher_;
};

TEST_P(Watching, AMarkerCompletesAScan) {
  start();
  write("scan100/data.h5");
  write("scan_0101/raw/deep/data.h5");
  write("other/complete");
  rest();
  EXPECT_TRUE(handled().empty());
  EXPECT_EQ(watcher_->status().growing, 2);
  write("scan100/complete");
  ASSERT_TRUE(reaches(1));
  write("scan_0101/complete");
  ASSERT_TRUE(reaches(2));
  EXPECT_EQ(handled(), (std::vector<Index>{100, 101}));
  EXPECT_EQ(scans_[1].name, "scan_0101");
  EXPECT_EQ(scans_[1].path, fs::canonical(input()) / "scan_0101");
  EXPECT_GT(scans_[1].complete_s, 1.7e9);
  EXPECT_NE(scans_[0].key, scans_[1].key);
  write("scan100/more");  // afterwards: nothing
  write("scan100/complete", "again");
  rest();
  EXPECT_EQ(handled().size(), 2U);
  const auto status = watcher_->status();
  EXPECT_EQ(status.growing, 0);
  EXPECT_EQ(status.waiting, 0);
  EXPECT_TRUE(status.problems.empty());
}

TEST_P(Watching, AtTheFirstFile) {
  options_.when = HandOn::first_file;
  options_.pattern = "scan([0-9]+)(?:\\.h5)?";
  write("scan1/data.h5");
  fs::create_directories(input() / "scan2/raw");
  start();
  ASSERT_TRUE(reaches(1));
  rest();
  EXPECT_EQ(handled(), (std::vector<Index>{1}));  // scan2 has folders only
  std::ofstream open(input() / "scan2/raw/data.h5");
  open << "one frame" << std::flush;
  ASSERT_TRUE(reaches(2));
  write("scan3.h5");
  ASSERT_TRUE(reaches(3));
  write("scan2/raw/more");
  write("scan2/complete");
  rest();
  EXPECT_EQ(handled(), (std::vector<Index>{1, 2, 3}));  // each once
  start();
  rest();
  EXPECT_EQ(handled(), (std::vector<Index>{1, 2, 3}));
}

TEST_P(Watching, WhatWasThereBeforeAndWhatIsMovedIn) {
  write("scan1/complete");
  start();
  ASSERT_TRUE(reaches(1));
  fs::create_directories(folder_.path() / "elsewhere/flyscan2");
  std::ofstream(folder_.path() / "elsewhere/flyscan2/complete") << "x";
  fs::rename(folder_.path() / "elsewhere/flyscan2", input() / "flyscan2");
  ASSERT_TRUE(reaches(2));
  write("scan3/half");
  std::ofstream(folder_.path() / "marker") << "x";
  fs::rename(folder_.path() / "marker", input() / "scan3/complete");
  ASSERT_TRUE(reaches(3));
  EXPECT_EQ(handled(), (std::vector<Index>{1, 2, 3}));
}

TEST_P(Watching, AMarkerBesideTheScanAndScansThatAreFiles) {
  options_.rule.marker = "*.done";
  options_.pattern = "scan([0-9]+)(?:\\.h5)?";
  start();
  write("scan1/data");
  write("scan2.h5");
  write("scan3.h5");
  write("scan1.done");
  write("scan2.h5.done");
  ASSERT_TRUE(reaches(2));
  rest();
  EXPECT_EQ(handled(), (std::vector<Index>{1, 2}));
}

TEST_P(Watching, QuietAndClosed) {
  options_.rule = {"", 0.3, {}};
  start();
  fs::create_directories(input() / "scan1");
  std::ofstream slow(input() / "scan1/data");
  slow << "1" << std::flush;
  write("scan2/sub/data");
  ASSERT_TRUE(reaches(1));  // scan2: closed
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_EQ(handled(), (std::vector<Index>{2}));  // scan1 is quiet, but open
  slow.close();
  ASSERT_TRUE(reaches(2));
}

TEST_P(Watching, LinksAndPipesAreNeverOpen) {
  options_.rule = {"", 0.3, {}};
  start();
  write("scan1/data");
  fs::create_symlink("data", input() / "scan1/latest");
  fs::create_hard_link(input() / "scan1/data", input() / "scan1/same");
  ASSERT_EQ(::mkfifo((input() / "scan1/pipe").c_str(), 0600), 0);
  ASSERT_TRUE(reaches(1));
}

TEST_P(Watching, ATestThatOthersHandIn) {
  std::atomic<int> asked{0};
  options_.rule = {"", 0, [&](const std::string& path) {
                     ++asked;
                     std::ifstream file(fs::path(path) / "frames");
                     int frames = 0;
                     return (file >> frames) && frames >= 10;
                   }};
  start();
  write("scan1/frames", "3");
  write("scan2/frames", "10");
  ASSERT_TRUE(reaches(1));
  EXPECT_EQ(handled(), (std::vector<Index>{2}));
  write("scan1/frames", "10");
  ASSERT_TRUE(reaches(2));
  EXPECT_GT(asked, 2);
}

TEST_P(Watching, ATestThatThrowsIsAProblemOfItsScanOnly) {
  options_.rule = {"complete", 0, [&](const std::string& path) -> bool {
                     if (path.ends_with("scan1")) throw core::Error(ErrorCode::corrupt_data, "no HDF5 file");
                     return true;
                   }};
  start();
  write("scan1/x");
  write("scan2/x");
  ASSERT_TRUE(reaches(1));
  rest();
  EXPECT_EQ(handled(), (std::vector<Index>{2}));
  ASSERT_EQ(watcher_->status().problems.size(), 1U);
  EXPECT_NE(watcher_->status().problems[0].find("no HDF5 file"), std::string::npos);
}

TEST_P(Watching, EachScanOnceAlsoAfterARestart) {
  for (int i = 0; i < 5; ++i) write("scan" + std::to_string(i) + "/complete");
  start();
  ASSERT_TRUE(reaches(5));
  start();
  write("scan7/complete");
  ASSERT_TRUE(reaches(6));
  rest();
  EXPECT_EQ(handled(), (std::vector<Index>{0, 1, 2, 3, 4, 7}));
}

TEST_P(Watching, OneScanForANumber) {
  write("scan100/complete");
  start();
  ASSERT_TRUE(reaches(1));
  write("scan_0100/complete");
  write("scan5/complete");
  ASSERT_TRUE(reaches(2));
  rest();
  EXPECT_EQ(handled(), (std::vector<Index>{5, 100}));
  ASSERT_EQ(watcher_->status().problems.size(), 1U);
  EXPECT_EQ(watcher_->status().problems[0], "scan_0100 has the number 100 of scan100, and is left alone");
}

TEST_P(Watching, WhatCouldNotBeHandedOnIsHandedOnLater) {
  failures_ = 3;
  start();
  write("scan1/complete");
  ASSERT_TRUE(reaches(1));
  EXPECT_EQ(handled(), (std::vector<Index>{1}));
  EXPECT_EQ(watcher_->status().problems.size(), 1U);
  failures_ = 1000000;
  write("scan2/complete");
  rest();
  EXPECT_EQ(watcher_->status().waiting, 1);
  watcher_.reset();
  fs::remove_all(input() / "scan2");  // complete is complete, also if it was tidied away meanwhile
  failures_ = 0;
  start();
  ASSERT_TRUE(reaches(2));
  EXPECT_EQ(handled(), (std::vector<Index>{1, 2}));
}

TEST_P(Watching, AScanThatVanishesMayComeAgain) {
  start();
  write("scan1/data");
  rest();
  fs::remove_all(input() / "scan1");
  rest();
  EXPECT_EQ(watcher_->status().growing, 0);
  write("scan_1/complete");
  ASSERT_TRUE(reaches(1));
  EXPECT_EQ(scans_[0].name, "scan_1");
}

TEST_P(Watching, ThousandsAtOnceAndLostNotices) {
  constexpr int kScans = 1000;
  // As root the kernel's queue is made short, so that most notices are lost and only looking finds the scans.
  const std::string limit = "/proc/sys/fs/inotify/max_queued_events";
  std::string usual;
  std::ifstream(limit) >> usual;
  const bool short_queue = ::geteuid() == 0 && static_cast<bool>(std::ofstream(limit) << 16 << std::flush);
  for (int i = 0; i < kScans / 2; ++i) write("scan" + std::to_string(i) + "/complete");
  start();
  if (short_queue) std::ofstream(limit) << usual;
  for (int i = kScans / 2; i < kScans; ++i) write("scan" + std::to_string(i) + "/complete");
  ASSERT_TRUE(reaches(kScans));
  const auto ids = handled();
  ASSERT_EQ(ids.size(), static_cast<std::size_t>(kScans));
  for (int i = 0; i < kScans; ++i) EXPECT_EQ(ids[static_cast<std::size_t>(i)], i);
}

TEST_P(Watching, RefuseWhatMakesNoSense) {
  const auto code = [&](auto change) {
    WatcherOptions options = options_;
    change(options);
    try {
      const Watcher refused(*database, options, [](const Scan&) {}, clock_);
    } catch (const core::Error& e) {
      return e.code();
    }
    ADD_FAILURE() << "no error";
    return ErrorCode::internal;
  };
  EXPECT_EQ(code([](auto& o) { o.folder /= "gone"; }), ErrorCode::not_found);
  EXPECT_EQ(code([](auto& o) { o.folder = "/proc/self/status"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(code([](auto& o) { o.pattern = "scan"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(code([](auto& o) { o.rule.marker.clear(); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code([](auto& o) { o.rescan_s = 0; }), ErrorCode::invalid_argument);
  EXPECT_EQ(code([](auto& o) { o.handlers = 0; }), ErrorCode::invalid_argument);
}

INSTANTIATE_TEST_SUITE_P(Each, Watching, store::testing::kinds(), store::testing::kind_name);

// The watcher is killed again and again while scans come. What its handler starts is started once for each scan.
TEST(WatchingAlone, EachScanOnceAlsoWithKills) {
  constexpr int kScans = 120;
  const store::testing::TemporaryFolder folder;
  const fs::path input = folder.path() / "input", runs = folder.path() / "runs";
  fs::create_directories(input);
  fs::create_directories(runs);
  const std::string address = "sqlite:" + (folder.path() / "watch.db").string();
  std::jthread detector([&](const std::stop_token& stop) {
    for (int i = 0; i < kScans && !stop.stop_requested(); ++i) {
      const fs::path scan = input / ("scan" + std::to_string(i));
      fs::create_directories(scan);
      std::ofstream(scan / "data") << i;
      std::ofstream(scan / "complete") << "";
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  });
  int kills = 0;
  const auto count_runs = [&] {
    return static_cast<int>(std::distance(fs::directory_iterator(runs), fs::directory_iterator()));
  };
  for (int attempt = 0; count_runs() < kScans; ++attempt) {
    ASSERT_LT(attempt, 300);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      try {
        const auto database = store::Database::open(address);
        const core::SteadyClock clock;
        const Watcher watcher(
            *database, {input, kScanPattern, {"complete", 0, {}}, 1000, 4, 0.1, {}},
            [&](const Scan& scan) {
              // Starts a run for a key that has none; a second one for the same key would be seen in the file's length.
              const fs::path run = runs / std::to_string(scan.id);
              const int file = ::open(run.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600);
              if (file < 0 && errno == EEXIST) return;
              (void)!::write(file, "x", 1);
              ::close(file);
              std::this_thread::sleep_for(std::chrono::milliseconds(5));
            },
            clock);
        for (;;) ::pause();
      } catch (const std::exception&) {
        ::_exit(1);
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(60 + 31 * attempt % 120));
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    ++kills;
  }
  detector.join();
  EXPECT_GT(kills, 3);
  EXPECT_EQ(count_runs(), kScans);
  // All are stored as handled in the end, and nothing is handed on any more.
  const auto database = store::Database::open(address);
  const core::SteadyClock clock;
  std::atomic<int> late{0};
  {
    const Watcher watcher(
        *database, {input, kScanPattern, {"complete", 0, {}}, 1000, 4, 0.1, {}}, [&](const Scan&) { ++late; }, clock);
    for (int i = 0; i < 5000 && watcher.status().handled < kScans; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    EXPECT_EQ(watcher.status().handled, kScans);
  }
  EXPECT_LT(late, kScans / 4);  // only those that a kill caught in the middle
}

}  // namespace
}  // namespace farfield::services::watch
