#pragma once
// Who there is, and who may do what: users, service identities, groups, experiments with their roles.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "farfield/services/auth/keys.hpp"
#include "farfield/services/auth/scope.hpp"
#include "farfield/store/database.hpp"

namespace farfield::services::auth {

/// A program that asks for tokens. Public ones (a command line, a web page) cannot keep a secret.
struct Client {
  std::string id;
  bool confidential = false;
  std::vector<std::string> redirects;  ///< URIs of the authorisation code, compared letter for letter
  std::vector<std::string> scopes;     ///< words that a service identity may ask for in its own name
  std::vector<std::string> actors = {};  ///< subjects that may act as the service identity; in services() alone
};

struct User {
  std::string id, name;
  bool administrator = false, disabled = false;
};

/// Everything is in the database; thread-safe. Errors: `invalid_argument` for bad names, `not_found`, `conflict`.
class Directory {
public:
  /// Makes or updates the tables of `auth`.
  Directory(store::Database& database, UnixClock clock);

  /// Without a password, the user cannot log in yet.
  void add_user(const std::string& id, const std::string& name, std::optional<std::string> password,
                bool administrator = false);
  void set_password(const std::string& id, const std::string& password);
  void set_disabled(const std::string& id, bool disabled);
  std::optional<User> user(const std::string& id) const;
  /// At most `limit`, in the order of their names, after `after`; so are the other lists.
  std::vector<User> users(const std::string& after = {}, core::Index limit = 1000) const;
  bool has_users() const;
  /// After 5 wrong passwords each further one waits twice as long, up to 15 minutes: `unavailable`. False takes as
  /// long for a user that does not exist as for a wrong password.
  bool check_password(const std::string& id, const std::string& password);

  /// Registers or changes a public client.
  void set_public_client(const std::string& id, const std::vector<std::string>& redirects);
  /// Registers a service identity; its secret, which is told only once. `conflict`: exists.
  std::string add_service(const std::string& id, const std::vector<std::string>& scopes);
  /// A new secret; the old one is void.
  std::string renew_secret(const std::string& id);
  void remove_client(const std::string& id);
  std::optional<Client> client(const std::string& id) const;
  /// Service identities.
  std::vector<Client> services(const std::string& after = {}, core::Index limit = 1000) const;
  bool check_secret(const std::string& id, std::string_view secret) const;
  /// Lets `subject` (user:ID, service:ID or group:ID) act as the service identity, or no longer.
  void set_actor(const std::string& service, const std::string& subject, bool may);
  /// Whether `subject` may act as `other` (service:ID): itself, or where it or one of its groups was let; both active.
  bool may_act_as(const std::string& subject, const std::string& other) const;

  void add_group(const std::string& id);
  void set_member(const std::string& group, const std::string& subject, bool member);
  struct Group {
    std::string id;
    std::vector<std::string> members;  ///< subjects
  };
  std::vector<Group> groups_with_members(const std::string& after = {}, core::Index limit = 1000) const;
  /// Groups of which the subject is a member.
  std::vector<std::string> groups(const std::string& subject) const;

  /// The subject becomes its owner.
  void create_experiment(const std::string& id, const std::string& owner);
  /// `subject`: user:ID, service:ID or group:ID. nullopt takes the role away; the last owner stays (`conflict`).
  void set_role(const std::string& experiment, const std::string& subject, std::optional<Role> role);
  /// The highest role, own or through a group.
  std::optional<Role> role(const std::string& subject, const std::string& experiment) const;
  struct Membership {
    std::string experiment;
    Role role;
  };
  std::vector<Membership> experiments(const std::string& subject, const std::string& after = {},
                                      core::Index limit = 1000) const;
  struct Assignment {
    std::string subject;
    Role role;
  };
  std::vector<Assignment> roles(const std::string& experiment) const;

  /// Whether the subject exists and is not disabled.
  bool active(const std::string& subject) const;
  /// Whether the subject itself, whatever token it shows, may do what `scope` says. Denied unless something allows it.
  bool permits(const std::string& subject, const Scope& scope) const;

  store::Database& database() { return database_; }
  std::int64_t now_s() const { return clock_(); }

private:
  store::Database& database_;
  UnixClock clock_;
};

}  // namespace farfield::services::auth
