// One suite for every database.

#include "farfield/store/database.hpp"

#include <fmt/core.h>
#include <sys/wait.h>

#include <atomic>
#include <csignal>
#include <future>
#include <limits>
#include <set>
#include <thread>

#include "farfield/store/testing.hpp"

namespace farfield::store {
namespace {
using core::Error;
using core::ErrorCode;

class Stores : public testing::EachDatabase {
protected:
  std::unique_ptr<Database> with_table(const DatabaseOptions& options = {}) {
    auto db = database_.open(options);
    db->migrate("test", {{1, "item", "CREATE TABLE item (id {int64} PRIMARY KEY, name TEXT NOT NULL UNIQUE)"}});
    return db;
  }
  static ErrorCode code_of(const std::function<void()>& action) {
    try {
      action();
    } catch (const Error& e) {
      return e.code();
    }
    ADD_FAILURE() << "nothing was thrown";
    return ErrorCode::internal;
  }
  static std::int64_t count(Database& db) { return db.query("SELECT count(*) FROM item")[0].integer(0); }
};
INSTANTIATE_TEST_SUITE_P(Each, Stores, testing::kinds(), testing::kind_name);

TEST_P(Stores, ValuesComeBackAsTheyWentIn) {
  const auto db = database_.open();
  db->migrate("test", {{1, "value", "CREATE TABLE v (id {id}, i {int64}, r {float64}, t TEXT, b {bytes})"}});
  const std::vector<std::optional<std::int64_t>> integers{0, -1, std::numeric_limits<std::int64_t>::max(),
                                                          std::numeric_limits<std::int64_t>::min(), std::nullopt};
  const std::vector<std::optional<double>> reals{0.1, -2.5e-300, 1.7976931348623157e308, 3.0, std::nullopt};
  const std::vector<std::optional<std::string>> texts{"", "it's \"quoted\" ? $1 -- ; \\x", "Röntgen 光 🔬", "\n\t\x01",
                                                      std::nullopt};
  const std::vector<std::optional<Bytes>> blobs{Bytes{}, Bytes{std::byte{0}, std::byte{255}, std::byte{'\''}},
                                                Bytes(100000, std::byte{7}), Bytes(1), std::nullopt};
  for (std::size_t i = 0; i < integers.size(); ++i)
    db->write([&](Transaction& t) {
      t.execute("INSERT INTO v(i, r, t, b) VALUES (?, ?, ?, ?)", integers[i], reals[i], texts[i], blobs[i]);
    });
  const Rows rows = db->query("SELECT id, i, r, t, b FROM v ORDER BY id");
  ASSERT_EQ(rows.size(), 5);
  for (Index i = 0; i < rows.size(); ++i) {
    const auto k = static_cast<std::size_t>(i);
    EXPECT_EQ(rows[i].integer(0), i + 1);
    EXPECT_EQ(rows[i].maybe_integer(1), integers[k]);
    EXPECT_EQ(rows[i].maybe_real(2), reals[k]);
    EXPECT_EQ(rows[i].maybe_text(3), texts[k]);
    if (blobs[k]) EXPECT_EQ(rows[i].bytes(4), *blobs[k]);
    else EXPECT_TRUE(rows[i].is_null(4));
  }
  EXPECT_EQ(rows.columns(), (std::vector<std::string>{"id", "i", "r", "t", "b"}));
  EXPECT_THROW(rows[0].integer(3), Error);
  EXPECT_THROW(rows[0].text(1), Error);
  EXPECT_THROW(rows[0].integer(5), Error);
  EXPECT_THROW(rows[5], Error);
  EXPECT_EQ(db->query("SELECT sum(i) FROM v WHERE i = -1")[0].integer(0), -1);
}

TEST_P(Stores, ParametersAreDataOnly) {
  const auto db = with_table();
  const std::string hostile = "x'); DROP TABLE item; --";
  db->write([&](Transaction& t) { t.execute("INSERT INTO item VALUES (?, ?)", 1, hostile); });
  EXPECT_EQ(db->query("SELECT name FROM item WHERE name = ? AND '?' = '?' -- ?", hostile)[0].text(0), hostile);
  for (const std::string& text :
       {std::string("a\0b", 3), std::string("\xff"), std::string("\xc0\x80"), std::string("\xed\xa0\x80"),
        std::string("\xf4\x90\x80\x80"), std::string("\xe2\x82")})
    EXPECT_EQ(code_of([&] { db->query("SELECT id FROM item WHERE name = ?", text); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { db->query("SELECT id FROM item WHERE id = ?"); }), ErrorCode::internal);
  EXPECT_EQ(code_of([&] { db->query("SELECT id FROM nowhere"); }), ErrorCode::internal);
}

TEST_P(Stores, ConstraintsAreConflicts) {
  const auto db = with_table();
  db->write([](Transaction& t) { t.execute("INSERT INTO item VALUES (1, 'a')"); });
  const auto insert = [&](const std::string& sql) { db->write([&](Transaction& t) { t.execute(sql); }); };
  EXPECT_EQ(code_of([&] { insert("INSERT INTO item VALUES (1, 'b')"); }), ErrorCode::conflict);
  EXPECT_EQ(code_of([&] { insert("INSERT INTO item VALUES (2, 'a')"); }), ErrorCode::conflict);
  EXPECT_EQ(code_of([&] { insert("INSERT INTO item VALUES (2, NULL)"); }), ErrorCode::conflict);
  EXPECT_EQ(count(*db), 1);
}

TEST_P(Stores, AffectedAndReturnedRows) {
  const auto db = with_table();
  db->write([](Transaction& t) {
    EXPECT_EQ(t.execute("INSERT INTO item VALUES (1, 'a'), (2, 'b')"), 2);
    EXPECT_EQ(t.execute("INSERT INTO item VALUES (1, 'a') ON CONFLICT DO NOTHING"), 0);
    EXPECT_EQ(t.query("UPDATE item SET name = name || 'x' WHERE id = 2 RETURNING name")[0].text(0), "bx");
    EXPECT_EQ(t.execute("DELETE FROM item"), 2);
    EXPECT_EQ(t.execute("SELECT 1"), 0);
  });
}

TEST_P(Stores, AChangeThatThrowsLeavesNothing) {
  const auto db = with_table();
  EXPECT_EQ(code_of([&] {
              db->write([](Transaction& t) {
                t.execute("INSERT INTO item VALUES (1, 'a')");
                throw Error(ErrorCode::forbidden, "not yours");
              });
            }),
            ErrorCode::forbidden);
  EXPECT_EQ(count(*db), 0);
}

TEST_P(Stores, AStatementThatFailedFailsTheChange) {
  const auto db = with_table();
  EXPECT_EQ(code_of([&] {
              db->write([](Transaction& t) {
                t.execute("INSERT INTO item VALUES (1, 'a')");
                try {
                  t.execute("INSERT INTO item VALUES (1, 'b')");
                } catch (const Error&) {}
              });
            }),
            ErrorCode::conflict);
  EXPECT_EQ(count(*db), 0);
}

TEST_P(Stores, ChangesShareACommitAndFailAlone) {
  const auto db = with_table();
  std::promise<void> gate, started;
  std::vector<std::future<core::Result<void>>> answers;
  const auto submit = [&](Database::Change change) {
    auto promise = std::make_shared<std::promise<core::Result<void>>>();
    answers.push_back(promise->get_future());
    db->submit(std::move(change), [promise](core::Result<void> result) { promise->set_value(std::move(result)); });
  };
  submit([&](Transaction&) {
    started.set_value();
    gate.get_future().wait();
  });
  started.get_future().wait();
  for (int i = 0; i < 30; ++i)
    submit([i](Transaction& t) {
      t.execute("INSERT INTO item VALUES (?, ?)", i, fmt::format("n{}", i));
      if (i % 10 == 3) t.execute("INSERT INTO item VALUES (?, ?)", i, "twice");
      if (i % 10 == 7) throw std::runtime_error("no");
    });
  gate.set_value();
  EXPECT_TRUE(answers[0].get());
  for (int i = 0; i < 30; ++i) {
    const auto result = answers[static_cast<std::size_t>(i) + 1].get();
    if (i % 10 == 3) EXPECT_EQ(result.error().code(), ErrorCode::conflict);
    else if (i % 10 == 7) EXPECT_EQ(result.error().code(), ErrorCode::internal);
    else EXPECT_TRUE(result);
  }
  EXPECT_EQ(count(*db), 24);
  // migrate, the gate, and one for all the others
  EXPECT_EQ(db->counts().groups, 3);
  EXPECT_EQ(db->counts().changes, 32);
}

TEST_P(Stores, ReadsSeeOneState) {
  const auto db = with_table();
  db->read([&](Transaction& t) {
    const auto before = t.query("SELECT count(*) FROM item")[0].integer(0);
    db->write([](Transaction& w) { w.execute("INSERT INTO item VALUES (1, 'a')"); });
    EXPECT_EQ(t.query("SELECT count(*) FROM item")[0].integer(0), before);
  });
  EXPECT_EQ(count(*db), 1);
  EXPECT_ANY_THROW(db->query("INSERT INTO item VALUES (2, 'b') RETURNING id"));
  EXPECT_ANY_THROW(db->read([](Transaction& t) { t.execute("DELETE FROM item"); }));
  EXPECT_EQ(count(*db), 1);
  EXPECT_EQ(db->read([](Transaction& t) { return t.query("SELECT name FROM item")[0].text(0); }), "a");
}

TEST_P(Stores, WritesInsideAWriteAreRefused) {
  const auto db = with_table();
  EXPECT_EQ(code_of([&] { db->write([&](Transaction&) { db->write([](Transaction&) {}); }); }), ErrorCode::internal);
}

// Two programs at one database: nothing is lost when both read, add and write back.
TEST_P(Stores, ChangesOfSeveralProgramsAreIsolated) {
  const auto first = with_table(), second = database_.open();
  first->write([](Transaction& t) { t.execute("INSERT INTO item VALUES (0, 'counter')"); });
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 4; ++thread)
    threads.emplace_back([&, db = thread % 2 == 0 ? first.get() : second.get()] {
      for (int i = 0; i < 25; ++i)
        db->write([](Transaction& t) {
          const auto value = t.query("SELECT id FROM item WHERE name = 'counter'")[0].integer(0);
          t.execute("UPDATE item SET id = ? WHERE name = 'counter'", value + 1);
        });
    });
  threads.clear();
  EXPECT_EQ(first->query("SELECT id FROM item")[0].integer(0), 100);
}

TEST_P(Stores, TooManyPendingChangesAreRefused) {
  std::promise<void> gate, started;  // outlive the database, whose thread waits for them
  const auto db = with_table({.max_pending = 2});
  db->submit(
      [&, first = true](Transaction&) mutable {
        if (std::exchange(first, false)) started.set_value();
        gate.get_future().wait();
      },
      [](const core::Result<void>&) {});
  started.get_future().wait();
  for (int i = 0; i < 2; ++i) db->submit([](Transaction&) {}, [](const core::Result<void>&) {});
  EXPECT_EQ(code_of([&] { db->submit([](Transaction&) {}, [](const core::Result<void>&) {}); }),
            ErrorCode::unavailable);
  gate.set_value();
}

TEST_P(Stores, ClosingFinishesWhatWasAccepted) {
  std::atomic<int> answered = 0;
  {
    const auto db = with_table();
    for (int i = 0; i < 100; ++i)
      db->submit([i](Transaction& t) { t.execute("INSERT INTO item VALUES (?, ?)", i, std::to_string(i)); },
                 [&](const core::Result<void>& result) { answered += result.has_value(); });
  }
  EXPECT_EQ(answered, 100);
  EXPECT_EQ(count(*database_.open()), 100);
}

// What was answered is there after kill -9.
TEST_P(Stores, AnsweredChangesSurviveAKill) {
  with_table();
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto db = database_.open();
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < 4; ++thread)
      threads.emplace_back([&, thread] {
        for (int i = 0;; ++i) {
          const int id = i * 4 + thread;
          db->write([&](Transaction& t) { t.execute("INSERT INTO item VALUES (?, ?)", id, std::to_string(id)); });
          if (write(ends[1], &id, sizeof id) != sizeof id) _exit(1);
        }
      });
    threads.clear();
    _exit(0);
  }
  close(ends[1]);
  std::set<int> answered;
  int id = 0;
  while (answered.size() < 100 && read(ends[0], &id, sizeof id) == sizeof id) answered.insert(id);
  kill(child, SIGKILL);
  while (read(ends[0], &id, sizeof id) == sizeof id) answered.insert(id);
  close(ends[0]);
  waitpid(child, nullptr, 0);
  ASSERT_GE(answered.size(), 100U);
  const auto db = database_.open();
  std::set<int> stored;
  for (const auto row : db->query("SELECT id FROM item")) stored.insert(static_cast<int>(row.integer(0)));
  for (const int one : answered) EXPECT_TRUE(stored.contains(one)) << one;
}

TEST_P(Stores, MigrationsAreAppliedOnce) {
  const Migration one{1, "table", "CREATE TABLE a (x {int64}); INSERT INTO a VALUES (1)"};
  const Migration two{2, "more", "ALTER TABLE a ADD COLUMN y {float64}; UPDATE a SET y = x + 0.5"};
  const auto db = database_.open();
  db->migrate("one", {one});
  db->migrate("one", {one});
  db->migrate("other", {{1, "own numbers", "CREATE TABLE b (x {bytes})"}});
  db->migrate("one", {one, two});
  const Rows rows = db->query("SELECT x, y FROM a");
  ASSERT_EQ(rows.size(), 1);
  EXPECT_EQ(rows[0].real(1), 1.5);
  EXPECT_EQ(code_of([&] { db->migrate("one", {{1, "table", "CREATE TABLE a (x TEXT)"}, two}); }), ErrorCode::conflict);
  EXPECT_EQ(code_of([&] { db->migrate("one", {one}); }), ErrorCode::unsupported);
  EXPECT_EQ(code_of([&] { db->migrate("one", {two}); }), ErrorCode::internal);
}

TEST_P(Stores, AMigrationThatFailsLeavesNothing) {
  const auto db = database_.open();
  EXPECT_ANY_THROW(db->migrate("one", {{1, "good", "CREATE TABLE a (x {int64})"}, {2, "bad", "CREATE TABEL b"}}));
  EXPECT_ANY_THROW(db->query("SELECT x FROM a"));
  db->migrate("one", {{1, "good", "CREATE TABLE a (x {int64})"}});
  EXPECT_TRUE(db->query("SELECT x FROM a").empty());
}

TEST_P(Stores, ProgramsThatStartTogetherMigrateOnce) {
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back(
        [&] { EXPECT_NO_THROW(database_.open()->migrate("one", {{1, "table", "CREATE TABLE a (x {int64})"}})); });
  threads.clear();
  EXPECT_EQ(database_.open()->query("SELECT count(*) FROM farfield_migration")[0].integer(0), 1);
}

TEST_P(Stores, ManyDifferentStatements) {
  const auto db = with_table();
  // More than are kept prepared.
  for (int i = 0; i < 600; ++i) EXPECT_EQ(db->query(fmt::format("SELECT {} + ?", i), 1)[0].integer(0), i + 1);
}

TEST(Addresses, AreChecked) {
  for (const char* address : {"mysql://x", "sqlite:", "sqlite::memory:", "", "/var/x.db"}) try {
      Database::open(address);
      ADD_FAILURE() << address;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::invalid_argument) << address;
    }
}

}  // namespace
}  // namespace farfield::store
