#include "farfield/services/flow/path.hpp"

#include <fmt/core.h>

#include <charconv>
#include <nlohmann/json.hpp>

namespace farfield::services::flow {
namespace {
using core::ErrorCode;

bool is_name_character(char c) {
  return std::string_view(" \t\r\n.[]'\"`$*?@(),:").find(c) == std::string_view::npos &&
         static_cast<unsigned char>(c) >= 0x20;
}

const Json* child(const Json& at, const Path::Step& step) {
  if (const auto* name = std::get_if<std::string>(&step)) {
    if (!at.is_object()) return nullptr;
    const auto found = at.find(*name);
    return found == at.end() ? nullptr : &*found;
  }
  if (const auto* index = std::get_if<std::int64_t>(&step)) {
    const auto size = static_cast<std::int64_t>(at.is_array() ? at.size() : 0);
    const std::int64_t i = *index < 0 ? *index + size : *index;
    return i < 0 || i >= size ? nullptr : &at[static_cast<std::size_t>(i)];
  }
  return nullptr;
}

constexpr std::string_view kContext = "_context";
}  // namespace

core::Result<Path> Path::parse(std::string_view text) {
  const auto refuse = [&](std::size_t at, std::string_view what) {
    return core::failure(ErrorCode::invalid_argument, fmt::format("path '{}': {} at character {}", text, what, at + 1));
  };
  Path path;
  path.text_ = text;
  if (!text.starts_with('$')) return refuse(0, "expected $");
  std::size_t i = 1;
  while (i < text.size()) {
    if (text[i] == '.') {
      ++i;
      if (i < text.size() && text[i] == '*') {
        path.steps_.emplace_back(Any{});
        ++i;
        continue;
      }
      const std::size_t start = i;
      while (i < text.size() && is_name_character(text[i])) ++i;
      if (i == start) return refuse(i, "expected a name");
      path.steps_.emplace_back(std::string(text.substr(start, i - start)));
    } else if (text[i] == '[') {
      ++i;
      if (i < text.size() && (text[i] == '\'' || text[i] == '"')) {
        const char quote = text[i++];
        std::string name;
        while (i < text.size() && text[i] != quote) {
          if (text[i] == '\\' && i + 1 < text.size()) ++i;
          name += text[i++];
        }
        if (i >= text.size()) return refuse(i, "expected the closing quote");
        ++i;
        path.steps_.emplace_back(std::move(name));
      } else if (i < text.size() && text[i] == '*') {
        path.steps_.emplace_back(Any{});
        ++i;
      } else {
        std::int64_t index = 0;
        const auto [end, error] = std::from_chars(text.data() + i, text.data() + text.size(), index);
        if (error != std::errc{}) return refuse(i, "expected an index, a quoted name or *");
        i = static_cast<std::size_t>(end - text.data());
        path.steps_.emplace_back(index);
      }
      if (i >= text.size() || text[i] != ']') return refuse(i, "expected ]");
      ++i;
    } else {
      return refuse(i, "expected . or [");
    }
  }
  return path;
}

bool Path::is_reference() const {
  for (const Step& step : steps_)
    if (std::holds_alternative<Any>(step)) return false;
  return true;
}

bool Path::in_context() const {
  return !steps_.empty() && std::holds_alternative<std::string>(steps_[0]) &&
         std::get<std::string>(steps_[0]) == kContext;
}

const Json* Path::find(const Scope& scope) const {
  const bool context = in_context();
  const Json* at = context ? &scope.context : &scope.state;
  for (std::size_t i = context ? 1 : 0; i < steps_.size() && at != nullptr; ++i) at = child(*at, steps_[i]);
  return at;
}

Json Path::get(const Scope& scope) const {
  if (is_reference()) {
    if (const Json* found = find(scope)) return *found;
    throw FlowException{std::string(kParameterPathFailure), fmt::format("nothing at {}", text_)};
  }
  const bool context = in_context();
  std::vector<const Json*> found{context ? &scope.context : &scope.state};
  for (std::size_t i = context ? 1 : 0; i < steps_.size(); ++i) {
    std::vector<const Json*> next;
    for (const Json* at : found)
      if (!std::holds_alternative<Any>(steps_[i])) {
        if (const Json* one = child(*at, steps_[i])) next.push_back(one);
      } else if (at->is_structured()) {
        for (const Json& one : *at) next.push_back(&one);
      }
    found = std::move(next);
  }
  Json list = Json::array();
  for (const Json* one : found) list.push_back(*one);
  return list;
}

void Path::check_set(const Json& state) const {
  const auto refuse = [&](std::string_view what) {
    throw FlowException{std::string(kResultPathMatchFailure), fmt::format("cannot write to {}: {}", text_, what)};
  };
  if (in_context()) refuse("$._context is read-only");
  const Json* at = &state;  // null pointer: set() will make it
  for (const Step& step : steps_) {
    if (std::holds_alternative<Any>(step)) refuse("it names several places");
    if (const auto* name = std::get_if<std::string>(&step)) {
      if (at != nullptr && !at->is_null() && !at->is_object())
        refuse(fmt::format("'{}' is asked of {}", *name, at->type_name()));
      at = at == nullptr ? nullptr : child(*at, step);
    } else {
      at = at == nullptr ? nullptr : child(*at, step);
      if (at == nullptr) refuse(fmt::format("there is no element {}", std::get<std::int64_t>(step)));
    }
  }
}

void Path::set(Json& state, Json value) const {
  check_set(state);
  Json* at = &state;
  for (const Step& step : steps_) {
    if (const auto* name = std::get_if<std::string>(&step)) at = &(*at)[*name];  // makes an object of null
    else at = const_cast<Json*>(child(*at, step));
  }
  *at = std::move(value);
}

}  // namespace farfield::services::flow
