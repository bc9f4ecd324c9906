#include "farfield/store/database.hpp"

#include <fmt/core.h>

#include <condition_variable>
#include <future>
#include <mutex>

#include "farfield/store/connection.hpp"
#include "farfield/store/migrate.hpp"
#include "farfield/store/transaction.hpp"
#include "farfield/store/writer.hpp"

namespace farfield::store {
namespace {
using core::Error;
using core::ErrorCode;
using Clock = std::chrono::steady_clock;

/// Connections for reading, made when needed and kept.
class ReaderPool {
public:
  ReaderPool(Connect connect, int most) : connect_(std::move(connect)), most_(std::max(most, 1)) {}

  std::unique_ptr<Connection> take() {
    {
      std::unique_lock lock(mutex_);
      returned_.wait(lock, [&] { return !idle_.empty() || out_ < most_; });
      ++out_;
      if (!idle_.empty()) {
        auto connection = std::move(idle_.back());
        idle_.pop_back();
        return connection;
      }
    }
    try {
      return connect_();
    } catch (...) {
      put(nullptr);
      throw;
    }
  }
  void put(std::unique_ptr<Connection> connection) {
    {
      const std::lock_guard lock(mutex_);
      --out_;
      if (connection != nullptr && connection->usable()) idle_.push_back(std::move(connection));
    }
    returned_.notify_one();
  }

private:
  Connect connect_;
  int most_;
  std::mutex mutex_;
  std::condition_variable returned_;
  std::vector<std::unique_ptr<Connection>> idle_;
  int out_ = 0;
};

/// A connection taken from the pool, for as long as a read lasts.
class Taken {
public:
  explicit Taken(ReaderPool& pool) : pool_(pool), connection_(pool.take()) {}
  ~Taken() { pool_.put(std::move(connection_)); }
  Taken(const Taken&) = delete;
  Taken& operator=(const Taken&) = delete;
  Connection& operator*() const { return *connection_; }

private:
  ReaderPool& pool_;
  std::unique_ptr<Connection> connection_;
};

}  // namespace

struct Database::State {
  std::string kind, where;
  DatabaseOptions options;
  Connect connect_reader;
  std::unique_ptr<Writer> writer;
  std::unique_ptr<ReaderPool> readers;
};

std::unique_ptr<Database> Database::open(const std::string& address, const DatabaseOptions& options) {
  auto state = std::make_unique<State>();
  state->options = options;
  Connect connect_writer;
  if (address.starts_with("sqlite:")) {
    const std::string path = address.substr(7);
    if (path.empty() || path.starts_with(":"))
      throw Error(ErrorCode::invalid_argument, fmt::format("database '{}' must name a file: sqlite:PATH", address));
    state->kind = "sqlite";
    state->where = address;
    // Waiting for other processes happens in slices, so that closing is prompt.
    DatabaseOptions sliced = options;
    sliced.patience_s = std::min(options.patience_s, 1.0);
    connect_writer = [path, sliced] { return connect_sqlite(path, true, sliced); };
    state->connect_reader = [path, sliced] { return connect_sqlite(path, false, sliced); };
  } else if (address.starts_with("postgresql://") || address.starts_with("postgres://")) {
    state->kind = "postgresql";
    state->where = postgres_without_password(address);
    connect_writer = [address] { return connect_postgres(address, true); };
    state->connect_reader = [address] { return connect_postgres(address, false); };
  } else {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("database '{}' must be sqlite:PATH or postgresql://USER@HOST/NAME",
                            address.substr(0, address.find(':'))));
  }
  state->writer = std::make_unique<Writer>(connect_writer(), connect_writer, options);
  state->readers = std::make_unique<ReaderPool>(state->connect_reader, options.readers);
  return std::unique_ptr<Database>(new Database(std::move(state)));
}

Database::Database(std::unique_ptr<State> state) : state_(std::move(state)) {}
Database::~Database() = default;

const std::string& Database::kind() const { return state_->kind; }
const std::string& Database::where() const { return state_->where; }
Database::Counts Database::counts() const { return state_->writer->counts(); }

Rows Transaction::run(std::string_view sql, const std::vector<Value>& args) {
  for (const Value& value : args)
    if (const auto* text = std::get_if<std::string>(&value)) check_text(*text);
  if (failed_) std::rethrow_exception(failed_);
  try {
    return connection_.run(sql, args);
  } catch (...) {
    failed_ = std::current_exception();
    throw;
  }
}

void run_change(Connection& connection, const Database::Change& change) {
  Transaction transaction(connection);
  change(transaction);
  if (transaction.failed()) std::rethrow_exception(transaction.failed());
}

void Database::write_and_wait(const Change& change) {
  if (state_->writer->is_this_thread())
    throw Error(ErrorCode::internal, "write() was called inside a change or its answer");
  // Shared: the writer may still be inside set_value() when this caller goes on.
  const auto promise = std::make_shared<std::promise<void>>();
  auto done = promise->get_future();
  state_->writer->add([&change](Transaction& t) { change(t); },
                      [promise](std::exception_ptr error) {
                        if (error) promise->set_exception(std::move(error));
                        else promise->set_value();
                      });
  done.get();
}

void Database::submit(Change change, Done done) {
  state_->writer->add(std::move(change), [done = std::move(done)](const std::exception_ptr& error) {
    if (!error) {
      done({});
      return;
    }
    try {
      std::rethrow_exception(error);
    } catch (const Error& e) {
      done(tl::unexpected<Error>(e));
    } catch (const std::exception& e) {
      done(core::failure(ErrorCode::internal, e.what()));
    }
  });
}

void Database::read_once(const Change& look, bool transaction) {
  const auto deadline = Clock::now() + std::chrono::duration<double>(state_->options.patience_s);
  for (auto pause = std::chrono::milliseconds(0);;
       pause = std::min(pause * 2 + std::chrono::milliseconds(5), std::chrono::milliseconds(500))) {
    bool again = true;  // no connection could be made
    try {
      const Taken taken(*state_->readers);
      Connection& c = *taken;
      try {
        if (transaction) c.begin_read();
        run_change(c, look);
        if (transaction) c.commit();
        return;
      } catch (...) {
        again = !c.usable() || c.must_restart();
        if (transaction && c.usable()) c.rollback();
        throw;
      }
    } catch (const Error& e) {
      if (!again || !core::traits(e.code()).retryable || Clock::now() + pause >= deadline) throw;
    }
    std::this_thread::sleep_for(pause);
  }
}

void Database::migrate(const std::string& service, const std::vector<Migration>& migrations) {
  check_migrations(service, migrations);
  write([&](Transaction& t) { apply_migrations(t, service, migrations); });
}

}  // namespace farfield::store
