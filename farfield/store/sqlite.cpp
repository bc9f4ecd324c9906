#include <fcntl.h>
#include <fmt/core.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <unordered_map>

#include "farfield/store/connection.hpp"
#include "farfield/store/database.hpp"

namespace farfield::store {
namespace {
using core::Error;
using core::ErrorCode;

constexpr std::size_t kPreparedAtMost = 256;

ErrorCode code_of(int result) {
  switch (result & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return ErrorCode::unavailable;
    case SQLITE_CONSTRAINT: return ErrorCode::conflict;
    case SQLITE_FULL:
    case SQLITE_NOMEM: return ErrorCode::resource_exhausted;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return ErrorCode::corrupt_data;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH: return ErrorCode::forbidden;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN: return ErrorCode::io;
    case SQLITE_TOOBIG:
    case SQLITE_MISMATCH: return ErrorCode::invalid_argument;
    default: return ErrorCode::internal;
  }
}

struct CloseDatabase {
  void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
};
struct Finalize {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Statement = std::unique_ptr<sqlite3_stmt, Finalize>;

class Sqlite final : public Connection {
public:
  Sqlite(const std::string& path, bool writer, const DatabaseOptions& options) : path_(path) {
    // Made by us first, so that nobody else may read it: services keep their secrets there.
    if (writer) {
      const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
      if (file < 0)
        throw Error(errno == EACCES || errno == EROFS ? ErrorCode::forbidden : ErrorCode::io,
                    fmt::format("cannot open the database: {}", std::strerror(errno)))
            .at(path);
      ::close(file);
    }
    sqlite3* opened = nullptr;
    const int result = sqlite3_open_v2(path.c_str(), &opened, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
    db_.reset(opened);
    if (result != SQLITE_OK) fail(result, "");
    sqlite3_extended_result_codes(opened, 1);
    sqlite3_busy_timeout(opened, static_cast<int>(options.patience_s * 1000));
    // FULL: a commit waits for the disk, also in WAL mode.
    script(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; "
        "PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY");
    if (!options.waits_for_disk) script("PRAGMA synchronous = NORMAL");  // of checkpoints only
    if (!writer) script("PRAGMA query_only = ON");
  }

  Rows run(std::string_view sql, std::span<const Value> args) override {
    must_restart_ = false;
    sqlite3_stmt* statement = prepared(sql);
    const struct Reset {
      sqlite3_stmt* statement;
      ~Reset() {
        sqlite3_reset(statement);
        sqlite3_clear_bindings(statement);
      }
    } reset{statement};
    if (sqlite3_bind_parameter_count(statement) != static_cast<int>(args.size()))
      throw Error(ErrorCode::internal, fmt::format("statement with {} parameters was given {}: {}",
                                                   sqlite3_bind_parameter_count(statement), args.size(), sql));
    for (std::size_t i = 0; i < args.size(); ++i) bind(statement, static_cast<int>(i) + 1, args[i]);

    const int count = sqlite3_column_count(statement);
    std::vector<std::string> columns;
    for (int i = 0; i < count; ++i) columns.emplace_back(sqlite3_column_name(statement, i));
    std::vector<Value> values;
    int result = SQLITE_OK;
    while ((result = sqlite3_step(statement)) == SQLITE_ROW)
      for (int i = 0; i < count; ++i) values.push_back(column(statement, i));
    if (result != SQLITE_DONE) fail(result, sql);
    const Index affected = sqlite3_stmt_readonly(statement) != 0 ? 0 : sqlite3_changes(db_.get());
    return {std::move(columns), std::move(values), affected};
  }

  void script(const std::string& sql) override {
    must_restart_ = false;
    const int result = sqlite3_exec(db_.get(), sql.c_str(), nullptr, nullptr, nullptr);
    if (result != SQLITE_OK) fail(result, sql);
  }

  void begin_write() override { run("BEGIN IMMEDIATE", {}); }
  void begin_read() override { run("BEGIN", {}); }
  void commit() override { run("COMMIT", {}); }
  void rollback() noexcept override {
    if (in_transaction()) sqlite3_exec(db_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
    must_restart_ = false;
  }
  void lock_for_migration() override {}  // BEGIN IMMEDIATE keeps every other writer out

  bool usable() const override { return true; }
  bool must_restart() const override { return must_restart_; }
  bool in_transaction() const override { return sqlite3_get_autocommit(db_.get()) == 0; }
  std::string transaction_id() const override { return {}; }
  bool committed(const std::string&) override { return false; }  // a commit either returns or throws here
  const Dialect& dialect() const override {
    static constexpr Dialect kDialect{"INTEGER", "REAL", "BLOB", "INTEGER PRIMARY KEY AUTOINCREMENT"};
    return kDialect;
  }

private:
  [[noreturn]] void fail(int result, std::string_view sql) {
    const ErrorCode code = code_of(result);
    must_restart_ = code == ErrorCode::unavailable;
    Error error(code, fmt::format("database: {}", db_ != nullptr ? sqlite3_errmsg(db_.get()) : sqlite3_errstr(result)));
    if (code == ErrorCode::internal && !sql.empty()) error.at(std::string(sql));
    throw error.at(path_);
  }

  sqlite3_stmt* prepared(std::string_view sql) {
    const auto found = prepared_.find(std::string(sql));
    if (found != prepared_.end()) return found->second.get();
    if (prepared_.size() >= kPreparedAtMost) prepared_.clear();
    sqlite3_stmt* made = nullptr;
    const char* rest = nullptr;
    const int result = sqlite3_prepare_v3(db_.get(), sql.data(), static_cast<int>(sql.size()),
                                          SQLITE_PREPARE_PERSISTENT, &made, &rest);
    Statement statement(made);
    if (result != SQLITE_OK) fail(result, sql);
    const std::string_view left(rest, static_cast<std::size_t>(sql.data() + sql.size() - rest));
    if (statement == nullptr || left.find_first_not_of(" \t\n;") != std::string_view::npos)
      throw Error(ErrorCode::internal, fmt::format("expected one SQL statement: {}", sql));
    return prepared_.emplace(std::string(sql), std::move(statement)).first->second.get();
  }

  void bind(sqlite3_stmt* statement, int at, const Value& value) {
    // SQLITE_STATIC: the arguments outlive the statement's run.
    int result = SQLITE_OK;
    if (const auto* integer = std::get_if<std::int64_t>(&value)) result = sqlite3_bind_int64(statement, at, *integer);
    else if (const auto* real = std::get_if<double>(&value)) result = sqlite3_bind_double(statement, at, *real);
    else if (const auto* text = std::get_if<std::string>(&value))
      result = sqlite3_bind_text64(statement, at, text->data(), text->size(), SQLITE_STATIC, SQLITE_UTF8);
    else if (const auto* bytes = std::get_if<Bytes>(&value))
      result = bytes->empty() ? sqlite3_bind_zeroblob(statement, at, 0)
                              : sqlite3_bind_blob64(statement, at, bytes->data(), bytes->size(), SQLITE_STATIC);
    else result = sqlite3_bind_null(statement, at);
    if (result != SQLITE_OK) fail(result, "");
  }

  static Value column(sqlite3_stmt* statement, int at) {
    switch (sqlite3_column_type(statement, at)) {
      case SQLITE_INTEGER: return static_cast<std::int64_t>(sqlite3_column_int64(statement, at));
      case SQLITE_FLOAT: return sqlite3_column_double(statement, at);
      case SQLITE_TEXT: {
        const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, at));
        return std::string(text, static_cast<std::size_t>(sqlite3_column_bytes(statement, at)));
      }
      case SQLITE_BLOB: {
        const auto* bytes = static_cast<const std::byte*>(sqlite3_column_blob(statement, at));
        return Bytes(bytes, bytes + sqlite3_column_bytes(statement, at));
      }
      default: return {};
    }
  }

  std::string path_;
  std::unique_ptr<sqlite3, CloseDatabase> db_;
  std::unordered_map<std::string, Statement> prepared_;  // after db_: finalised before it is closed
  bool must_restart_ = false;
};
}  // namespace

std::unique_ptr<Connection> connect_sqlite(const std::string& path, bool writer, const DatabaseOptions& options) {
  return std::make_unique<Sqlite>(path, writer, options);
}

}  // namespace farfield::store
