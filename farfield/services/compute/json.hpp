#pragma once
// JSON from outside, taken apart member by member. Only .cpp files of this room include it.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "farfield/core/error.hpp"

namespace farfield::services::compute {

using Json = nlohmann::json;

/// Nested at most 64 deep: everything that walks a document is recursive. Throws `code`, with what is wrong.
Json parse_json(std::string_view text, std::string_view what, core::ErrorCode code, std::size_t longest_bytes);
/// Bytes that are no UTF-8 become U+FFFD.
std::string to_text(const Json& value);
/// UTF-8 without NUL, cut at `bytes`: what every database and every peer takes. What is not becomes U+FFFD.
std::string clean_text(std::string_view text, std::size_t bytes);

// Writing without a document in between, where thousands of messages a second go: each appends to `out`.
void put_text(std::string& out, std::string_view text);  ///< quoted; bytes that are no UTF-8 become U+FFFD
void put_number(std::string& out, double value);         ///< finite; the shortest that reads the same
void put_number(std::string& out, long long value);
/// `text` as it is, where that is JSON on one line; else compacted. Throws as parse_json() does.
void put_json(std::string& out, std::string_view text, std::string_view what, core::ErrorCode code,
              std::size_t longest_bytes);

/// An object whose members are taken by name; each is optional, null counts as absent. Throws `code` with the name of
/// what is wrong.
class Members {
public:
  Members(const Json& object, std::string where, core::ErrorCode code);

  const Json* find(const char* name);
  /// The same, of what must be there.
  const Json& need(const char* name);
  /// Throws: `name` must be `wanted`.
  [[noreturn]] void refuse(std::string_view name, std::string_view wanted) const;

  /// Text without NUL.
  void text(const char* name, std::string& into, std::size_t longest);
  void truth(const char* name, bool& into);
  void real(const char* name, double& into, double least, double most);
  template <class T>
  void integer(const char* name, T& into, std::int64_t least, std::int64_t most) {
    if (const auto value = whole(name, least, most)) into = static_cast<T>(*value);
  }
  void texts(const char* name, std::vector<std::string>& into, std::size_t most, std::size_t longest);
  /// Position of the word that it is, among `words`; -1: absent.
  int word(const char* name, const std::vector<std::string_view>& words);
  /// An array of at most `most`, null: absent.
  const Json* array(const char* name, std::size_t most);
  /// Any value, as JSON text.
  void json(const char* name, std::string& into, bool object);
  /// Refuses members that nobody asked for.
  void end() const;

  core::ErrorCode code() const { return code_; }

private:
  std::optional<std::int64_t> whole(const char* name, std::int64_t least, std::int64_t most);
  std::string checked_text(const char* name, const Json& value, std::size_t longest) const;

  const Json& object_;
  std::string where_;
  core::ErrorCode code_;
  std::vector<std::string_view> taken_;
};

}  // namespace farfield::services::compute
