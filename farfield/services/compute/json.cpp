#include "farfield/services/compute/json.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

namespace farfield::services::compute {
namespace {
using core::Error;

constexpr int kDeepest = 64;

int depth_of(std::string_view text) {
  int depth = 0, deepest = 0;
  bool in_text = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_text) {
      if (c == '\\') ++i;
      else if (c == '"') in_text = false;
    } else if (c == '"') {
      in_text = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return deepest;
}
}  // namespace

Json parse_json(std::string_view text, std::string_view what, core::ErrorCode code, std::size_t longest_bytes) {
  if (text.size() > longest_bytes)
    throw Error(code, fmt::format("{} has {} bytes, at most {} are allowed", what, text.size(), longest_bytes));
  // The parser takes a NUL for the end, and would not look at what follows.
  if (text.find('\0') != std::string_view::npos) throw Error(code, fmt::format("{} is not JSON: it holds a NUL", what));
  if (const int depth = depth_of(text); depth > kDeepest)
    throw Error(code, fmt::format("{} is nested {} deep, at most {} are allowed", what, depth, kDeepest));
  try {
    return Json::parse(text);
  } catch (const Json::exception& e) {
    // "[json.exception.parse_error.101] parse error at line 3, column 5: ..." without its number
    std::string_view message = e.what();
    if (const auto end = message.find("] "); end != std::string_view::npos) message.remove_prefix(end + 2);
    throw Error(code, fmt::format("{} is not JSON: {}", what, message.substr(0, 500)));
  }
}

void put_text(std::string& out, std::string_view text) {
  const bool plain =
      std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7F && c != '"' && c != '\\'; });
  if (plain) {
    out += '"';
    out += text;
    out += '"';
  } else {
    out += to_text(Json(text));
  }
}

void put_number(std::string& out, double value) { fmt::format_to(std::back_inserter(out), "{}", value); }
void put_number(std::string& out, long long value) { fmt::format_to(std::back_inserter(out), "{}", value); }

void put_json(std::string& out, std::string_view text, std::string_view what, core::ErrorCode code,
              std::size_t longest_bytes) {
  const bool one_line =
      std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x20; });
  if (one_line && text.size() <= longest_bytes && depth_of(text) <= kDeepest && Json::accept(text)) out += text;
  else out += to_text(parse_json(text, what, code, longest_bytes));
}

std::string to_text(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string clean_text(std::string_view text, std::size_t bytes) {
  std::string out;
  out.reserve(std::min(text.size(), bytes));
  for (std::size_t i = 0; i < text.size();) {
    // Length of the well-formed sequence that begins here (Unicode, table 3-7); 0: there is none.
    const auto at = [&](std::size_t k) -> unsigned {
      return k < text.size() ? static_cast<unsigned char>(text[k]) : 0;
    };
    const auto follows = [&](std::size_t k) { return (at(k) & 0xC0U) == 0x80U; };
    const unsigned a = at(i), b = at(i + 1);
    std::size_t length = 0;
    if (a >= 0x01 && a < 0x80) length = 1;
    else if (a >= 0xC2 && a <= 0xDF && follows(i + 1)) length = 2;
    else if (a >= 0xE0 && a <= 0xEF && follows(i + 1) && follows(i + 2) && !(a == 0xE0 && b < 0xA0) &&
             !(a == 0xED && b > 0x9F))
      length = 3;
    else if (a >= 0xF0 && a <= 0xF4 && follows(i + 1) && follows(i + 2) && follows(i + 3) && !(a == 0xF0 && b < 0x90) &&
             !(a == 0xF4 && b > 0x8F))
      length = 4;
    const std::string_view piece = length == 0 ? "\xEF\xBF\xBD" : text.substr(i, length);
    if (out.size() + piece.size() > bytes) break;
    out += piece;
    i += std::max<std::size_t>(length, 1);
  }
  return out;
}

Members::Members(const Json& object, std::string where, core::ErrorCode code)
    : object_(object), where_(std::move(where)), code_(code) {
  if (!object.is_object()) throw Error(code_, where_ + " must be a JSON object");
}

const Json* Members::find(const char* name) {
  taken_.emplace_back(name);
  const auto member = object_.find(name);
  return member == object_.end() || member->is_null() ? nullptr : &*member;
}

const Json& Members::need(const char* name) {
  const Json* value = find(name);
  if (value == nullptr) refuse(name, "given");
  return *value;
}

void Members::refuse(std::string_view name, std::string_view wanted) const {
  throw Error(code_, fmt::format("{}: \"{}\" must be {}", where_, name, wanted));
}

std::string Members::checked_text(const char* name, const Json& value, std::size_t longest) const {
  const auto* text = value.get_ptr<const std::string*>();
  if (text == nullptr || text->size() > longest || text->find('\0') != std::string::npos)
    refuse(name, fmt::format("text of at most {} bytes without NUL", longest));
  return *text;
}

void Members::text(const char* name, std::string& into, std::size_t longest) {
  if (const Json* value = find(name)) into = checked_text(name, *value, longest);
}

void Members::truth(const char* name, bool& into) {
  if (const Json* value = find(name)) {
    if (!value->is_boolean()) refuse(name, "true or false");
    into = value->get<bool>();
  }
}

void Members::real(const char* name, double& into, double least, double most) {
  if (const Json* value = find(name)) {
    const double number = value->is_number() ? value->get<double>() : NAN;
    if (!(number >= least && number <= most)) refuse(name, fmt::format("a number from {} to {}", least, most));
    into = number;
  }
}

std::optional<std::int64_t> Members::whole(const char* name, std::int64_t least, std::int64_t most) {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  // Above 2^63 the library holds an unsigned number: out of range in any case.
  const bool fits = value->is_number_integer() &&
                    !(value->is_number_unsigned() && value->get<std::uint64_t>() > static_cast<std::uint64_t>(most));
  if (!fits || value->get<std::int64_t>() < least || value->get<std::int64_t>() > most)
    refuse(name, fmt::format("a whole number from {} to {}", least, most));
  return value->get<std::int64_t>();
}

void Members::texts(const char* name, std::vector<std::string>& into, std::size_t most, std::size_t longest) {
  const Json* list = array(name, most);
  if (list == nullptr) return;
  into.clear();
  for (const Json& one : *list) into.push_back(checked_text(name, one, longest));
}

int Members::word(const char* name, const std::vector<std::string_view>& words) {
  const Json* value = find(name);
  if (value == nullptr) return -1;
  const auto* text = value->get_ptr<const std::string*>();
  const auto place = text == nullptr ? words.end() : std::find(words.begin(), words.end(), *text);
  if (place == words.end()) refuse(name, fmt::format("one of {}", fmt::join(words, ", ")));
  return static_cast<int>(place - words.begin());
}

const Json* Members::array(const char* name, std::size_t most) {
  const Json* value = find(name);
  if (value != nullptr && (!value->is_array() || value->size() > most))
    refuse(name, fmt::format("an array of at most {}", most));
  return value;
}

void Members::json(const char* name, std::string& into, bool object) {
  if (const Json* value = find(name)) {
    if (object && !value->is_object()) refuse(name, "an object");
    into = to_text(*value);
  }
}

void Members::end() const {
  for (const auto& [name, value] : object_.items())
    if (std::find(taken_.begin(), taken_.end(), name) == taken_.end())
      throw Error(code_, fmt::format("{}: there is no \"{}\"", where_, name.substr(0, 200)));
}

}  // namespace farfield::services::compute
