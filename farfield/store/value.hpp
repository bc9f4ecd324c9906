#pragma once
// What goes into and comes out of SQL statements.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "farfield/core/view.hpp"

namespace farfield::store {

using core::Index;
using Bytes = std::vector<std::byte>;

/// NULL, 64-bit integer, 64-bit float, UTF-8 text without NUL, bytes.
using Value = std::variant<std::monostate, std::int64_t, double, std::string, Bytes>;

template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;

/// bool becomes 0 or 1, an empty optional NULL.
template <class T>
Value to_value(const T& v) {
  if constexpr (std::is_same_v<T, Value>) {
    return v;
  } else if constexpr (std::is_same_v<T, std::nullopt_t>) {
    return {};
  } else if constexpr (is_optional<T>) {
    return v ? to_value(*v) : Value{};
  } else if constexpr (std::is_integral_v<T>) {
    static_assert(sizeof(T) < 8 || std::is_signed_v<T>, "SQL has no unsigned 64-bit integers");
    return static_cast<std::int64_t>(v);
  } else if constexpr (std::is_floating_point_v<T>) {
    return static_cast<double>(v);
  } else if constexpr (std::is_convertible_v<const T&, std::string_view>) {
    return std::string(std::string_view(v));
  } else {
    const std::span<const std::byte> bytes(v);
    return Bytes(bytes.begin(), bytes.end());
  }
}

/// The answer to a statement: all its rows, held in memory (ask with LIMIT for what may be long).
class Rows {
public:
  /// One row; valid as long as its Rows.
  class Row {
  public:
    bool is_null(Index column) const { return std::holds_alternative<std::monostate>(value(column)); }
    /// Each throws `internal` (with the column's name) for a value of another type; real() takes integers, too.
    std::int64_t integer(Index column) const;
    double real(Index column) const;
    const std::string& text(Index column) const;
    const Bytes& bytes(Index column) const;
    std::optional<std::int64_t> maybe_integer(Index column) const;
    std::optional<double> maybe_real(Index column) const;
    std::optional<std::string> maybe_text(Index column) const;
    const Value& value(Index column) const;

  private:
    friend class Rows;
    Row(const Rows& rows, Index row) : rows_(&rows), row_(row) {}
    const Rows* rows_;
    Index row_;
  };

  class Iterator {
  public:
    Row operator*() const { return {*rows_, row_}; }
    Iterator& operator++() {
      ++row_;
      return *this;
    }
    bool operator!=(const Iterator& other) const { return row_ != other.row_; }

  private:
    friend class Rows;
    Iterator(const Rows& rows, Index row) : rows_(&rows), row_(row) {}
    const Rows* rows_;
    Index row_;
  };

  Rows() = default;
  /// `values` row after row; their number is a multiple of the number of columns.
  Rows(std::vector<std::string> columns, std::vector<Value> values, Index affected)
      : columns_(std::move(columns)), values_(std::move(values)), affected_(affected) {}

  Index size() const { return columns_.empty() ? 0 : std::ssize(values_) / std::ssize(columns_); }
  bool empty() const { return size() == 0; }
  Row operator[](Index row) const;
  Iterator begin() const { return {*this, 0}; }
  Iterator end() const { return {*this, size()}; }
  const std::vector<std::string>& columns() const { return columns_; }
  /// Rows that an INSERT, UPDATE or DELETE changed.
  Index affected() const { return affected_; }

private:
  std::vector<std::string> columns_;
  std::vector<Value> values_;
  Index affected_ = 0;
};

}  // namespace farfield::store
