#include "farfield/net/router.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

namespace farfield::net {
namespace {
using core::Error;
using core::ErrorCode;

bool is_parameter(const std::string& segment) { return segment.starts_with('{'); }
bool is_rest(const std::string& segment) { return segment.ends_with("...}"); }
std::string parameter_name(const std::string& segment) {
  return segment.substr(1, segment.size() - (is_rest(segment) ? 5 : 2));
}

std::vector<std::string> split_pattern(const std::string& pattern) {
  const auto fail = [&](std::string_view why) {
    return Error(ErrorCode::invalid_argument, fmt::format("route {:?} {}", pattern, why));
  };
  if (!pattern.starts_with('/')) throw fail("must begin with \"/\"");
  std::vector<std::string> segments;
  std::set<std::string> names;
  for (std::size_t at = 1; at < pattern.size();) {
    const std::size_t end = std::min(pattern.find('/', at), pattern.size());
    std::string segment = pattern.substr(at, end - at);
    at = end + 1;
    if (segment.empty()) throw fail("has an empty segment");
    if (segment.find_first_of("{}") != std::string::npos) {
      if (!is_parameter(segment) || !segment.ends_with('}')) throw fail("has a parameter that is no whole segment");
      if (is_rest(segment) && at < pattern.size()) throw fail("has text after {...}");
      const auto name = parameter_name(segment);
      if (name.empty() || !names.insert(name).second) throw fail("has a parameter without a name of its own");
    }
    segments.push_back(std::move(segment));
  }
  return segments;
}

bool matches(const std::vector<std::string>& pattern, const std::vector<std::string>& path) {
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (is_rest(pattern[i])) return true;  // of nothing, too
    if (i >= path.size()) return false;
    if (is_parameter(pattern[i]) ? path[i].empty() : pattern[i] != path[i]) return false;
  }
  return pattern.size() == path.size();
}

/// Literal segments before parameters, these before the rest, from left to right.
bool more_specific(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  const auto rank = [](const std::string& segment) { return is_rest(segment) ? 2 : is_parameter(segment) ? 1 : 0; };
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    if (rank(a[i]) != rank(b[i])) return rank(a[i]) < rank(b[i]);
  return a.size() < b.size();  // "/a" is more than "/a/{rest...}"
}
}  // namespace

void Router::add_entry(std::string method, std::string pattern, Action action) {
  auto segments = split_pattern(pattern);
  for (const auto& entry : entries_)
    if (entry.method == method && entry.pattern == pattern)
      throw Error(ErrorCode::conflict, fmt::format("route {} {} is there already", method, pattern));
  entries_.push_back({std::move(method), std::move(pattern), std::move(segments), std::move(action)});
}

Router& Router::add(std::string method, std::string pattern, Handler handler) {
  add_entry(std::move(method), std::move(pattern), std::move(handler));
  return *this;
}

Router& Router::upload(std::string method, std::string pattern, UploadHandler handler) {
  add_entry(std::move(method), std::move(pattern), std::move(handler));
  return *this;
}

Router& Router::websocket(std::string pattern, WebSocketHandler handler) {
  add_entry("GET", std::move(pattern), std::move(handler));
  return *this;
}

const Router::Action* Router::find(Request& request, std::string& allowed) const {
  const auto& path = request.decoded.segments;
  const Entry* best = nullptr;
  std::set<std::string> methods;
  for (const auto& entry : entries_) {
    if (!matches(entry.segments, path)) continue;
    methods.insert(entry.method);
    const bool fits = entry.method == request.method || (request.method == "HEAD" && entry.method == "GET" &&
                                                         !std::holds_alternative<WebSocketHandler>(entry.action));
    if (fits && (best == nullptr || more_specific(entry.segments, best->segments))) best = &entry;
  }
  if (best == nullptr) {
    allowed = fmt::format("{}", fmt::join(methods, ", "));
    return nullptr;
  }
  request.route = best->pattern;
  request.parameters.clear();
  for (std::size_t i = 0; i < best->segments.size(); ++i) {
    const std::string& segment = best->segments[i];
    if (!is_parameter(segment)) continue;
    std::string value = i < path.size() ? path[i] : std::string();
    if (is_rest(segment))
      for (std::size_t j = i + 1; j < path.size(); ++j) value += '/' + path[j];
    request.parameters[parameter_name(segment)] = std::move(value);
  }
  return &best->action;
}

std::vector<Router::Route> Router::routes() const {
  std::vector<Route> out;
  for (const auto& entry : entries_) out.push_back({entry.method, entry.pattern});
  return out;
}

}  // namespace farfield::net
