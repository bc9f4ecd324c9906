#pragma once
// A database behind one narrow interface: SQLite in a file, or PostgreSQL. Services write their SQL once:
// `?` stands for a bound parameter, and migrations name column types as Migration says.
//
//   auto db = Database::open("sqlite:/var/lib/farfield/farfield.db");
//   db->migrate("flow", migrations);
//   db->write([&](Transaction& t) { t.execute("INSERT INTO run(id, state) VALUES (?, ?)", id, "queued"); });
//   for (const auto row : db->query("SELECT id FROM run WHERE state = ?", "queued")) ... row.integer(0) ...
//
// Errors are core::Error: `unavailable` the database cannot be reached or is busy, `conflict` a constraint (unique,
// foreign key, not null, check) refused it, `resource_exhausted` disk or memory is full, `corrupt_data` a damaged file,
// `invalid_argument` a value that the column cannot hold, `io`, `forbidden`, `unauthenticated`; `internal` wrong SQL.

#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "farfield/core/error.hpp"
#include "farfield/store/value.hpp"

namespace farfield::store {

class Connection;

/// Statements inside one transaction; handed to the function that read() or write() runs, valid during that call.
class Transaction {
public:
  explicit Transaction(Connection& connection) : connection_(connection) {}
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  /// Rows of a SELECT or of a ... RETURNING. SQL is text that the program wrote; what users sent goes into `args`.
  template <class... Args>
  Rows query(std::string_view sql, const Args&... args) {
    return run(sql, {to_value(args)...});
  }
  /// Number of rows changed.
  template <class... Args>
  Index execute(std::string_view sql, const Args&... args) {
    return run(sql, {to_value(args)...}).affected();
  }
  /// Both, with parameters put together at run time. After a statement that failed every other one fails, too.
  Rows run(std::string_view sql, const std::vector<Value>& args);

  /// The error of the statement that failed, if one did.
  const std::exception_ptr& failed() const { return failed_; }
  /// For this room only.
  Connection& connection() { return connection_; }

private:
  Connection& connection_;
  std::exception_ptr failed_;
};

/// One step of a service's tables. Types that differ between databases are written {int64} {float64} {bytes}, and
/// {id} for a primary key that numbers itself; TEXT is the same everywhere. Several statements end in `;`.
/// What was released is never edited: its checksum is kept in the database.
struct Migration {
  int number;  ///< 1, 2, 3 ...
  std::string name;  ///< a word or two
  std::string sql;
};

struct DatabaseOptions {
  double patience_s = 60;  ///< how long reads and writes wait for a database that is away or busy
  /// SQLite: false keeps a commit from waiting for the disk. It then survives this process, and of the last ones none
  /// may survive a crash of the machine: for what has no meaning after that.
  bool waits_for_disk = true;
  int readers = 4;  ///< connections for reading, made when needed
  Index max_group = 1000;  ///< writes in one durable transaction
  Index max_pending = 100000;  ///< writes waiting; more are refused with `unavailable`
};

/// Thread-safe.
class Database {
public:
  using Change = std::function<void(Transaction&)>;
  using Done = std::function<void(core::Result<void>)>;

  /// "sqlite:PATH" or "postgresql://user@host:port/database?..." (also postgres://; parameters as libpq has them).
  /// Throws `invalid_argument` for another address, `unsupported` where PostgreSQL is not built in, and what
  /// connecting throws: a database that is away now fails at once.
  static std::unique_ptr<Database> open(const std::string& address, const DatabaseOptions& options = {});
  /// Writes that were accepted are finished (at most for the patience); then everything is closed.
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  /// Brings the tables of `service` up to the last migration, in one transaction. Throws `conflict` where an applied
  /// migration was edited since, `unsupported` where the database has one that this program does not know.
  void migrate(const std::string& service, const std::vector<Migration>& migrations);

  /// Runs `change` in a transaction together with the changes of other callers (group commit) and returns when it
  /// is durable: on the disk, not only in a cache. All or nothing for each change: where one throws, its statements
  /// are undone, the others stay, and the exception is rethrown here. Changes are isolated as if they ran one after
  /// the other. `change` may be run more than once (conflicts, reconnection) and so only touches the transaction and
  /// its own result; it must not call write(). Throws as said above; after a connection that broke during a commit
  /// the outcome is asked of the database, so that `unavailable` always means "not done".
  template <class F>
  auto write(F&& change) {
    using R = std::invoke_result_t<F&, Transaction&>;
    if constexpr (std::is_void_v<R>) {
      write_and_wait([&change](Transaction& t) { change(t); });
    } else {
      std::optional<R> result;
      write_and_wait([&](Transaction& t) { result.emplace(change(t)); });
      return std::move(*result);
    }
  }

  /// The same without waiting: `done` is called when the change is durable or has failed, on the writer's thread
  /// (so it is short, and does not call write()). Throws only `unavailable` for too many pending changes.
  void submit(Change change, Done done);

  /// Runs `look` on one consistent state of the database. May run it again after a reconnection.
  template <class F>
  auto read(F&& look) {
    using R = std::invoke_result_t<F&, Transaction&>;
    if constexpr (std::is_void_v<R>) {
      read_once([&look](Transaction& t) { look(t); }, true);
    } else {
      std::optional<R> result;
      read_once([&](Transaction& t) { result.emplace(look(t)); }, true);
      return std::move(*result);
    }
  }
  /// One SELECT.
  template <class... Args>
  Rows query(std::string_view sql, const Args&... args) {
    Rows rows;
    read_once([&](Transaction& t) { rows = t.query(sql, args...); }, false);
    return rows;
  }

  /// "sqlite" or "postgresql".
  const std::string& kind() const;
  /// Where it is, without a password.
  const std::string& where() const;
  /// Durable transactions so far, and the changes in them.
  struct Counts {
    Index groups = 0, changes = 0, reconnections = 0;
  };
  Counts counts() const;

private:
  struct State;
  explicit Database(std::unique_ptr<State> state);
  void write_and_wait(const Change& change);
  void read_once(const Change& look, bool transaction);
  std::unique_ptr<State> state_;
};

}  // namespace farfield::store
