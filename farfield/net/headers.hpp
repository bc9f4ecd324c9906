#pragma once
// Header fields of HTTP messages (RFC 9110), in their order; names compare without regard to case.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace farfield::net {

class Headers {
public:
  Headers() = default;
  Headers(std::initializer_list<std::pair<std::string, std::string>> fields);

  /// Appends; a name that is there already stays. Throws `invalid_argument` for a name that is no token and for a
  /// value with control characters (a line break in a value would begin a field of its own).
  void add(std::string name, std::string value);
  /// Replaces all fields of that name.
  void set(std::string name, std::string value);
  void remove(std::string_view name);

  /// The first field of that name; null: none.
  const std::string* find(std::string_view name) const;
  bool contains(std::string_view name) const { return find(name) != nullptr; }
  int count(std::string_view name) const;
  /// Whether the comma-separated lists of all fields of that name hold `token` (in any case).
  bool has_token(std::string_view name, std::string_view token) const;

  auto begin() const { return fields_.begin(); }
  auto end() const { return fields_.end(); }
  std::size_t size() const { return fields_.size(); }

private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

/// ASCII only, as protocols need it; no locale.
bool equal_ignoring_case(std::string_view a, std::string_view b);
std::string_view trimmed(std::string_view text);
/// A decimal number of at most 19 digits and nothing else.
std::optional<std::uint64_t> parse_number(std::string_view text);

/// "Not Found"; "Unknown" for a status without a name.
std::string_view reason_phrase(int status);

}  // namespace farfield::net
