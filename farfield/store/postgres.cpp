#include "farfield/store/connection.hpp"

#ifdef FARFIELD_WITH_POSTGRES
#include <fmt/core.h>
#include <libpq-fe.h>

#include <charconv>
#include <chrono>
#include <cstring>
#include <thread>
#include <unordered_map>
#endif

#include "farfield/store/placeholders.hpp"

namespace farfield::store {

std::string postgres_without_password(const std::string& address) {
  const std::size_t start = address.find("//") + 2;
  std::string shown = address.substr(0, address.find('?', start));  // parameters may hold a password, too
  const std::size_t at = shown.rfind('@', shown.find('/', start));
  const std::size_t colon = shown.find(':', start);
  if (at != std::string::npos && colon != std::string::npos && colon < at) shown.erase(colon, at - colon);
  return shown;
}

#ifndef FARFIELD_WITH_POSTGRES
std::unique_ptr<Connection> connect_postgres(const std::string& address, bool) {
  throw core::Error(core::ErrorCode::unsupported, "this program was built without PostgreSQL (FARFIELD_WITH_POSTGRES)")
      .at(postgres_without_password(address));
}
#else
namespace {
using core::Error;
using core::ErrorCode;

constexpr std::size_t kPreparedAtMost = 256;

struct Finish {
  void operator()(PGconn* connection) const { PQfinish(connection); }
};
struct Clear {
  void operator()(PGresult* result) const { PQclear(result); }
};
using Answer = std::unique_ptr<PGresult, Clear>;

// By class of SQLSTATE (PostgreSQL manual, appendix A).
ErrorCode code_of(std::string_view state) {
  if (state == "42501") return ErrorCode::forbidden;
  if (state == "57014") return ErrorCode::timeout;
  if (state == "53300") return ErrorCode::unavailable;  // too many connections
  const std::string_view kind = state.substr(0, 2);
  if ((kind == "08" && state != "08P01") || kind == "57" || kind == "40" || kind == "55" || state == "25006")
    return ErrorCode::unavailable;
  if (kind == "23") return ErrorCode::conflict;
  if (kind == "22") return ErrorCode::invalid_argument;
  if (kind == "28") return ErrorCode::unauthenticated;
  if (kind == "53" || kind == "54") return ErrorCode::resource_exhausted;
  if (kind == "58") return ErrorCode::io;
  if (state == "XX001" || state == "XX002") return ErrorCode::corrupt_data;
  return ErrorCode::internal;
}

std::string trimmed(const char* message) {
  std::string text = message == nullptr ? "" : message;
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  for (char& c : text)
    if (c == '\n') c = ' ';
  return text;
}

class Postgres final : public Connection {
public:
  Postgres(const std::string& address, bool writer) : where_(postgres_without_password(address)) {
    // What the address says comes later and counts. A peer that vanished is noticed in seconds, not hours.
    const char* keys[] = {"connect_timeout",  "tcp_user_timeout", "keepalives_idle",
                          "application_name", "dbname",           nullptr};
    const char* values[] = {"5", "15000", "10", "farfield", address.c_str(), nullptr};
    connection_.reset(PQconnectdbParams(keys, values, 1));
    if (connection_ == nullptr) throw std::bad_alloc();
    if (PQstatus(connection_.get()) != CONNECTION_OK) {
      const std::string message = trimmed(PQerrorMessage(connection_.get()));
      // Libpq has no code for this; these refusals do not go away by trying again.
      const bool refused =
          message.find("authentication") != std::string::npos || PQconnectionNeedsPassword(connection_.get()) != 0;
      const bool wrong = message.find("does not exist") != std::string::npos;
      throw Error(refused ? ErrorCode::unauthenticated
                  : wrong ? ErrorCode::not_found
                          : ErrorCode::unavailable,
                  message)
          .at(where_);
    }
    PQsetNoticeProcessor(connection_.get(), [](void*, const char*) {}, nullptr);  // a library does not print
    if (PQserverVersion(connection_.get()) < 130000)
      throw Error(ErrorCode::unsupported,
                  fmt::format("PostgreSQL {} is too old: 13 or later", PQserverVersion(connection_.get()) / 10000))
          .at(where_);
    script(
        "SET client_encoding = 'UTF8'; SET standard_conforming_strings = on; SET bytea_output = 'hex'; "
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'");
    // The server, too, notices in seconds that its client vanished: until then a transaction may stay in progress.
    script("SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3");
    if (!writer) script("SET default_transaction_read_only = on");
  }

  Rows run(std::string_view sql, std::span<const Value> args) override {
    const std::string& name = prepared(sql);
    std::vector<std::string> texts(args.size());
    std::vector<const char*> values(args.size(), nullptr);
    std::vector<int> lengths(args.size(), 0), formats(args.size(), 0);
    for (std::size_t i = 0; i < args.size(); ++i) {
      if (const auto* bytes = std::get_if<Bytes>(&args[i])) {
        values[i] = bytes->empty() ? "" : reinterpret_cast<const char*>(bytes->data());
        lengths[i] = static_cast<int>(bytes->size());
        formats[i] = 1;
      } else if (const auto* text = std::get_if<std::string>(&args[i])) {
        values[i] = text->c_str();
      } else if (!std::holds_alternative<std::monostate>(args[i])) {
        const auto* integer = std::get_if<std::int64_t>(&args[i]);
        texts[i] = integer != nullptr ? fmt::format("{}", *integer) : fmt::format("{}", std::get<double>(args[i]));
        values[i] = texts[i].c_str();
      }
    }
    const Answer answer(PQexecPrepared(connection_.get(), name.c_str(), static_cast<int>(args.size()), values.data(),
                                       lengths.data(), formats.data(), 0));
    check(answer, sql);
    return rows(*answer);
  }

  void script(const std::string& sql) override { check(Answer(PQexec(connection_.get(), sql.c_str())), sql); }

  void begin_write() override {
    const std::string sql = "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT pg_current_xact_id()::text";
    const Answer answer(PQexec(connection_.get(), sql.c_str()));
    check(answer, sql);
    transaction_id_ = PQgetvalue(answer.get(), 0, 0);
  }
  void begin_read() override { script("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"); }
  void commit() override {
    const Answer answer(PQexec(connection_.get(), "COMMIT"));
    check(answer, "COMMIT");
    // A transaction that had failed answers a COMMIT with ROLLBACK, without an error.
    if (std::string_view(PQcmdStatus(answer.get())) != "COMMIT")
      throw Error(ErrorCode::internal, "a transaction with a failed statement was committed").at(where_);
  }
  void rollback() noexcept override {
    if (usable() && in_transaction()) const Answer answer(PQexec(connection_.get(), "ROLLBACK"));
    must_restart_ = false;
  }
  // Held until the transaction ends. The number only has to be the same in every Farfield.
  void lock_for_migration() override { script("SELECT pg_advisory_xact_lock(7237954610934)"); }

  bool usable() const override { return !stale_ && PQstatus(connection_.get()) == CONNECTION_OK; }
  bool must_restart() const override { return must_restart_; }
  bool in_transaction() const override { return PQtransactionStatus(connection_.get()) != PQTRANS_IDLE; }
  std::string transaction_id() const override { return transaction_id_; }

  bool committed(const std::string& transaction_id) override {
    // Whoever asks looks now and then whether it still wants to know, and asks again.
    const auto last_look = std::chrono::steady_clock::now() + std::chrono::seconds(2);
    while (true) {
      Rows status;
      const Value id = transaction_id;
      try {
        status = run("SELECT pg_xact_status(CAST(? AS xid8))", {&id, 1});
      } catch (const Error& e) {
        // "transaction ID is in the future": a standby took over which never saw it.
        if (e.code() == ErrorCode::invalid_argument) return false;
        throw;
      }
      const auto text = status[0].maybe_text(0);
      if (!text)
        throw Error(ErrorCode::internal, fmt::format("PostgreSQL forgot transaction {}", transaction_id)).at(where_);
      if (*text != "in progress") return *text == "committed";
      // The server has not yet noticed that our connection is gone, or is still committing.
      if (std::chrono::steady_clock::now() >= last_look)
        throw Error(ErrorCode::unavailable, fmt::format("transaction {} is still in progress", transaction_id))
            .at(where_);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

  const Dialect& dialect() const override {
    static constexpr Dialect kDialect{"BIGINT", "DOUBLE PRECISION", "BYTEA",
                                      "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY"};
    return kDialect;
  }

private:
  void check(const Answer& answer, std::string_view sql) {
    must_restart_ = false;
    const auto status = PQresultStatus(answer.get());
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) return;
    if (PQstatus(connection_.get()) != CONNECTION_OK)
      throw Error(ErrorCode::unavailable,
                  fmt::format("connection lost: {}", trimmed(PQerrorMessage(connection_.get()))))
          .at(where_);
    const char* field = answer == nullptr ? nullptr : PQresultErrorField(answer.get(), PG_DIAG_SQLSTATE);
    const std::string state = field == nullptr ? "" : field;
    // The plan of a prepared statement belongs to tables as they were; a new connection prepares it anew.
    if (state == "0A000" && std::strstr(PQresultErrorMessage(answer.get()), "cached plan") != nullptr) stale_ = true;
    // An administrator's stop (57P01 ...) arrives as an error before the connection breaks.
    if (state.starts_with("57P")) stale_ = true;
    if (state.empty()) stale_ = true;  // made by libpq, not by the server: the connection is in doubt
    if (stale_) throw Error(ErrorCode::unavailable, trimmed(PQerrorMessage(connection_.get()))).at(where_);
    const ErrorCode code = code_of(state);
    must_restart_ = state.starts_with("40") || state == "55P03";
    const char* primary = answer == nullptr ? nullptr : PQresultErrorField(answer.get(), PG_DIAG_MESSAGE_PRIMARY);
    Error error(code, fmt::format("database: {}",
                                  primary != nullptr ? trimmed(primary) : trimmed(PQerrorMessage(connection_.get()))));
    if (code == ErrorCode::internal) error.at(std::string(sql));
    throw error.at(where_);
  }

  const std::string& prepared(std::string_view sql) {
    const auto found = prepared_.find(std::string(sql));
    if (found != prepared_.end()) return found->second;
    if (prepared_.size() >= kPreparedAtMost) {
      script("DEALLOCATE ALL");
      prepared_.clear();
    }
    const std::string name = fmt::format("s{}", ++statements_);
    const Answer answer(PQprepare(connection_.get(), name.c_str(), numbered_placeholders(sql).c_str(), 0, nullptr));
    check(answer, sql);
    return prepared_.emplace(std::string(sql), name).first->second;
  }

  static Rows rows(const PGresult& answer) {
    const PGresult* a = &answer;
    const int columns = PQnfields(a), count = PQntuples(a);
    std::vector<std::string> names;
    for (int i = 0; i < columns; ++i) names.emplace_back(PQfname(a, i));
    std::vector<Value> values;
    values.reserve(static_cast<std::size_t>(columns) * static_cast<std::size_t>(count));
    for (int row = 0; row < count; ++row)
      for (int i = 0; i < columns; ++i)
        values.push_back(
            PQgetisnull(a, row, i) != 0
                ? Value{}
                : value(PQftype(a, i), {PQgetvalue(a, row, i), static_cast<std::size_t>(PQgetlength(a, row, i))}));
    const std::string_view affected = PQcmdTuples(const_cast<PGresult*>(a));
    Index number = 0;
    const bool select = std::string_view(PQcmdStatus(const_cast<PGresult*>(a))).starts_with("SELECT");
    if (!select) std::from_chars(affected.data(), affected.data() + affected.size(), number);
    return {std::move(names), std::move(values), number};
  }

  static Value value(Oid type, std::string_view text) {
    constexpr Oid kBool = 16, kBytes = 17, kInt8 = 20, kInt2 = 21, kInt4 = 23, kOid = 26, kFloat4 = 700, kFloat8 = 701,
                  kNumeric = 1700;
    const auto number = [&]<class T>(T parsed) {
      std::from_chars(text.data(), text.data() + text.size(), parsed);
      return parsed;
    };
    switch (type) {
      case kBool: return std::int64_t{text == "t"};
      case kInt2:
      case kInt4:
      case kOid:
      case kInt8: return number(std::int64_t{});
      case kFloat4:
      case kFloat8: return number(double{});
      case kNumeric:  // what sum() of integers gives
        return text.find('.') == std::string_view::npos && text.size() < 19 ? Value{number(std::int64_t{})}
                                                                            : Value{number(double{})};
      case kBytes: {
        const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
        Bytes bytes;
        for (std::size_t i = 2; i + 1 < text.size(); i += 2)  // \x first
          bytes.push_back(static_cast<std::byte>(digit(text[i]) << 4 | digit(text[i + 1])));
        return bytes;
      }
      default: return std::string(text);
    }
  }

  std::string where_;
  std::unique_ptr<PGconn, Finish> connection_;
  std::unordered_map<std::string, std::string> prepared_;  // SQL -> name
  Index statements_ = 0;
  std::string transaction_id_;
  bool must_restart_ = false, stale_ = false;
};
}  // namespace

std::unique_ptr<Connection> connect_postgres(const std::string& address, bool writer) {
  return std::make_unique<Postgres>(address, writer);
}
#endif

}  // namespace farfield::store
