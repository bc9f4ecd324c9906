#pragma once
// What a database has to do to serve as a store: one connection, used by one thread at a time. Only this room
// includes it.

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "farfield/core/error.hpp"
#include "farfield/store/value.hpp"

namespace farfield::store {

struct DatabaseOptions;

/// The words in which databases differ (see Migration).
struct Dialect {
  std::string_view int64, float64, bytes, id;
};

class Connection {
public:
  virtual ~Connection() = default;

  /// One prepared statement with `?` for the parameters.
  virtual Rows run(std::string_view sql, std::span<const Value> args) = 0;
  /// Statements without parameters or answer, e.g. of a migration.
  virtual void script(const std::string& sql) = 0;

  /// Writes are durable when commit() returns, and serialisable.
  virtual void begin_write() = 0;
  virtual void begin_read() = 0;
  virtual void commit() = 0;
  /// Never throws: where it fails the connection is not usable().
  virtual void rollback() noexcept = 0;
  /// Nobody else migrates until the transaction ends.
  virtual void lock_for_migration() = 0;

  /// False once the connection is lost: it is thrown away then.
  virtual bool usable() const = 0;
  /// The last statement failed through no fault of its own (busy, serialisation, deadlock): run it all again.
  virtual bool must_restart() const = 0;
  /// False after an error that undid the whole transaction.
  virtual bool in_transaction() const = 0;
  /// Identifies the write in progress, for committed(), which another connection may be asked after this one was
  /// lost while committing.
  virtual std::string transaction_id() const = 0;
  virtual bool committed(const std::string& transaction_id) = 0;

  virtual const Dialect& dialect() const = 0;
};

using Connect = std::function<std::unique_ptr<Connection>()>;

std::unique_ptr<Connection> connect_sqlite(const std::string& path, bool writer, const DatabaseOptions& options);
/// Throws `unsupported` where PostgreSQL is not built in.
std::unique_ptr<Connection> connect_postgres(const std::string& address, bool writer);
/// The address without its password.
std::string postgres_without_password(const std::string& address);

/// Text that every database can hold: UTF-8 without NUL. Throws `invalid_argument`.
void check_text(std::string_view text);

}  // namespace farfield::store
