#include "farfield/services/flow/lines.hpp"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "farfield/core/error.hpp"

namespace farfield::services::flow {
namespace {
using core::Error;
using core::ErrorCode;

int depth_of(std::string_view text) {
  int depth = 0, deepest = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      else if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return deepest;
}
}  // namespace

Json parse_json(std::string_view text, std::string_view what, std::size_t longest) {
  if (text.size() > longest)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} has {} bytes, at most {} are allowed", what, text.size(), longest));
  // The parser takes a NUL for the end, and would not look at what follows.
  if (text.find('\0') != std::string_view::npos)
    throw Error(ErrorCode::invalid_argument, fmt::format("{} is not JSON: it holds a NUL", what));
  // Before parsing: everything that walks the document later is recursive.
  if (const int depth = depth_of(text); depth > kDeepestDocument)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} is nested {} deep, at most {} are allowed", what, depth, kDeepestDocument));
  try {
    return Json::parse(text);
  } catch (const Json::exception& e) {
    // "[json.exception.parse_error.101] parse error at line 3, column 5: ..." without its number
    std::string_view message = e.what();
    if (const auto end = message.find("] "); end != std::string_view::npos) message.remove_prefix(end + 2);
    throw Error(ErrorCode::invalid_argument, fmt::format("{} is not JSON: {}", what, message));
  }
}

std::string to_text(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string pointer_part(std::string_view name) {
  std::string out;
  for (const char c : name) out += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return out;
}

int DocumentLines::of(std::string pointer) const {
  while (true) {
    if (const auto found = line.find(pointer); found != line.end()) return found->second;
    const auto slash = pointer.rfind('/');
    if (slash == std::string::npos) return 1;
    pointer.resize(slash);
  }
}

DocumentLines document_lines(std::string_view text) {
  struct Level {
    bool object;
    std::size_t count = 0;   // elements so far
    bool wants_name = true;  // in an object, before the colon
  };
  DocumentLines out;
  std::vector<Level> levels;
  std::vector<std::string> path;  // pointer of the value that comes next
  std::string pointer;
  int line = 1;
  const auto value_starts = [&] {
    if (levels.empty() || levels.back().object) return;
    pointer = path.back() + "/" + std::to_string(levels.back().count);
    out.line.emplace(pointer, line);
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') {
      ++line;
    } else if (c == '"') {
      const std::size_t start = i;
      for (++i; i < text.size() && text[i] != '"'; ++i)
        if (text[i] == '\\') ++i;
      if (!levels.empty() && levels.back().object && levels.back().wants_name) {
        const auto name = Json::parse(text.substr(start, i + 1 - start)).get<std::string>();
        pointer = path.back() + "/" + pointer_part(name);
        if (!out.line.emplace(pointer, line).second) out.given_twice.push_back(pointer);
        levels.back().wants_name = false;
      } else {
        value_starts();
      }
    } else if (c == '{' || c == '[') {
      value_starts();
      levels.push_back({c == '{'});
      path.push_back(pointer);
    } else if (c == '}' || c == ']') {
      levels.pop_back();
      path.pop_back();
    } else if (c == ',') {
      ++levels.back().count;
      levels.back().wants_name = true;
    } else if (c != ':' && c != ' ' && c != '\t' && c != '\r') {
      value_starts();  // a number or a word; each of its characters says the same
    }
  }
  return out;
}

}  // namespace farfield::services::flow
