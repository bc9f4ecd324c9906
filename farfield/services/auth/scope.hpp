#pragma once
// What a token may do: scopes in the SciTokens profile (https://scitokens.org/technical_docs/Claims), and the roles
// that allow them.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "farfield/core/error.hpp"

namespace farfield::services::auth {

enum class Role { viewer, member, owner };
std::string_view name(Role role);
/// `invalid_argument` for anything but viewer, member, owner.
Role parse_role(std::string_view text);

/// What can be done to an experiment. A viewer reads; a member also writes and runs; an owner also manages
/// (roles, deletion).
enum class Action { read, write, run, manage };
std::string_view name(Action action);
bool allows(Role role, Action action);

/// "read:/experiments/2026-1-Garcia-1234/raw": an action on (part of) an experiment. Or one word without a path:
/// "farfield" (all that the subject itself may do, at the service), "admin", or what a service identity was given.
struct Scope {
  std::string word;                ///< "read", "farfield"
  std::string experiment;          ///< empty: no path
  std::string inside;              ///< "/raw"; empty: all of the experiment
  std::string text() const;
  std::optional<Action> action() const;
  /// Whether this scope includes `other`: the same word, and its path or one above it.
  bool covers(const Scope& other) const;
};

/// `invalid_argument` says what is wrong.
core::Result<Scope> parse_scope(std::string_view text);
/// Scopes between blanks, at most 100, duplicates dropped.
core::Result<std::vector<Scope>> parse_scopes(std::string_view text);
std::string format_scopes(const std::vector<Scope>& scopes);

inline constexpr std::string_view kAllRights = "farfield", kAdministration = "admin";

/// Whether one of `held` includes `wanted`, or is "farfield", which stands for everything.
bool covers(const std::vector<Scope>& held, const Scope& wanted);

/// Names of users, services, groups and clients: 1 to 64 of a-z 0-9 . _ -, the first a letter or digit; those of
/// experiments also A-Z, up to 128. Throws `invalid_argument` with `what` and the name.
void check_name(std::string_view what, std::string_view name);
void check_experiment(std::string_view id);
bool valid_experiment(std::string_view id);

/// Who acts or is given a role: "user:garcia", "service:agent-7"; roles also go to "group:vortex".
std::string user_subject(std::string_view id);
std::string service_subject(std::string_view id);

}  // namespace farfield::services::auth
