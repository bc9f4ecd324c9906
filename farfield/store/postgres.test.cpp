// What only a server can do: go away and come back.

#include <fmt/core.h>

#include <atomic>
#include <thread>

#include "farfield/store/connection.hpp"
#include "farfield/store/placeholders.hpp"
#include "farfield/store/testing.hpp"

namespace farfield::store {
namespace {
using core::Error;
using core::ErrorCode;

class Postgres : public ::testing::Test {
protected:
  void SetUp() override {
    if (!database_.prepare("postgresql")) return;
    database_.open()->migrate("test", {{1, "t", "CREATE TABLE t (x {int64})"}});
  }
  testing::TestDatabase database_;
};

// Every change takes place exactly once, however often its connection breaks, also in the middle of a commit.
TEST_F(Postgres, ChangesTakePlaceOnceThroughLostConnections) {
  const auto db = database_.open();
  std::atomic<bool> done = false;
  std::atomic<int> written = 0;
  std::jthread breaker([&] {
    const auto other = database_.open();
    // After every ten changes, so that a slow machine gets there, too.
    for (int seen = -10; !done; std::this_thread::sleep_for(std::chrono::milliseconds(5))) {
      if (written < seen + 10) continue;
      seen = written;
      other->query(
          "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'farfield' AND pid <> "
          "pg_backend_pid()");
    }
  });
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 4; ++thread)
    threads.emplace_back([&, thread] {
      // A fast machine is through with fifty before the first breaks.
      for (int i = 0; i < 50 || (db->counts().reconnections == 0 && i < 5000); ++i) {
        db->write([&](Transaction& t) { t.execute("INSERT INTO t VALUES (?)", i * 4 + thread); });
        ++written;
      }
    });
  threads.clear();
  done = true;
  breaker.join();
  const Rows rows = db->query("SELECT x, count(*) FROM t GROUP BY x ORDER BY x");
  ASSERT_EQ(rows.size(), written);
  for (const auto row : rows) EXPECT_EQ(row.integer(1), 1) << row.integer(0);
  EXPECT_GT(db->counts().reconnections, 0);
}

TEST_F(Postgres, GoesOnAfterTheServerCrashed) {
  const auto db = database_.open();
  std::atomic<int> written = 0;
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 3; ++thread)
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 150; ++i) {
        db->write([&](Transaction& t) { t.execute("INSERT INTO t VALUES (?)", i * 3 + thread); });
        ++written;
        if (i % 10 == 0) db->query("SELECT count(*) FROM t");
      }
    });
  while (written < 50) std::this_thread::yield();
  testing::postgres().stop("immediate");
  ASSERT_TRUE(testing::postgres().start());
  threads.clear();
  const Rows rows = db->query("SELECT x, count(*) FROM t GROUP BY x");
  ASSERT_EQ(rows.size(), 450);
  for (const auto row : rows) EXPECT_EQ(row.integer(1), 1) << row.integer(0);
}

TEST_F(Postgres, AServerThatStaysAwayIsUnavailable) {
  const auto db = database_.open({.patience_s = 0.1});
  testing::postgres().stop("fast");
  const auto code_of = [](auto action) {
    try {
      action();
    } catch (const Error& e) {
      return e.code();
    }
    return ErrorCode::internal;
  };
  EXPECT_EQ(code_of([&] { db->write([](Transaction& t) { t.execute("INSERT INTO t VALUES (1)"); }); }),
            ErrorCode::unavailable);
  EXPECT_EQ(code_of([&] { db->query("SELECT x FROM t"); }), ErrorCode::unavailable);
  EXPECT_EQ(code_of([&] { database_.open(); }), ErrorCode::unavailable);
  ASSERT_TRUE(testing::postgres().start());
  db->write([](Transaction& t) { t.execute("INSERT INTO t VALUES (2)"); });
  EXPECT_EQ(db->query("SELECT x FROM t")[0].integer(0), 2);
}

TEST_F(Postgres, TellsWhetherATransactionWasCommitted) {
  const auto writer = connect_postgres(database_.address(), true), other = connect_postgres(database_.address(), true);
  writer->begin_write();
  const std::string kept = writer->transaction_id();
  writer->commit();
  EXPECT_TRUE(other->committed(kept));
  writer->begin_write();
  const std::string dropped = writer->transaction_id();
  EXPECT_NE(kept, dropped);
  writer->rollback();
  EXPECT_FALSE(other->committed(dropped));
  EXPECT_FALSE(other->committed("999999999"));
}

TEST_F(Postgres, WrongValuesAndNamesAreSaid) {
  const auto db = database_.open();
  try {
    db->query("SELECT x FROM t WHERE x = ?", "seven");
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
  }
  std::string address = database_.address();
  address.replace(address.find("/postgres?"), 10, "/nobody?");
  try {
    Database::open(address);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::not_found) << e.what();
  }
}

TEST(PostgresAddress, IsShownWithoutItsPassword) {
  EXPECT_EQ(postgres_without_password("postgresql://a:secret@h:5432/d?password=x"), "postgresql://a@h:5432/d");
  EXPECT_EQ(postgres_without_password("postgresql://a:s@cret@h/d"), "postgresql://a@h/d");
  EXPECT_EQ(postgres_without_password("postgresql://h:5432/d"), "postgresql://h:5432/d");
  EXPECT_EQ(postgres_without_password("postgres:///d"), "postgres:///d");
}

TEST(Placeholders, AreNumberedOutsideOfStringsAndComments) {
  EXPECT_EQ(numbered_placeholders("a = ? AND b = ?"), "a = $1 AND b = $2");
  EXPECT_EQ(numbered_placeholders("'?' '''?' \"?\" ? -- ?\n? /* ? */ ?"), "'?' '''?' \"?\" $1 -- ?\n$2 /* ? */ $3");
  EXPECT_EQ(numbered_placeholders("'open ?"), "'open ?");
}

}  // namespace
}  // namespace farfield::store
