#include "farfield/services/auth/scope.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farfield::services::auth {
namespace {
using core::Error;
using core::ErrorCode;

constexpr std::string_view kExperiments = "/experiments/";

bool lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool name_character(char c) { return lower_or_digit(c) || c == '.' || c == '_' || c == '-'; }
bool upper(char c) { return c >= 'A' && c <= 'Z'; }

/// A path below an experiment: "" or "/a/b", without ".", "..", empty segments or characters that scopes cannot hold.
bool valid_inside(std::string_view path) {
  while (!path.empty()) {
    if (path.front() != '/') return false;
    path.remove_prefix(1);
    const auto segment = path.substr(0, path.find('/'));
    if (segment.empty() || segment == "." || segment == "..") return false;
    if (!std::all_of(segment.begin(), segment.end(),
                     [](char c) { return c > 32 && c < 127 && c != '"' && c != '\\' && c != '%'; }))
      return false;
    path.remove_prefix(segment.size());
  }
  return true;
}
}  // namespace

std::string_view name(Role role) { return role == Role::viewer ? "viewer" : role == Role::member ? "member" : "owner"; }

Role parse_role(std::string_view text) {
  for (const Role role : {Role::viewer, Role::member, Role::owner})
    if (text == name(role)) return role;
  throw Error(ErrorCode::invalid_argument, fmt::format("role {:?} must be viewer, member or owner", text));
}

std::string_view name(Action action) {
  switch (action) {
    case Action::read: return "read";
    case Action::write: return "write";
    case Action::run: return "run";
    case Action::manage: return "manage";
  }
  return "";
}

bool allows(Role role, Action action) {
  switch (action) {
    case Action::read: return true;
    case Action::write:
    case Action::run: return role != Role::viewer;
    case Action::manage: return role == Role::owner;
  }
  return false;
}

std::string Scope::text() const {
  return experiment.empty() ? word : fmt::format("{}:{}{}{}", word, kExperiments, experiment, inside);
}

std::optional<Action> Scope::action() const {
  if (experiment.empty()) return std::nullopt;
  for (const Action a : {Action::read, Action::write, Action::run, Action::manage})
    if (word == name(a)) return a;
  return std::nullopt;
}

bool Scope::covers(const Scope& other) const {
  if (word != other.word || experiment != other.experiment || !other.inside.starts_with(inside)) return false;
  return other.inside.size() == inside.size() || other.inside[inside.size()] == '/';
}

bool covers(const std::vector<Scope>& held, const Scope& wanted) {
  return std::any_of(held.begin(), held.end(), [&](const Scope& one) {
    return one.covers(wanted) || (one.word == kAllRights && one.experiment.empty());
  });
}

core::Result<Scope> parse_scope(std::string_view text) {
  const auto fail = [&] {
    return core::failure(
        ErrorCode::invalid_argument,
        fmt::format("scope {:?} is neither ACTION:/experiments/ID (read, write, run, manage) nor a word",
                    text.substr(0, 200)));
  };
  Scope scope;
  const auto colon = text.find(':');
  scope.word = text.substr(0, colon);
  if (scope.word.empty() || scope.word.size() > 64 ||
      !std::all_of(scope.word.begin(), scope.word.end(), name_character))
    return fail();
  if (colon == std::string_view::npos) return scope;
  const std::string_view path = text.substr(colon + 1);
  if (!path.starts_with(kExperiments)) return fail();
  const std::string_view rest = path.substr(kExperiments.size());
  const auto end = std::min(rest.find('/'), rest.size());
  scope.experiment = rest.substr(0, end);
  scope.inside = rest.substr(end);
  if (!valid_experiment(scope.experiment) || !valid_inside(scope.inside) || !scope.action()) return fail();
  return scope;
}

core::Result<std::vector<Scope>> parse_scopes(std::string_view text) {
  constexpr std::size_t kMost = 100;
  std::vector<Scope> scopes;
  while (!text.empty()) {
    const auto end = std::min(text.find(' '), text.size());
    const std::string_view one = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (one.empty()) continue;
    auto scope = parse_scope(one);
    if (!scope) return tl::unexpected(scope.error());
    if (std::any_of(scopes.begin(), scopes.end(), [&](const Scope& s) { return s.text() == scope->text(); })) continue;
    if (scopes.size() == kMost)
      return core::failure(ErrorCode::invalid_argument, fmt::format("more than {} scopes", kMost));
    scopes.push_back(std::move(*scope));
  }
  return scopes;
}

std::string format_scopes(const std::vector<Scope>& scopes) {
  std::string out;
  for (const auto& scope : scopes) out += (out.empty() ? "" : " ") + scope.text();
  return out;
}

void check_name(std::string_view what, std::string_view id) {
  const bool good =
      !id.empty() && id.size() <= 64 && lower_or_digit(id.front()) && std::all_of(id.begin(), id.end(), name_character);
  if (!good)
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("{} {:?} must be 1 to 64 of a-z 0-9 . _ -, the first a letter or digit", what, id.substr(0, 100)));
}

bool valid_experiment(std::string_view id) {
  return !id.empty() && id.size() <= 128 && (lower_or_digit(id.front()) || upper(id.front())) &&
         std::all_of(id.begin(), id.end(), [](char c) { return name_character(c) || upper(c); });
}

void check_experiment(std::string_view id) {
  if (!valid_experiment(id))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("experiment {:?} must be 1 to 128 of A-Z a-z 0-9 . _ -, the first a letter or digit",
                            id.substr(0, 200)));
}

std::string user_subject(std::string_view id) { return fmt::format("user:{}", id); }
std::string service_subject(std::string_view id) { return fmt::format("service:{}", id); }

}  // namespace farfield::services::auth
