#pragma once
// JSON from outside: parsed with limits, and where each value stands in the text.

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "farfield/services/flow/json.hpp"

namespace farfield::services::flow {

inline constexpr std::size_t kLongestDocument = 4 << 20;  ///< bytes
inline constexpr int kDeepestDocument = 64;

/// Throws `invalid_argument`, with line and column, for text that is not JSON, longer than `longest` bytes, nested
/// deeper than 64, or that has a number out of range.
Json parse_json(std::string_view text, std::string_view what, std::size_t longest = kLongestDocument);

/// JSON text; bytes that are no UTF-8 (from a message of the system, say) become U+FFFD.
std::string to_text(const Json& value);

/// A name as part of a JSON pointer (RFC 6901).
std::string pointer_part(std::string_view name);

struct DocumentLines {
  std::map<std::string, int> line;          ///< JSON pointer -> line of its name (of its value, in lists), from 1
  std::vector<std::string> given_twice;  ///< pointers of members whose name the object already has

  /// Line of the pointer or of the nearest value around it.
  int of(std::string pointer) const;
};
/// For text that parse_json() takes.
DocumentLines document_lines(std::string_view text);

}  // namespace farfield::services::flow
