#include "farfield/store/value.hpp"

#include <fmt/core.h>

#include "farfield/core/error.hpp"

namespace farfield::store {
namespace {
using core::Error;
using core::ErrorCode;

const char* type_name(const Value& value) {
  constexpr const char* kNames[] = {"NULL", "an integer", "a float", "text", "bytes"};
  return kNames[value.index()];
}
}  // namespace

Rows::Row Rows::operator[](Index row) const {
  if (row < 0 || row >= size())
    throw Error(ErrorCode::internal, fmt::format("row {} of an answer with {} rows", row, size()));
  return {*this, row};
}

const Value& Rows::Row::value(Index column) const {
  const Index columns = std::ssize(rows_->columns_);
  if (column < 0 || column >= columns)
    throw Error(ErrorCode::internal, fmt::format("column {} of an answer with {} columns", column, columns));
  return rows_->values_[static_cast<std::size_t>(row_ * columns + column)];
}

namespace {
template <class T>
const T& get(const Rows::Row& row, const std::string& name, Index column, const char* wanted) {
  if (const T* held = std::get_if<T>(&row.value(column))) return *held;
  throw Error(ErrorCode::internal,
              fmt::format("column {} holds {}, expected {}", name, type_name(row.value(column)), wanted));
}
}  // namespace

std::int64_t Rows::Row::integer(Index column) const {
  value(column);  // the column exists
  return get<std::int64_t>(*this, rows_->columns_[static_cast<std::size_t>(column)], column, "an integer");
}
double Rows::Row::real(Index column) const {
  if (const auto* whole = std::get_if<std::int64_t>(&value(column))) return static_cast<double>(*whole);
  return get<double>(*this, rows_->columns_[static_cast<std::size_t>(column)], column, "a float");
}
const std::string& Rows::Row::text(Index column) const {
  value(column);
  return get<std::string>(*this, rows_->columns_[static_cast<std::size_t>(column)], column, "text");
}
const Bytes& Rows::Row::bytes(Index column) const {
  value(column);
  return get<Bytes>(*this, rows_->columns_[static_cast<std::size_t>(column)], column, "bytes");
}
std::optional<std::int64_t> Rows::Row::maybe_integer(Index column) const {
  return is_null(column) ? std::nullopt : std::optional(integer(column));
}
std::optional<double> Rows::Row::maybe_real(Index column) const {
  return is_null(column) ? std::nullopt : std::optional(real(column));
}
std::optional<std::string> Rows::Row::maybe_text(Index column) const {
  return is_null(column) ? std::nullopt : std::optional(text(column));
}

}  // namespace farfield::store
