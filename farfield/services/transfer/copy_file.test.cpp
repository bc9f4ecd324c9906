// One file, and everything that can happen to it on its way.

#include "farfield/services/transfer/copy_file.hpp"

#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <chrono>
#include <csignal>
#include <set>
#include <thread>

#include "farfield/codec/checksum.hpp"
#include "farfield/services/transfer/local/local.hpp"
#include "farfield/services/transfer/testing.hpp"
#include "farfield/services/transfer/testing_provider.hpp"

namespace farfield::services::transfer {
namespace {

namespace fs = std::filesystem;
using core::ErrorCode;
using testing::caught;

constexpr Index kChunk = 4096;

class CopyFile : public ::testing::Test {
protected:
  CopyFile() {
    fs::create_directories(folder_ / "from");
    fs::create_directories(folder_ / "to");
    options_.chunk_bytes = kChunk;
    options_.streams = 2;
    from_ = std::make_unique<testing::HookedProvider>(local_provider(folder_ / "from"));
    to_ = std::make_unique<testing::HookedProvider>(local_provider(folder_ / "to", {true, 4 * kChunk}));
  }
  std::string write_source(Index chunks, std::uint64_t seed = 1) {
    const std::string content = testing::random_text(static_cast<std::size_t>(chunks * kChunk), seed);
    testing::write_plain(folder_ / "from/f", content);
    return content;
  }
  CopyResult copy() { return copy_file(*from_, "f", *to_, "f", options_, context_); }
  std::string arrived() const { return testing::read_plain(folder_ / "to/f"); }
  std::size_t names_behind() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_ / "to"), fs::directory_iterator()));
  }

  testing::TemporaryFolder folder_;
  CopyOptions options_;
  CopyContext context_;
  std::unique_ptr<testing::HookedProvider> from_, to_;
};

TEST_F(CopyFile, GoesOnAtTheChunkAfterAFailure) {
  const std::string content = write_source(20);
  std::atomic<int> puts{0};
  to_->hooks.before_put = [&](Index, auto&, auto&) {
    if (++puts > 10) throw core::Error(ErrorCode::unavailable, "the line was cut");
  };
  EXPECT_EQ(caught([&] { copy(); }).code, ErrorCode::unavailable);
  EXPECT_FALSE(fs::exists(folder_ / "to/f"));
  to_->hooks = {};
  std::set<Index> read;
  std::mutex mutex;
  from_->hooks.before_read = [&](Index offset) {
    const std::lock_guard lock(mutex);
    read.insert(offset / kChunk);
  };
  const auto result = copy();
  EXPECT_EQ(result.bytes_moved, 10 * kChunk);
  EXPECT_EQ(read.size(), 10U);  // what is held is not read from the source again
  EXPECT_EQ(arrived(), content);
  EXPECT_EQ(result.digests.crc32c, codec::crc32c(std::as_bytes(std::span(content))));
  EXPECT_EQ(names_behind(), 1U);
}

TEST_F(CopyFile, ChunksOfAnotherVersionAreComparedNotTrusted) {
  std::string content = write_source(20);
  std::atomic<int> puts{0};
  options_.streams = 1;
  to_->hooks.before_put = [&](Index, auto&, auto&) {
    if (++puts > 10) throw core::Error(ErrorCode::unavailable, "the line was cut");
  };
  EXPECT_EQ(caught([&] { copy(); }).code, ErrorCode::unavailable);
  to_->hooks = {};
  content[3 * kChunk + 7] = static_cast<char>(~content[3 * kChunk + 7]);
  testing::write_plain(folder_ / "from/f", content);
  EXPECT_EQ(copy().bytes_moved, 11 * kChunk);  // the ten that were missing, and the one that changed
  EXPECT_EQ(arrived(), content);
}

TEST_F(CopyFile, ChunksDamagedOnTheirWayArePutAgain) {
  const std::string content = write_source(8);
  std::atomic<int> damaged{0};
  to_->hooks.before_put = [&](Index number, std::vector<std::byte>& bytes, auto&) {
    if (number % 4 == 1 && damaged++ < 2) bytes[100] ^= std::byte{4};
  };
  options_.sha256 = true;
  const auto result = copy();
  EXPECT_EQ(result.chunks_repaired, 2);
  EXPECT_EQ(arrived(), content);
  EXPECT_EQ(result.digests.sha256, codec::sha256_hex(std::as_bytes(std::span(content))));
}

TEST_F(CopyFile, APlaceThatAlwaysDamagesIsAnError) {
  write_source(8);
  to_->hooks.before_put = [&](Index number, std::vector<std::byte>& bytes, auto&) {
    if (number == 5) bytes[0] ^= std::byte{1};
  };
  const auto e = caught([&] { copy(); });
  EXPECT_EQ(e.code, ErrorCode::corrupt_data);
  EXPECT_NE(e.text.find("chunk 5 of f"), std::string::npos) << e.text;
  EXPECT_FALSE(fs::exists(folder_ / "to/f"));
}

TEST_F(CopyFile, ASourceThatChangesIsNotedAndTheCopyNotGiven) {
  for (const Index chunks : {Index{1}, Index{6}}) {
    write_source(chunks);
    std::atomic<bool> done{false};
    from_->hooks.before_read = [&](Index offset) {
      if (offset >= (chunks - 1) * kChunk && !done.exchange(true)) {
        std::fstream file(folder_ / "from/f", std::ios::in | std::ios::out | std::ios::binary);
        file << "changed";
      }
    };
    EXPECT_EQ(caught([&] { copy(); }).code, ErrorCode::conflict);
    EXPECT_FALSE(fs::exists(folder_ / "to/f"));
    copy();
    EXPECT_EQ(arrived(), testing::read_plain(folder_ / "from/f"));
    fs::remove(folder_ / "to/f");
  }
}

TEST_F(CopyFile, ASourceThatShrinksIsNoted) {
  write_source(6);
  from_->hooks.before_read = [&](Index offset) {
    if (offset == 2 * kChunk) fs::resize_file(folder_ / "from/f", 100);
  };
  EXPECT_EQ(caught([&] { copy(); }).code, ErrorCode::conflict);
  EXPECT_EQ(copy().digests.size_bytes, 100);
}

TEST_F(CopyFile, StopsWhenAskedAndGoesOn) {
  const std::string content = write_source(40);
  std::stop_source stop;
  context_.stop = stop.get_token();
  to_->hooks.before_put = [&](Index number, auto&, auto&) {
    if (number == 12) stop.request_stop();
  };
  EXPECT_EQ(caught([&] { copy(); }).code, ErrorCode::cancelled);
  context_.stop = {};
  to_->hooks = {};
  EXPECT_LE(copy().bytes_moved, 28 * kChunk);
  EXPECT_EQ(arrived(), content);
}

TEST_F(CopyFile, CountsWhatItMoves) {
  write_source(9);
  std::atomic<Index> moved{0};
  context_.moved = &moved;
  copy();
  EXPECT_EQ(moved, 9 * kChunk);
}

TEST_F(CopyFile, FollowsAFileThatGrows) {
  std::atomic<bool> closed{false};
  std::string content;
  testing::write_plain(folder_ / "from/f", "");
  std::thread writer([&] {
    for (int part = 0; part < 10; ++part) {
      const std::string more = testing::random_text(3 * kChunk / 2, static_cast<std::uint64_t>(part));
      content += more;
      std::ofstream(folder_ / "from/f", std::ios::app | std::ios::binary) << more;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    content[5] = 'H';  // a header that is written last
    std::fstream file(folder_ / "from/f", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(5);
    file << 'H';
    file.close();
    closed = true;
  });
  std::atomic<int> early{0};
  to_->hooks.before_put = [&](Index, auto&, auto&) {
    if (!closed) ++early;
  };
  options_.complete = [&](const Version&) { return closed.load(); };
  options_.sha256 = true;
  const auto result = copy();
  writer.join();
  EXPECT_EQ(arrived(), content);
  EXPECT_EQ(result.digests.sha256, codec::sha256_hex(std::as_bytes(std::span(content))));
  EXPECT_GT(early, 0);  // the copy began before the file was complete
  EXPECT_EQ(names_behind(), 1U);
}

TEST_F(CopyFile, AFollowedFileGoesOnAfterAnInterruption) {
  const std::string content = write_source(20);
  int asked = 0;
  std::stop_source stop;
  context_.stop = stop.get_token();
  options_.complete = [&](const Version&) {
    if (++asked == 2) stop.request_stop();
    return false;
  };
  EXPECT_EQ(caught([&] { copy(); }).code, ErrorCode::cancelled);
  context_.stop = {};
  options_.complete = [](const Version&) { return true; };
  EXPECT_EQ(copy().bytes_moved, 0);  // all chunks were there, and equal
  EXPECT_EQ(arrived(), content);
}

TEST_F(CopyFile, AFolderThatMayNotBeWritten) {
  if (::geteuid() == 0) {  // permission bits do not stop root; a read-only mount does
    fs::create_directories(folder_ / "ro");
    if (::mount("tmpfs", (folder_ / "ro").c_str(), "tmpfs", MS_RDONLY, "size=1m") != 0)
      FARFIELD_SKIP(std::string("no file system can be mounted here: ") + std::strerror(errno));
  } else {
    fs::create_directories(folder_ / "ro");
    ASSERT_EQ(::chmod((folder_ / "ro").c_str(), 0500), 0);
  }
  write_source(1);
  const auto e = caught([&] {
    const auto to = local_provider(folder_ / "ro");
    copy_file(*from_, "f", *to, "f", options_, {});
  });
  EXPECT_EQ(e.code, ErrorCode::io);
  EXPECT_NE(e.text.find("ro"), std::string::npos) << e.text;
  if (::geteuid() == 0) ::umount((folder_ / "ro").c_str());
}

TEST_F(CopyFile, AFullDiskIsSaidAtOnceAndLeavesRoom) {
  if (::geteuid() != 0) FARFIELD_SKIP("only root can mount a small file system");
  fs::create_directories(folder_ / "small");
  if (::mount("tmpfs", (folder_ / "small").c_str(), "tmpfs", 0, "size=256k") != 0)
    FARFIELD_SKIP(std::string("no file system can be mounted here: ") + std::strerror(errno));
  const std::string content = write_source(100);  // 400 KiB
  std::atomic<int> reads{0};
  from_->hooks.before_read = [&](Index) { ++reads; };
  {
    const auto to = local_provider(folder_ / "small", {true, 4 * kChunk});
    EXPECT_EQ(caught([&] { copy_file(*from_, "f", *to, "f", options_, {}); }).code, ErrorCode::resource_exhausted);
    EXPECT_LE(reads, 3);  // it did not find out at the end
    EXPECT_GT(fs::space(folder_ / "small").available, 200U << 10);
    EXPECT_TRUE(to->list("").entries.empty());
    // Grown by more than there is: found while writing.
    options_.complete = [](const Version&) { return true; };
    EXPECT_EQ(caught([&] { copy_file(*from_, "f", *to, "f", options_, {}); }).code, ErrorCode::resource_exhausted);
    // Somebody makes room: it goes on.
    ASSERT_EQ(::mount("tmpfs", (folder_ / "small").c_str(), "tmpfs", MS_REMOUNT, "size=4m"), 0);
    EXPECT_LT(copy_file(*from_, "f", *to, "f", options_, {}).bytes_moved, std::ssize(content));
    EXPECT_EQ(testing::read_plain(folder_ / "small/f"), content);
  }
  ::umount((folder_ / "small").c_str());
}

// A process is killed again and again while it copies. At no moment may the file be there in part, and
// what was written before a kill is used after it.
TEST_F(CopyFile, SurvivesKills) {
  const std::string content = write_source(300);
  int kills = 0;
  for (int attempt = 0;; ++attempt) {
    ASSERT_LT(attempt, 200);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const core::SteadyClock clock;
      RateLimit limit(1e6, clock);  // after a first quarter of a megabyte, 1 s for the rest
      const auto to = local_provider(folder_ / "to", {true, 4 * kChunk});
      CopyContext context;
      context.limit = &limit;
      try {
        copy_file(*from_, "f", *to, "f", options_, context);
      } catch (const core::Error&) {
        ::_exit(1);
      }
      ::_exit(0);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5 + 7 * attempt % 40));
    const bool there = fs::exists(folder_ / "to/f");
    if (there) {
      ASSERT_EQ(arrived(), content);
    }
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    if (WIFEXITED(status)) {
      ASSERT_EQ(WEXITSTATUS(status), 0);
      break;
    }
    ++kills;
  }
  EXPECT_GT(kills, 1);
  EXPECT_EQ(arrived(), content);
  EXPECT_EQ(names_behind(), 1U);
}

TEST_F(CopyFile, RefusesOptionsThatMakeNoSense) {
  write_source(1);
  options_.streams = 0;
  EXPECT_EQ(caught([&] { copy(); }).code, ErrorCode::invalid_argument);
  options_.streams = 1;
  options_.chunk_bytes = 0;
  EXPECT_EQ(caught([&] { copy(); }).code, ErrorCode::invalid_argument);
}

TEST(RateLimit, GivesTurns) {
  core::ManualClock clock;
  clock.time_s = 100;
  RateLimit limit(1000, clock);
  EXPECT_DOUBLE_EQ(limit.reserve_s(250), 0);    // a quarter of a second's worth goes at once
  EXPECT_DOUBLE_EQ(limit.reserve_s(500), 0.5);  // then all wait for all before them
  EXPECT_DOUBLE_EQ(limit.reserve_s(500), 1.0);
  clock.time_s = 101;
  EXPECT_DOUBLE_EQ(limit.reserve_s(1000), 1.0);
  clock.time_s = 1000;  // a long pause gives no more than the burst
  EXPECT_DOUBLE_EQ(limit.reserve_s(1250), 1.0);
  std::stop_source stopped;
  stopped.request_stop();
  EXPECT_FALSE(limit.wait(1 << 30, stopped.get_token()));  // at once
  for (const double bad :
       {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()})
    EXPECT_EQ(caught([&] { RateLimit refused(bad, clock); }).code, ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace farfield::services::transfer
