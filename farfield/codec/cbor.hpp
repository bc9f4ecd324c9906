#pragma once
// CBOR (RFC 8949): messages of DECTRIS stream v2 and the like. A message is decoded to a tree whose long strings stay
// where they are in the message; nothing is copied but the pieces of strings of indefinite length.
//
// Messages come from outside: depth, number of items and every length are checked, malformed or truncated input gives
// `corrupt_data` with the offset. Nothing is allocated on the input's word alone.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "farfield/core/error.hpp"
#include "farfield/core/view.hpp"

namespace farfield::codec {

/// Tag of a message that declares itself to be CBOR (RFC 8949, 3.4.6): the bytes D9 D9 F7.
inline constexpr std::uint64_t kCborSelfDescribed = 55799;

enum class CborType : std::uint8_t {
  integer,
  negative,
  bytes,
  text,
  array,
  map,
  boolean,
  null,
  undefined,
  simple,
  real
};
std::string_view name(CborType type);

/// One item. Strings refer to the message that was decoded.
struct CborValue {
  CborType type = CborType::null;
  bool boolean = false;
  std::uint64_t integer = 0;         ///< integer: n; negative: the value is -1 - n; simple: its number
  double real = 0;
  std::string_view text{};
  std::span<const std::byte> bytes{};
  std::vector<CborValue> items{};    ///< array: its items; map: key, value, key, value ...
  std::vector<std::uint64_t> tags{}; ///< outermost first

  bool has_tag(std::uint64_t tag) const;
  /// The value of a text key of a map; null where there is none, or this is no map. Of several, the first.
  const CborValue* find(std::string_view key) const;
  /// Any number as double; nothing for other types.
  std::optional<double> number() const;
  /// A whole number that int64 holds.
  std::optional<std::int64_t> whole() const;
};

struct CborLimits {
  int depth = 32;
  core::Index items = 1 << 16;
  /// Of the pieces of strings of indefinite length, joined.
  core::Index joined_bytes = core::Index{1} << 30;
};

/// A decoded message. Views into the bytes it was made from, which must outlive it.
class CborDocument {
public:
  const CborValue& root() const { return root_; }

private:
  friend class CborParser;
  CborValue root_;
  std::deque<std::string> joined_;  // a deque: strings stay where they are
};

/// Exactly one item; bytes behind it are `corrupt_data`.
core::Result<CborDocument> cbor_decode(std::span<const std::byte> message, const CborLimits& limits = {});

/// Appends items to a message. The caller sees to it that arrays and maps get as many items as they announce.
class CborWriter {
public:
  CborWriter& tag(std::uint64_t tag) { return head(6, tag); }
  CborWriter& unsigned_integer(std::uint64_t value) { return head(0, value); }
  CborWriter& integer(std::int64_t value);
  CborWriter& real(double value);
  CborWriter& boolean(bool value);
  CborWriter& null();
  CborWriter& text(std::string_view value);
  CborWriter& bytes(std::span<const std::byte> value);
  CborWriter& array(std::uint64_t items) { return head(4, items); }
  CborWriter& map(std::uint64_t pairs) { return head(5, pairs); }
  /// A whole tree, as cbor_decode() gives it (strings and containers of definite length, reals as doubles).
  CborWriter& value(const CborValue& value);

  const std::vector<std::byte>& message() const& { return out_; }
  std::vector<std::byte> message() && { return std::move(out_); }

private:
  CborWriter& head(unsigned major, std::uint64_t value);
  std::vector<std::byte> out_;
};

}  // namespace farfield::codec
