#include <sqlite3.h>
#include <sys/stat.h>

#include <fstream>
#include <thread>

#include "farfield/store/testing.hpp"

namespace farfield::store {
namespace {
using core::Error;
using core::ErrorCode;

ErrorCode code_of_opening(const std::string& address) {
  try {
    Database::open(address);
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(address.substr(7)), std::string::npos) << e.what();
    return e.code();
  }
  ADD_FAILURE() << "was opened: " << address;
  return ErrorCode::internal;
}

TEST(Sqlite, FilesAreForTheirOwnerOnly) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.path() / "a.db";
  const auto db = Database::open("sqlite:" + path);
  db->migrate("test", {{1, "t", "CREATE TABLE t (x {int64})"}});
  for (const char* suffix : {"", "-wal", "-shm"}) {
    struct stat status{};
    ASSERT_EQ(stat((path + suffix).c_str(), &status), 0) << suffix;
    EXPECT_EQ(status.st_mode & 0777, 0600U) << suffix;
  }
  EXPECT_EQ(db->kind(), "sqlite");
}

TEST(Sqlite, CommitsWaitForTheDiskUnlessTheyNeedNot) {
  const testing::TemporaryFolder folder;
  const auto synchronous = [&](const DatabaseOptions& options) {
    const auto db = Database::open("sqlite:" + (folder.path() / "a.db").string(), options);
    return db->write([](Transaction& t) { return t.query("PRAGMA synchronous")[0].integer(0); });
  };
  EXPECT_EQ(synchronous({}), 2);                         // FULL
  EXPECT_EQ(synchronous({.waits_for_disk = false}), 1);  // NORMAL: with a WAL, of checkpoints only
}

TEST(Sqlite, WhatIsNoDatabaseIsRefused) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.path() / "text";
  std::ofstream(path) << std::string(4096, 'x');
  EXPECT_EQ(code_of_opening("sqlite:" + path), ErrorCode::corrupt_data);
  EXPECT_EQ(code_of_opening("sqlite:" + (folder.path() / "none/a.db").string()), ErrorCode::io);
}

/// Another program in the middle of a write.
class Holder {
public:
  explicit Holder(const std::string& path) {
    EXPECT_EQ(sqlite3_open(path.c_str(), &db_), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(db_, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  }
  ~Holder() { sqlite3_close(db_); }
  void let_go() { EXPECT_EQ(sqlite3_exec(db_, "COMMIT", nullptr, nullptr, nullptr), SQLITE_OK); }

private:
  sqlite3* db_ = nullptr;
};

TEST(Sqlite, WaitsForAnotherProgramAsLongAsItsPatience) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.path() / "a.db";
  const auto patient = Database::open("sqlite:" + path);
  const auto hasty = Database::open("sqlite:" + path, {.patience_s = 0.05});
  patient->migrate("test", {{1, "t", "CREATE TABLE t (x {int64})"}});
  Holder other(path);
  try {
    hasty->write([](Transaction& t) { t.execute("INSERT INTO t VALUES (1)"); });
    ADD_FAILURE() << "was written";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::unavailable);
  }
  std::jthread writer([&] { patient->write([](Transaction& t) { t.execute("INSERT INTO t VALUES (2)"); }); });
  other.let_go();
  writer.join();
  EXPECT_EQ(hasty->query("SELECT x FROM t")[0].integer(0), 2);
}

TEST(Sqlite, AFullDiskIsSaidAndNothingIsHalfDone) {
  const testing::TemporaryFolder folder;
  const auto db = Database::open("sqlite:" + (folder.path() / "a.db").string());
  db->migrate("test", {{1, "t", "CREATE TABLE t (x {int64}, b {bytes})"}});
  // A limit on pages answers as a full disk does.
  db->write([](Transaction& t) { t.query("PRAGMA max_page_count = 20"); });
  const auto write = [&](std::int64_t x, std::size_t bytes) {
    db->write([&](Transaction& t) {
      t.execute("INSERT INTO t VALUES (?, NULL)", x);
      t.execute("INSERT INTO t VALUES (?, ?)", x, Bytes(bytes));
    });
  };
  write(1, 10);
  try {
    write(2, 1000000);
    ADD_FAILURE() << "was written";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::resource_exhausted);
  }
  write(3, 10);
  EXPECT_EQ(db->query("SELECT count(*) FROM t")[0].integer(0), 4);
  EXPECT_EQ(db->query("SELECT count(*) FROM t WHERE x = 2")[0].integer(0), 0);
}

}  // namespace
}  // namespace farfield::store
