#include "farfield/store/migrate.hpp"

#include <fmt/core.h>

#include <chrono>

#include "farfield/store/connection.hpp"

namespace farfield::store {
namespace {
using core::Error;
using core::ErrorCode;

/// FNV-1a, 64 bits: finds an edit, which is all that it is for.
std::string checksum(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return fmt::format("{:016x}", hash);
}

/// {int64} ... -> the words of this database.
std::string spelled(std::string sql, const Dialect& dialect) {
  const std::pair<std::string_view, std::string_view> words[] = {
      {"{int64}", dialect.int64}, {"{float64}", dialect.float64}, {"{bytes}", dialect.bytes}, {"{id}", dialect.id}};
  for (const auto& [word, spelling] : words)
    for (std::size_t at = sql.find(word); at != std::string::npos; at = sql.find(word, at + spelling.size()))
      sql.replace(at, word.size(), spelling);
  return sql;
}
}  // namespace

void check_migrations(const std::string& service, const std::vector<Migration>& migrations) {
  if (service.empty()) throw Error(ErrorCode::internal, "migrations of a service without a name");
  for (std::size_t i = 0; i < migrations.size(); ++i)
    if (migrations[i].number != static_cast<int>(i) + 1)
      throw Error(ErrorCode::internal, fmt::format("migration {} of {} has number {}, expected {}", migrations[i].name,
                                                   service, migrations[i].number, i + 1));
}

void apply_migrations(Transaction& transaction, const std::string& service, const std::vector<Migration>& migrations) {
  Connection& c = transaction.connection();
  c.lock_for_migration();
  c.script(
      spelled("CREATE TABLE IF NOT EXISTS farfield_migration (service TEXT NOT NULL, number {int64} NOT NULL, "
              "name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at_s {float64} NOT NULL, "
              "PRIMARY KEY (service, number))",
              c.dialect()));
  const Rows applied = transaction.query(
      "SELECT number, name, checksum FROM farfield_migration WHERE service = ? ORDER BY number", service);
  for (const auto row : applied) {
    const auto number = row.integer(0);
    if (number < 1 || number > std::ssize(migrations))
      throw Error(ErrorCode::unsupported,
                  fmt::format("the database has migration {} ({}) of {}, this program knows {}: it is older than the "
                              "one that made the tables",
                              number, row.text(1), service, migrations.size()));
    const Migration& known = migrations[static_cast<std::size_t>(number - 1)];
    if (checksum(known.sql) != row.text(2))
      throw Error(ErrorCode::conflict, fmt::format("migration {} ({}) of {} was edited after it had been applied",
                                                   number, known.name, service));
  }
  const double now_s = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  for (std::size_t i = static_cast<std::size_t>(applied.size()); i < migrations.size(); ++i) {
    const Migration& step = migrations[i];
    try {
      c.script(spelled(step.sql, c.dialect()));
    } catch (Error& e) {
      throw e.at(fmt::format("migration {} ({}) of {}", step.number, step.name, service));
    }
    transaction.execute(
        "INSERT INTO farfield_migration(service, number, name, checksum, applied_at_s) "
        "VALUES (?, ?, ?, ?, ?)",
        service, step.number, step.name, checksum(step.sql), now_s);
  }
}

}  // namespace farfield::store
