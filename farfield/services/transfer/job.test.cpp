// Trees of files, and what can go wrong with some of them.

#include "farfield/services/transfer/job.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <chrono>
#include <map>
#include <set>
#include <thread>

#include "farfield/services/transfer/local/local.hpp"
#include "farfield/services/transfer/testing.hpp"
#include "farfield/services/transfer/testing_provider.hpp"

namespace farfield::services::transfer {
namespace {

namespace fs = std::filesystem;
using core::ErrorCode;
using testing::caught;

struct Seen : JobObserver {
  void unit(const Unit& unit) override {
    const std::lock_guard lock(mutex);
    units[unit.destination].push_back(unit);
    if (on_unit) on_unit(unit);
  }
  void progress(const Progress& progress) override { last = progress; }
  bool copied_before(const std::string& destination, const Version&) override { return before.contains(destination); }
  std::mutex mutex;
  std::map<std::string, std::vector<Unit>> units;
  std::set<std::string> before;
  Progress last;
  std::function<void(const Unit&)> on_unit;
};

class Jobs : public ::testing::Test {
protected:
  Jobs() {
    fs::create_directories(source());
    fs::create_directories(target());
    // Not what these tests look at, and slow on some disks: flushing.
    from_ = std::make_unique<testing::HookedProvider>(local_provider(source()));
    to_ = std::make_unique<testing::HookedProvider>(local_provider(target(), {false}));
    options_.concurrency = 4;
  }
  fs::path source() const { return folder_ / "from"; }
  fs::path target() const { return folder_ / "to"; }
  JobResult run(std::stop_token stop = {}) {
    return run_job(*from_, *to_, items_, options_, seen_, clock_, std::move(stop));
  }
  /// Content of all files below a folder, by their path.
  static std::map<std::string, std::string> tree(const fs::path& folder) {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(folder))
      if (entry.is_regular_file()) files[fs::relative(entry.path(), folder)] = testing::read_plain(entry.path());
    return files;
  }
  void write_tree(int files) {
    for (int i = 0; i < files; ++i)
      testing::write_plain(source() / "scan" / ("part" + std::to_string(i % 3)) / ("f" + std::to_string(i)),
                           testing::random_text(100U + static_cast<std::size_t>(i), static_cast<std::uint64_t>(i)));
  }

  testing::TemporaryFolder folder_;
  core::SteadyClock clock_;
  std::unique_ptr<testing::HookedProvider> from_, to_;
  std::vector<Item> items_{{"scan", "data/scan", true}};
  JobOptions options_;
  Seen seen_;
};

TEST_F(Jobs, CopyATree) {
  write_tree(50);
  fs::create_directories(source() / "scan/empty");
  fs::create_symlink("f0", source() / "scan/link");
  ASSERT_EQ(::mkfifo((source() / "scan/pipe").c_str(), 0600), 0);
  const auto result = run();
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(tree(target() / "data/scan"), tree(source() / "scan"));
  EXPECT_TRUE(fs::is_directory(target() / "data/scan/empty"));
  EXPECT_FALSE(fs::exists(fs::symlink_status(target() / "data/scan/link")));
  const auto& p = result.progress;
  EXPECT_EQ(p.files_found, 50);
  EXPECT_EQ(p.files_copied, 50);
  EXPECT_EQ(p.files_skipped + p.files_failed, 0);
  EXPECT_EQ(p.bytes_found, 50 * 100 + 49 * 50 / 2);
  EXPECT_EQ(p.bytes_read, p.bytes_found);
  EXPECT_EQ(p.links_left_out, 1);
  EXPECT_EQ(p.others_left_out, 1);
  EXPECT_FALSE(p.listing);
  EXPECT_EQ(seen_.units.size(), 50U);
  EXPECT_EQ(seen_.last.files_copied, 50);
}

TEST_F(Jobs, CopySingleFiles) {
  write_tree(2);
  items_ = {
      {"scan/part0/f0", "deep/er/a", false}, {"scan/part1/f1", "b", false}, {"gone", "c", false}, {"scan", "d", false}};
  const auto result = run();
  EXPECT_FALSE(result.ok());
  EXPECT_FALSE(result.error);
  EXPECT_EQ(tree(target()), (std::map<std::string, std::string>{{"deep/er/a", tree(source())["scan/part0/f0"]},
                                                                {"b", tree(source())["scan/part1/f1"]}}));
  std::map<std::string, ErrorCode> failed;
  for (const auto& unit : result.failed) failed[unit.source] = unit.error->code();
  EXPECT_EQ(failed,
            (std::map<std::string, ErrorCode>{{"gone", ErrorCode::not_found}, {"scan", ErrorCode::invalid_argument}}));
}

TEST_F(Jobs, EmptyFoldersAreTransfersToo) {
  fs::create_directories(source() / "scan");
  EXPECT_TRUE(run().ok());
  EXPECT_TRUE(fs::is_directory(target() / "data/scan"));
}

/// Four files: missing at the destination, of another size, of another time, of the same size and time but other bytes.
TEST_F(Jobs, SyncLevels) {
  const timespec old[2]{{1'500'000'000, 0}, {1'500'000'000, 0}};
  const timespec now[2]{{1'600'000'000, 7}, {1'600'000'000, 7}};
  const std::map<Sync, std::set<std::string>> expected{{Sync::never, {"missing", "size", "time", "bytes", "same"}},
                                                       {Sync::exists, {"missing"}},
                                                       {Sync::size, {"missing", "size"}},
                                                       {Sync::mtime, {"missing", "size", "time"}},
                                                       {Sync::checksum, {"missing", "size", "bytes"}}};
  for (const auto& [sync, copied] : expected) {
    for (const auto* name : {"missing", "size", "time", "bytes", "same"}) {
      testing::write_plain(source() / "scan" / name, "content");
      ::utimensat(AT_FDCWD, (source() / "scan" / name).c_str(), now, 0);
      testing::write_plain(target() / "data/scan" / name, name == std::string("size")    ? "short"
                                                          : name == std::string("bytes") ? "CONTENT"
                                                                                         : "content");
      ::utimensat(AT_FDCWD, (target() / "data/scan" / name).c_str(), name == std::string("time") ? old : now, 0);
    }
    fs::remove(target() / "data/scan/missing");
    options_.sync = sync;
    seen_.units.clear();
    const auto result = run();
    std::set<std::string> names;
    for (const auto& [path, units] : seen_.units)
      if (units.front().outcome == Unit::Outcome::copied) names.insert(fs::path(path).filename());
    EXPECT_EQ(names, copied) << static_cast<int>(sync);
    EXPECT_EQ(result.progress.files_skipped, 5 - std::ssize(copied));
  }
}

TEST_F(Jobs, SynchronisedByTimeASecondRunCopiesNothing) {
  write_tree(20);
  options_.sync = Sync::mtime;
  EXPECT_EQ(run().progress.files_copied, 20);
  EXPECT_EQ(run().progress.files_skipped, 20);
}

TEST_F(Jobs, TakeWhatTheFilterTakes) {
  for (const auto* path : {"a.h5", "a.log", "raw/b.h5", "raw/tmp/c.h5", "tmp.h5"})
    testing::write_plain(source() / "scan" / path, "x");
  options_.filter = {{"*.h5"}, {"tmp*"}};
  EXPECT_TRUE(run().ok());
  std::set<std::string> names;
  for (const auto& [path, content] : tree(target())) names.insert(path);
  EXPECT_EQ(names, (std::set<std::string>{"data/scan/a.h5", "data/scan/raw/b.h5"}));
}

TEST_F(Jobs, OneBadFileStopsNoOther) {
  write_tree(30);
  testing::write_plain(source() / "scan" / "bad\xff", "x");
  to_->hooks.before_receive = [](const std::string& path) {
    if (path.ends_with("f7")) throw core::Error(ErrorCode::io, "a bad sector");
  };
  const auto result = run();
  EXPECT_EQ(result.progress.files_copied, 29);
  EXPECT_EQ(result.progress.files_failed, 2);
  EXPECT_FALSE(result.error);
  EXPECT_EQ(seen_.units.at("data/scan/part1/f7").front().error->message(), "a bad sector");
  EXPECT_EQ(seen_.units.at("data/scan/part1/f7").front().attempts, 1);  // trying again would not help
}

TEST_F(Jobs, TryAgainWhereThatMayHelp) {
  write_tree(3);
  std::atomic<int> failures{0};
  to_->hooks.before_commit = [&] {
    if (failures++ < 2) throw core::Error(ErrorCode::unavailable, "the line was cut");
  };
  options_.concurrency = 1;
  EXPECT_TRUE(run().ok());
  EXPECT_EQ(seen_.units.at("data/scan/part0/f0").front().attempts, 3);
}

TEST_F(Jobs, APeerThatStaysAwayEndsTheJob) {
  write_tree(1000);
  std::atomic<int> asked{0};
  to_->hooks.before_receive = [&](const std::string&) {
    ++asked;
    throw core::Error(ErrorCode::unavailable, "nobody there");
  };
  options_.attempts = 2;
  const auto result = run();
  ASSERT_TRUE(result.error);
  EXPECT_EQ(result.error->code(), ErrorCode::unavailable);
  EXPECT_LT(asked, 100);
}

TEST_F(Jobs, AFullDiskEndsTheJobAndALaterRunGoesOn) {
  write_tree(200);
  std::atomic<int> room{50};
  to_->hooks.before_put = [&](Index, auto&, auto&) {
    if (room-- <= 0) throw core::Error(ErrorCode::resource_exhausted, "No space left on device");
  };
  const auto result = run();
  ASSERT_TRUE(result.error);
  EXPECT_EQ(result.error->code(), ErrorCode::resource_exhausted);
  EXPECT_EQ(result.progress.files_copied, 50);
  EXPECT_EQ(result.progress.files_failed, 0);  // none was given up
  to_->hooks = {};
  options_.sync = Sync::mtime;
  EXPECT_EQ(run().progress.files_copied, 150);
  EXPECT_EQ(tree(target() / "data/scan"), tree(source() / "scan"));
}

TEST_F(Jobs, StopWhenAsked) {
  write_tree(200);
  std::stop_source stop;
  seen_.on_unit = [&](const Unit&) {
    if (seen_.units.size() == 20) stop.request_stop();
  };
  const auto result = run(stop.get_token());
  ASSERT_TRUE(result.error);
  EXPECT_EQ(result.error->code(), ErrorCode::cancelled);
  EXPECT_LT(result.progress.files_copied, 200);
  for (const auto& [path, content] : tree(target())) EXPECT_FALSE(path.ends_with(".part")) << path;
}

TEST_F(Jobs, WhatWasCopiedBeforeIsLeft) {
  write_tree(10);
  seen_.before = {"data/scan/part0/f0", "data/scan/part1/f1"};
  const auto result = run();
  EXPECT_EQ(result.progress.files_copied, 8);
  EXPECT_EQ(result.progress.files_skipped, 2);
  EXPECT_FALSE(fs::exists(target() / "data/scan/part0/f0"));
}

TEST_F(Jobs, NoMoreFilesAtOnceThanAllowed) {
  write_tree(60);
  std::atomic<int> now{0}, most{0};
  to_->hooks.before_receive = [&](const std::string&) {
    const int n = ++now;
    for (int m = most; m < n && !most.compare_exchange_weak(m, n);) {}
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  };
  to_->hooks.before_commit = [&] { --now; };
  options_.concurrency = 3;
  EXPECT_TRUE(run().ok());
  EXPECT_LE(most, 3);
  EXPECT_GT(most, 1);
}

TEST_F(Jobs, AnObserverThatCannotStoreEndsTheJob) {
  write_tree(100);
  seen_.on_unit = [](const Unit&) { throw core::Error(ErrorCode::unavailable, "the database is away"); };
  const auto result = run();
  ASSERT_TRUE(result.error);
  EXPECT_EQ(result.error->message(), "the database is away");
}

TEST_F(Jobs, FollowAScanUntilItsMarkerIsThere) {
  options_.follow = watch::CompleteRule{"complete", 0, {}};
  options_.copy.chunk_bytes = 4096;
  std::thread writer([&] {
    for (int i = 0; i < 12; ++i) {
      testing::write_plain(source() / "scan" / ("f" + std::to_string(i)), "content " + std::to_string(i));
      std::ofstream(source() / "scan/big", std::ios::app) << testing::random_text(20000, static_cast<std::uint64_t>(i));
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
    testing::write_plain(source() / "scan/f0", "written once more");
    testing::write_plain(source() / "scan/complete", "");
  });
  std::atomic<int> early{0};
  seen_.on_unit = [&](const Unit& unit) {
    if (unit.outcome == Unit::Outcome::copied && !fs::exists(source() / "scan/complete")) ++early;
  };
  std::atomic<int> chunks_early{0};
  to_->hooks.before_put = [&](Index number, auto&, auto&) {
    if (number >= 4 && !fs::exists(source() / "scan/complete")) ++chunks_early;
  };
  const auto result = run();
  writer.join();
  EXPECT_TRUE(result.ok()) << (result.error ? result.error->what() : "");
  EXPECT_EQ(tree(target() / "data/scan"), tree(source() / "scan"));
  EXPECT_GT(early, 0);  // files were copied while others still came
  EXPECT_GT(chunks_early, 0);  // and a long one while it grew
  EXPECT_EQ(result.progress.files_found, 14);
  EXPECT_EQ(result.progress.files_copied, 14);
}

TEST_F(Jobs, FollowAScanUntilItsMarkerLiesBesideIt) {
  options_.follow = watch::CompleteRule{"*.done", 0, {}};
  testing::write_plain(source() / "scan/a", "content");
  std::thread writer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(600));
    testing::write_plain(source() / "other.done", "");  // another scan's
    std::this_thread::sleep_for(std::chrono::milliseconds(600));
    testing::write_plain(source() / "scan/b", "the last");
    testing::write_plain(source() / "scan.done", "");
  });
  const auto result = run();
  writer.join();
  EXPECT_TRUE(result.ok()) << (result.error ? result.error->what() : "");
  EXPECT_EQ(tree(target() / "data/scan"), tree(source() / "scan"));
}

TEST_F(Jobs, FollowAFolderThatIsNotThereYet) {
  options_.follow = watch::CompleteRule{"", 0.5, {}};
  std::thread writer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    testing::write_plain(source() / "scan/f", "content");
  });
  const auto result = run();
  writer.join();
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(testing::read_plain(target() / "data/scan/f"), "content");
}

TEST_F(Jobs, RefuseWhatMakesNoSense) {
  const auto refused = [&](auto change) {
    const auto options = options_;
    const auto items = items_;
    change();
    const auto code = caught([&] { run(); }).code;
    options_ = options;
    items_ = items;
    return code;
  };
  EXPECT_EQ(refused([&] { items_.clear(); }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([&] { options_.concurrency = 0; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([&] { options_.concurrency = 1001; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([&] { options_.attempts = 0; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([&] { options_.bandwidth_Bps = -1; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([&] { options_.copy.streams = 0; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([&] { options_.copy.chunk_bytes = 0; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([&] { options_.filter.include = {""}; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([&] { options_.follow = watch::CompleteRule{"", 0, {}}; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([&] { items_[0].source = "../x"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([&] { items_[0].destination = "/x"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([&] { items_ = {{"", "x", false}}; }), ErrorCode::invalid_argument);
  const auto same = local_provider(source());
  EXPECT_EQ(caught([&] { run_job(*from_, *same, {{"scan", "scan/sub", true}}, options_, seen_, clock_, {}); }).code,
            ErrorCode::invalid_argument);
  const auto outer = local_provider(folder_.path());
  EXPECT_EQ(
      caught([&] { run_job(*from_, *outer, {{"scan", "from/scan/sub", true}}, options_, seen_, clock_, {}); }).code,
      ErrorCode::invalid_argument);
  EXPECT_EQ(caught([&] { run_job(*from_, *same, {{"", "copy", true}}, options_, seen_, clock_, {}); }).code,
            ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace farfield::services::transfer
