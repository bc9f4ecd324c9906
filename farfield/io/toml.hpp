#pragma once
// TOML text -> table, with the defects of toml++ 3.3 fenced in. Slow to compile and with a macro for a namespace:
// include it last, in .cpp files only, and never <toml++/toml.h> itself.

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "farfield/core/error.hpp"

// toml++ 3.3 asserts on some malformed texts, `[1, }` among them, and with NDEBUG goes on in an undefined state. Here
// its assertions are errors in every build; the name of its namespace is changed so that the linker does not mix this
// copy with one that is compiled elsewhere.
namespace farfield::io {
[[noreturn]] inline void toml_assertion_failed() {
  throw core::Error(core::ErrorCode::invalid_argument, "not TOML: a bracket, brace or key is out of place");
}
}  // namespace farfield::io
#undef NDEBUG
#define TOML_ASSERT(expr) ((expr) ? static_cast<void>(0) : ::farfield::io::toml_assertion_failed())
#define toml farfield_guarded_toml
#include <toml++/toml.h>

namespace farfield::io {

/// `source` is the name said in errors, `what` the kind of text ("a recipe"). Throws `invalid_argument` for what is not
/// TOML, and for characters beyond ASCII outside of whole lines of comment: toml++ 3.3 is undefined for some of them
/// outside of texts, and only it knows where those begin.
inline toml::table parse_toml(const std::string& text, const std::string& source, const std::string& what) {
  std::size_t line = 1;
  for (std::size_t at = 0; at < text.size(); ++line) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::size_t first = std::min(text.find_first_not_of(" \t", at), end);
    const bool ascii =
        std::none_of(text.begin() + static_cast<std::ptrdiff_t>(at), text.begin() + static_cast<std::ptrdiff_t>(end),
                     [](char c) { return static_cast<unsigned char>(c) >= 0x80; });
    if (!ascii && (first == end || text[first] != '#'))
      throw core::Error(core::ErrorCode::invalid_argument,
                        what + " is ASCII but for lines of comment; in texts write um for \u00b5m, or \\uXXXX")
          .at(fmt::format("{}, line {}", source, line));
    at = end + 1;
  }
  try {
    return toml::parse(text, source);
  } catch (const toml::parse_error& e) {
    throw core::Error(core::ErrorCode::invalid_argument, fmt::format("not TOML: {}", e.description()))
        .at(fmt::format("{}, line {}", source, e.source().begin.line));
  } catch (core::Error& e) {
    throw e.at(source);
  }
}

}  // namespace farfield::io
