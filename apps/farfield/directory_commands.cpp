// farfield user | group | identity | experiment: who there is at a service, and who may do what

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "apps/farfield/commands.hpp"
#include "apps/farfield/compute_options.hpp"
#include "apps/farfield/flow_options.hpp"
#include "apps/farfield/service_parts.hpp"
#include "farfield/services/auth/secret.hpp"

namespace farfield::apps {
namespace {
using core::Error;
using core::ErrorCode;
using nlohmann::json;

/// The service of a command, and how it prints.
class Desk {
public:
  Desk(const Arguments& arguments, const Session& session)
      : options_(compute_options(arguments)), service_(compute_service(options_)), stop_(session.stop) {}

  json ask(const std::string& method, const std::string& target, const json& body = nullptr) const {
    const std::string text =
        service_.call(method, "/api/v1/" + target, body.is_null() ? std::string() : body.dump(), stop_);
    return text.empty() ? json::object() : parse_answer(text);
  }
  /// A list that comes in parts, each after the name that `key` has in the last one.
  void each(const std::string& target, const char* key, const std::function<void(const json&)>& see) const {
    for (std::string after;;) {
      const json answer = ask("GET", target + "?after=" + segment(after));
      const json& part = answer.at(target);
      for (const json& item : part) see(item);
      if (part.empty()) return;
      after = part.back().at(key).get<std::string>();
    }
  }
  /// `line`, or with --json `object` as one line of type `type`.
  void print(const char* type, json object, const std::string& line) const {
    if (!options_.json) {
      fmt::print("{}\n", line);
      return;
    }
    object["message_type"] = type;
    fmt::print("{}\n", object.dump());
  }

private:
  ComputeOptions options_;
  ServiceClient service_;
  std::stop_token stop_;
};

std::string target(const char* collection, const std::string& id, const std::string& rest = {}) {
  return fmt::format("{}/{}{}", collection, segment(id), rest);
}

std::vector<std::string> words(const std::string& text) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at <= text.size();) {
    const auto end = std::min(text.find(',', at), text.size());
    if (end > at) out.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

using Action = int (*)(const Arguments&, const Session&);
Command command(const char* noun, const char* verb, const char* summary, std::vector<std::string> inputs, Action run,
                const std::vector<core::OptionSchema>& own = {}) {
  Command c{{noun, verb}, summary, std::move(inputs), own, run};
  c.options.push_back(compute_schema());
  return c;
}

// --- users

struct PasswordOptions {
  std::string file;
};
const core::BoundSchema<PasswordOptions>& password_schema() {
  static const auto schema = [] {
    core::BoundSchema<PasswordOptions> s;
    s.add("password-file", &PasswordOptions::file,
          "whose first line is the password, - for standard input; none: one is made and printed");
    return s;
  }();
  return schema;
}
/// The password, and whether it was made here.
std::pair<std::string, bool> password_of(const Arguments& arguments) {
  const std::string file = password_schema().make(part(arguments.given, password_schema())).file;
  if (file.empty()) return {services::auth::random_hex(10), true};
  std::string text;
  if (file == "-") std::getline(std::cin, text);
  else text = read_text(file);
  text.erase(std::min(text.find_first_of("\r\n"), text.size()));
  return {text, false};
}

struct UserOptions {
  std::string full_name;
  bool administrator = false;
};
const core::BoundSchema<UserOptions>& user_schema() {
  static const auto schema = [] {
    core::BoundSchema<UserOptions> s;
    s.add("full-name", &UserOptions::full_name, "for people; none: USER");
    s.add("administrator", &UserOptions::administrator, "may make users, experiments and identities");
    return s;
  }();
  return schema;
}

int add_user(const Arguments& arguments, const Session& session) {
  const auto options = user_schema().make(part(arguments.given, user_schema()));
  const std::string& id = arguments.inputs.at(0);
  const auto [password, made] = password_of(arguments);
  const Desk desk(arguments, session);
  json user = desk.ask("POST", "users",
                       {{"id", id},
                        {"name", options.full_name.empty() ? id : options.full_name},
                        {"password", password},
                        {"administrator", options.administrator}});
  if (made) user["password"] = password;
  desk.print("user", user, made ? fmt::format("user:{} with the password {}", id, password) : "user:" + id);
  return core::kExitOk;
}

int set_password(const Arguments& arguments, const Session& session) {
  const std::string& id = arguments.inputs.at(0);
  const auto [password, made] = password_of(arguments);
  const Desk desk(arguments, session);
  desk.ask("PUT", target("users", id, "/password"), {{"password", password}});
  json user{{"id", id}};
  if (made) user["password"] = password;
  desk.print("user", user, made ? password : "changed");
  return core::kExitOk;
}

int set_disabled(const Arguments& arguments, const Session& session, bool disabled) {
  const std::string& id = arguments.inputs.at(0);
  const Desk desk(arguments, session);
  desk.ask("PUT", target("users", id, "/disabled"), {{"disabled", disabled}});
  desk.print("user", {{"id", id}, {"disabled", disabled}}, disabled ? "locked out" : "let in");
  return core::kExitOk;
}
int lock_user(const Arguments& arguments, const Session& session) { return set_disabled(arguments, session, true); }
int unlock_user(const Arguments& arguments, const Session& session) { return set_disabled(arguments, session, false); }

int list_users(const Arguments& arguments, const Session& session) {
  const Desk desk(arguments, session);
  desk.each("users", "id", [&](const json& u) {
    desk.print("user", u,
               fmt::format("{:<32} {:<14} {:<7} {}", "user:" + u.value("id", ""),
                           u.value("administrator", false) ? "administrator" : "",
                           u.value("disabled", false) ? "locked" : "", u.value("name", "")));
  });
  return core::kExitOk;
}

// --- groups

int add_group(const Arguments& arguments, const Session& session) {
  const Desk desk(arguments, session);
  const std::string& id = arguments.inputs.at(0);
  desk.print("group", desk.ask("POST", "groups", {{"id", id}}), "group:" + id);
  return core::kExitOk;
}

int set_member(const Arguments& arguments, const Session& session, bool member) {
  const std::string &group = arguments.inputs.at(0), &subject = arguments.inputs.at(1);
  const Desk desk(arguments, session);
  desk.ask(member ? "PUT" : "DELETE", target("groups", group, "/members/" + segment(subject)));
  desk.print("group", {{"id", group}, {"subject", subject}, {"member", member}}, member ? "added" : "removed");
  return core::kExitOk;
}
int add_member(const Arguments& arguments, const Session& session) { return set_member(arguments, session, true); }
int remove_member(const Arguments& arguments, const Session& session) { return set_member(arguments, session, false); }

int list_groups(const Arguments& arguments, const Session& session) {
  const Desk desk(arguments, session);
  desk.each("groups", "id", [&](const json& g) {
    desk.print("group", g,
               fmt::format("{:<32} {}", "group:" + g.value("id", ""),
                           fmt::join(g.value("members", std::vector<std::string>()), " ")));
  });
  return core::kExitOk;
}

// --- service identities

struct IdentityOptions {
  std::string scopes;
};
const core::BoundSchema<IdentityOptions>& identity_schema() {
  static const auto schema = [] {
    core::BoundSchema<IdentityOptions> s;
    s.add("scopes", &IdentityOptions::scopes,
          "what its tokens are good for, between commas: transfer.agent, compute.endpoint, farfield, ...");
    return s;
  }();
  return schema;
}
struct SecretOptions {
  std::string file;
};
const core::BoundSchema<SecretOptions>& secret_schema() {
  static const auto schema = [] {
    core::BoundSchema<SecretOptions> s;
    s.add("secret-file", &SecretOptions::file,
          "new file for the secret, readable by its owner only; none: it is printed, once");
    return s;
  }();
  return schema;
}

/// Asks for a secret, and puts it where it was wanted. The service tells it only once: the file is tried before.
void keep_secret(const Desk& desk, const Arguments& arguments, const std::string& id,
                 const std::function<json()>& ask) {
  const std::string file = secret_schema().make(part(arguments.given, secret_schema())).file;
  if (!file.empty()) {
    if (std::filesystem::exists(file))
      throw Error(ErrorCode::conflict, "there is a file of this name already; it is not replaced").at(file);
    write_private(file, "");
  }
  json identity;
  try {
    identity = ask();
  } catch (const Error&) {
    std::error_code ignored;
    if (!file.empty()) std::filesystem::remove(file, ignored);
    throw;
  }
  const auto secret = identity.at("client_secret").get<std::string>();
  if (!file.empty()) {
    write_private(file, secret + "\n");
    identity.erase("client_secret");
  }
  desk.print("identity", identity,
             file.empty() ? fmt::format("service:{} with the secret {}", id, secret)
                          : fmt::format("service:{}, its secret is in {}", id, file));
}

int add_identity(const Arguments& arguments, const Session& session) {
  const auto scopes = words(identity_schema().make(part(arguments.given, identity_schema())).scopes);
  const std::string& id = arguments.inputs.at(0);
  if (scopes.empty())
    throw Error(ErrorCode::invalid_argument,
                "an identity needs scopes: transfer.agent, compute.endpoint, farfield, ...")
        .at("--scopes");
  const Desk desk(arguments, session);
  keep_secret(desk, arguments, id, [&] { return desk.ask("POST", "services", {{"id", id}, {"scopes", scopes}}); });
  return core::kExitOk;
}

int renew_secret(const Arguments& arguments, const Session& session) {
  const std::string& id = arguments.inputs.at(0);
  const Desk desk(arguments, session);
  keep_secret(desk, arguments, id, [&] { return desk.ask("POST", target("services", id, "/secret")); });
  return core::kExitOk;
}

int remove_identity(const Arguments& arguments, const Session& session) {
  const std::string& id = arguments.inputs.at(0);
  const Desk desk(arguments, session);
  desk.ask("DELETE", target("services", id));
  desk.print("identity", {{"client_id", id}, {"removed", true}}, "removed");
  return core::kExitOk;
}

int set_actor(const Arguments& arguments, const Session& session, bool may) {
  const std::string &id = arguments.inputs.at(0), &subject = arguments.inputs.at(1);
  const Desk desk(arguments, session);
  desk.ask(may ? "PUT" : "DELETE", target("services", id, "/actors/" + segment(subject)));
  desk.print("identity", {{"client_id", id}, {"actor", subject}, {"permitted", may}}, may ? "permitted" : "forbidden");
  return core::kExitOk;
}
int permit_actor(const Arguments& arguments, const Session& session) { return set_actor(arguments, session, true); }
int forbid_actor(const Arguments& arguments, const Session& session) { return set_actor(arguments, session, false); }

int list_identities(const Arguments& arguments, const Session& session) {
  const Desk desk(arguments, session);
  desk.each("services", "client_id", [&](const json& s) {
    desk.print("identity", s, [&] {
      const auto actors = s.value("actors", std::vector<std::string>());
      return fmt::format("{:<32} {}{}{}", "service:" + s.value("client_id", ""),
                         fmt::join(s.value("scopes", std::vector<std::string>()), " "),
                         actors.empty() ? "" : "; act as it: ", fmt::join(actors, " "));
    }());
  });
  return core::kExitOk;
}

// --- experiments

struct OwnerOptions {
  std::string owner;
};
const core::BoundSchema<OwnerOptions>& owner_schema() {
  static const auto schema = [] {
    core::BoundSchema<OwnerOptions> s;
    s.add("owner", &OwnerOptions::owner, "user:ID, service:ID or group:ID; none: who asks");
    return s;
  }();
  return schema;
}

void print_experiment(const Desk& desk, const json& experiment) {
  std::string line = experiment.value("id", "");
  for (const json& r : experiment.at("roles"))
    line += fmt::format("\n  {:<8} {}", r.value("role", ""), r.value("subject", ""));
  desk.print("experiment", experiment, line);
}

int add_experiment(const Arguments& arguments, const Session& session) {
  std::string owner = owner_schema().make(part(arguments.given, owner_schema())).owner;
  const Desk desk(arguments, session);
  if (owner.empty()) owner = desk.ask("GET", "whoami").value("subject", "");
  print_experiment(desk, desk.ask("POST", "experiments", {{"id", arguments.inputs.at(0)}, {"owner", owner}}));
  return core::kExitOk;
}

int show_experiment(const Arguments& arguments, const Session& session) {
  const Desk desk(arguments, session);
  print_experiment(desk, desk.ask("GET", target("experiments", arguments.inputs.at(0))));
  return core::kExitOk;
}

int list_experiments(const Arguments& arguments, const Session& session) {
  const Desk desk(arguments, session);
  desk.each("experiments", "id", [&](const json& e) {
    desk.print("experiment", e, fmt::format("{:<32} {}", e.value("id", ""), e.value("role", "")));
  });
  return core::kExitOk;
}

int set_role(const Arguments& arguments, const Session& session) {
  const std::string &experiment = arguments.inputs.at(0), &subject = arguments.inputs.at(1),
                    &role = arguments.inputs.at(2);
  const Desk desk(arguments, session);
  const std::string place = target("experiments", experiment, "/roles/" + segment(subject));
  if (role == "none") {
    desk.ask("DELETE", place);
    desk.print("experiment", {{"id", experiment}, {"subject", subject}, {"role", nullptr}}, "taken away");
  } else {
    print_experiment(desk, desk.ask("PUT", place, {{"role", role}}));
  }
  return core::kExitOk;
}
}  // namespace

std::vector<Command> directory_commands() {
  return {
      command("user", "add", "a new user of a service, for administrators", {"USER"}, add_user,
              {user_schema(), password_schema()}),
      command("user", "list", "users, for administrators", {}, list_users),
      command("user", "password", "a new password; ends all sessions of the user", {"USER"}, set_password,
              {password_schema()}),
      command("user", "lock", "lock a user out, at once and everywhere", {"USER"}, lock_user),
      command("user", "unlock", "let a user in again", {"USER"}, unlock_user),
      command("group", "add", "a new group, for administrators", {"GROUP"}, add_group),
      command("group", "list", "groups and their members, for administrators", {}, list_groups),
      command("group", "join", "make user:ID or service:ID a member", {"GROUP", "SUBJECT"}, add_member),
      command("group", "leave", "a member no longer", {"GROUP", "SUBJECT"}, remove_member),
      command("identity", "add", "a new identity of a service for an agent, an endpoint or a watched folder", {"NAME"},
              add_identity, {identity_schema(), secret_schema()}),
      command("identity", "list", "identities, for administrators", {}, list_identities),
      command("identity", "secret", "a new secret; the old one is void and its sessions end", {"NAME"}, renew_secret,
              {secret_schema()}),
      command("identity", "permit", "let SUBJECT (user:ID, group:ID, service:ID) act as the identity in flows",
              {"NAME", "SUBJECT"}, permit_actor),
      command("identity", "forbid", "no longer; what is done with that permission ends", {"NAME", "SUBJECT"},
              forbid_actor),
      command("identity", "remove", "an identity no longer; its sessions end", {"NAME"}, remove_identity),
      command("experiment", "add", "a new experiment, for administrators", {"ID"}, add_experiment, {owner_schema()}),
      command("experiment", "list", "experiments in which you have a role", {}, list_experiments),
      command("experiment", "show", "who has which role in an experiment", {"ID"}, show_experiment),
      command("experiment", "role",
              "give SUBJECT (user:ID, service:ID, group:ID) the role viewer, member, owner or none",
              {"ID", "SUBJECT", "ROLE"}, set_role),
  };
}

}  // namespace farfield::apps
