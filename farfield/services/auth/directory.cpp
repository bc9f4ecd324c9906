#include "farfield/services/auth/directory.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "farfield/services/auth/secret.hpp"
#include "farfield/services/auth/tables.hpp"

namespace farfield::services::auth {
namespace {
using core::Error;
using core::ErrorCode;
using store::Transaction;

constexpr int kFreeTries = 5;
constexpr std::int64_t kLongestLock_s = 900;

std::string joined(const std::vector<std::string>& lines) {
  std::string out;
  for (const auto& line : lines) {
    if (line.empty() || line.find_first_of("\n\r") != std::string::npos)
      throw Error(ErrorCode::invalid_argument, fmt::format("{:?} must be one line", line));
    out += line + '\n';
  }
  return out;
}

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = text.find('\n', at);
    out.emplace_back(text.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

[[noreturn]] void absent(std::string_view what, std::string_view id) {
  throw Error(ErrorCode::not_found, fmt::format("there is no {} {:?}", what, id));
}

/// "user:garcia" -> {"user", "garcia"}
std::pair<std::string, std::string> check_subject(const std::string& subject, bool groups) {
  const auto colon = std::min(subject.find(':'), subject.size());
  std::string kind = subject.substr(0, colon), id = subject.substr(std::min(colon + 1, subject.size()));
  if (kind != "user" && kind != "service" && !(groups && kind == "group"))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("subject {:?} must be user:ID{} service:ID", subject, groups ? ", group:ID or" : " or"));
  check_name(kind, id);
  return {std::move(kind), std::move(id)};
}

void require_subject(Transaction& t, const std::string& subject, bool groups) {
  const auto [kind, id] = check_subject(subject, groups);
  const auto rows = kind == "user"    ? t.query("SELECT 1 FROM auth_user WHERE id = ?", id)
                    : kind == "group" ? t.query("SELECT 1 FROM auth_group WHERE id = ?", id)
                                      : t.query("SELECT 1 FROM auth_client WHERE id = ? AND secret IS NOT NULL", id);
  if (rows.empty()) absent(kind, id);
}

void require_experiment(Transaction& t, const std::string& id) {
  if (t.query("SELECT 1 FROM auth_experiment WHERE id = ?", id).empty()) absent("experiment", id);
}
}  // namespace

Directory::Directory(store::Database& database, UnixClock clock) : database_(database), clock_(std::move(clock)) {
  database_.migrate("auth", migrations());
}

void Directory::add_user(const std::string& id, const std::string& name, std::optional<std::string> password,
                         bool administrator) {
  check_name("user", id);
  std::optional<std::string> hash;
  if (password) hash = hash_password(*password);
  database_.write([&](Transaction& t) {
    const auto added = t.execute(
        "INSERT INTO auth_user(id, name, password, administrator, disabled, failures, locked_until_s, created_s) "
        "VALUES (?, ?, ?, ?, 0, 0, 0, ?) ON CONFLICT DO NOTHING",
        id, name, hash, administrator, clock_());
    if (added == 0) throw Error(ErrorCode::conflict, fmt::format("there is a user {:?} already", id));
  });
}

void Directory::set_password(const std::string& id, const std::string& password) {
  const std::string hash = hash_password(password);
  database_.write([&](Transaction& t) {
    if (t.execute("UPDATE auth_user SET password = ?, failures = 0, locked_until_s = 0 WHERE id = ?", hash, id) == 0)
      absent("user", id);
  });
}

void Directory::set_disabled(const std::string& id, bool disabled) {
  database_.write([&](Transaction& t) {
    if (t.execute("UPDATE auth_user SET disabled = ? WHERE id = ?", disabled, id) == 0) absent("user", id);
  });
}

std::optional<User> Directory::user(const std::string& id) const {
  const auto rows = database_.query("SELECT name, administrator, disabled FROM auth_user WHERE id = ?", id);
  if (rows.empty()) return std::nullopt;
  const auto row = rows[0];
  return User{id, row.text(0), row.integer(1) != 0, row.integer(2) != 0};
}

std::vector<User> Directory::users(const std::string& after, core::Index limit) const {
  std::vector<User> out;
  for (const auto row : database_.query(
           "SELECT id, name, administrator, disabled FROM auth_user WHERE id > ? ORDER BY id LIMIT ?", after, limit))
    out.push_back({row.text(0), row.text(1), row.integer(2) != 0, row.integer(3) != 0});
  return out;
}

bool Directory::has_users() const { return !database_.query("SELECT 1 FROM auth_user LIMIT 1").empty(); }

bool Directory::check_password(const std::string& id, const std::string& password) {
  // What a user without a password is compared with, so that the time does not tell who exists.
  static const std::string nobody = hash_password(random_hex(16));
  // Names that no user can have are not sent to the database: they may be anything.
  bool possible = true;
  try {
    check_name("user", id);
  } catch (const Error&) {
    possible = false;
  }
  const auto rows = database_.query("SELECT password, disabled, failures, locked_until_s FROM auth_user WHERE id = ?",
                                    possible ? id : std::string());
  const std::int64_t now_s = clock_();
  if (!rows.empty() && rows[0].integer(3) > now_s)
    throw Error(ErrorCode::unavailable,
                fmt::format("too many wrong passwords: try again in {} s", rows[0].integer(3) - now_s));
  const bool known = !rows.empty() && !rows[0].is_null(0) && rows[0].integer(1) == 0;
  const bool right = auth::check_password(password, known ? rows[0].text(0) : nobody) && known;
  if (rows.empty() || (right && rows[0].integer(2) == 0)) return right;
  database_.write([&](Transaction& t) {
    const auto failures = right ? 0 : t.query("SELECT failures FROM auth_user WHERE id = ?", id)[0].integer(0) + 1;
    const std::int64_t lock_s =
        failures < kFreeTries
            ? 0
            : std::min<std::int64_t>(kLongestLock_s, 1LL << std::min<std::int64_t>(failures - kFreeTries, 20));
    t.execute("UPDATE auth_user SET failures = ?, locked_until_s = ? WHERE id = ?", failures, now_s + lock_s, id);
  });
  return right;
}

void Directory::set_public_client(const std::string& id, const std::vector<std::string>& redirects) {
  check_name("client", id);
  const std::string lines = joined(redirects);
  database_.write([&](Transaction& t) {
    const auto rows = t.query("SELECT 1 FROM auth_client WHERE id = ? AND secret IS NOT NULL", id);
    if (!rows.empty()) throw Error(ErrorCode::conflict, fmt::format("{:?} is a service identity", id));
    t.execute(
        "INSERT INTO auth_client(id, secret, redirects, scopes, created_s) VALUES (?, NULL, ?, '', ?) "
        "ON CONFLICT(id) DO UPDATE SET redirects = excluded.redirects",
        id, lines, clock_());
  });
}

std::string Directory::add_service(const std::string& id, const std::vector<std::string>& scopes) {
  check_name("service", id);
  for (const auto& scope : scopes) (void)core::value_or_throw(parse_scope(scope));
  const std::string lines = joined(scopes), secret = random_hex(32);
  database_.write([&](Transaction& t) {
    const auto added = t.execute(
        "INSERT INTO auth_client(id, secret, redirects, scopes, created_s) VALUES (?, ?, '', ?, ?) "
        "ON CONFLICT DO NOTHING",
        id, digest(secret), lines, clock_());
    if (added == 0) throw Error(ErrorCode::conflict, fmt::format("there is a client {:?} already", id));
  });
  return secret;
}

std::string Directory::renew_secret(const std::string& id) {
  const std::string secret = random_hex(32);
  database_.write([&](Transaction& t) {
    if (t.execute("UPDATE auth_client SET secret = ? WHERE id = ? AND secret IS NOT NULL", digest(secret), id) == 0)
      absent("service", id);
  });
  return secret;
}

void Directory::remove_client(const std::string& id) {
  database_.write([&](Transaction& t) {
    if (t.execute("DELETE FROM auth_client WHERE id = ?", id) == 0) absent("client", id);
    t.execute("DELETE FROM auth_role WHERE subject = ?", service_subject(id));
    t.execute("DELETE FROM auth_member WHERE subject = ?", service_subject(id));
    t.execute("DELETE FROM auth_actor WHERE service = ? OR subject = ?", id, service_subject(id));
  });
}

std::optional<Client> Directory::client(const std::string& id) const {
  const auto rows = database_.query("SELECT secret, redirects, scopes FROM auth_client WHERE id = ?", id);
  if (rows.empty()) return std::nullopt;
  const auto row = rows[0];
  return Client{id, !row.is_null(0), split(row.text(1)), split(row.text(2))};
}

std::vector<Client> Directory::services(const std::string& after, core::Index limit) const {
  std::vector<Client> out;
  for (const auto row : database_.query(
           "SELECT c.id, c.redirects, c.scopes, a.subject FROM (SELECT id, redirects, scopes FROM auth_client "
           "WHERE secret IS NOT NULL AND id > ? ORDER BY id LIMIT ?) c "
           "LEFT JOIN auth_actor a ON a.service = c.id ORDER BY c.id, a.subject",
           after, limit)) {
    if (out.empty() || out.back().id != row.text(0))
      out.push_back({row.text(0), true, split(row.text(1)), split(row.text(2))});
    if (!row.is_null(3)) out.back().actors.push_back(row.text(3));
  }
  return out;
}

bool Directory::check_secret(const std::string& id, std::string_view secret) const {
  const auto rows = database_.query("SELECT secret FROM auth_client WHERE id = ? AND secret IS NOT NULL", id);
  const std::string given = digest(secret);
  return !rows.empty() && equal_secrets(given, rows[0].text(0));
}

void Directory::set_actor(const std::string& service, const std::string& subject, bool may) {
  database_.write([&](Transaction& t) {
    require_subject(t, service_subject(service), false);
    if (may) {
      require_subject(t, subject, true);
      t.execute("INSERT INTO auth_actor(service, subject) VALUES (?, ?) ON CONFLICT DO NOTHING", service, subject);
    } else {
      check_subject(subject, true);
      t.execute("DELETE FROM auth_actor WHERE service = ? AND subject = ?", service, subject);
    }
  });
}

bool Directory::may_act_as(const std::string& subject, const std::string& other) const {
  if (!other.starts_with("service:") || !active(subject) || !active(other)) return false;
  if (subject == other) return true;
  const auto rows = database_.query(
      "SELECT 1 FROM auth_actor WHERE service = ? AND (subject = ? OR subject IN "
      "(SELECT 'group:' || group_id FROM auth_member WHERE subject = ?)) LIMIT 1",
      other.substr(other.find(':') + 1), subject, subject);
  return !rows.empty();
}

void Directory::add_group(const std::string& id) {
  check_name("group", id);
  database_.write([&](Transaction& t) {
    if (t.execute("INSERT INTO auth_group(id) VALUES (?) ON CONFLICT DO NOTHING", id) == 0)
      throw Error(ErrorCode::conflict, fmt::format("there is a group {:?} already", id));
  });
}

void Directory::set_member(const std::string& group, const std::string& subject, bool member) {
  database_.write([&](Transaction& t) {
    require_subject(t, "group:" + group, true);
    require_subject(t, subject, false);
    if (member)
      t.execute("INSERT INTO auth_member(group_id, subject) VALUES (?, ?) ON CONFLICT DO NOTHING", group, subject);
    else t.execute("DELETE FROM auth_member WHERE group_id = ? AND subject = ?", group, subject);
  });
}

std::vector<Directory::Group> Directory::groups_with_members(const std::string& after, core::Index limit) const {
  std::vector<Group> out;
  for (const auto row :
       database_.query("SELECT g.id, m.subject FROM (SELECT id FROM auth_group WHERE id > ? ORDER BY id LIMIT ?) g "
                       "LEFT JOIN auth_member m ON m.group_id = g.id ORDER BY g.id, m.subject",
                       after, limit)) {
    if (out.empty() || out.back().id != row.text(0)) out.push_back({row.text(0), {}});
    if (!row.is_null(1)) out.back().members.push_back(row.text(1));
  }
  return out;
}

std::vector<std::string> Directory::groups(const std::string& subject) const {
  std::vector<std::string> out;
  for (const auto row :
       database_.query("SELECT group_id FROM auth_member WHERE subject = ? ORDER BY group_id", subject))
    out.push_back(row.text(0));
  return out;
}

void Directory::create_experiment(const std::string& id, const std::string& owner) {
  check_experiment(id);
  database_.write([&](Transaction& t) {
    require_subject(t, owner, true);
    if (t.execute("INSERT INTO auth_experiment(id, created_s) VALUES (?, ?) ON CONFLICT DO NOTHING", id, clock_()) == 0)
      throw Error(ErrorCode::conflict, fmt::format("there is an experiment {:?} already", id));
    t.execute("INSERT INTO auth_role(experiment, subject, role) VALUES (?, ?, ?)", id, owner,
              static_cast<int>(Role::owner));
  });
}

void Directory::set_role(const std::string& experiment, const std::string& subject, std::optional<Role> role) {
  database_.write([&](Transaction& t) {
    require_experiment(t, experiment);
    if (role) {
      require_subject(t, subject, true);
      t.execute(
          "INSERT INTO auth_role(experiment, subject, role) VALUES (?, ?, ?) "
          "ON CONFLICT(experiment, subject) DO UPDATE SET role = excluded.role",
          experiment, subject, static_cast<int>(*role));
    } else if (t.execute("DELETE FROM auth_role WHERE experiment = ? AND subject = ?", experiment, subject) == 0) {
      throw Error(ErrorCode::not_found, fmt::format("{} has no role in {}", subject, experiment));
    }
    const auto owners = t.query("SELECT COUNT(*) FROM auth_role WHERE experiment = ? AND role = ?", experiment,
                                static_cast<int>(Role::owner));
    if (owners[0].integer(0) == 0)
      throw Error(ErrorCode::conflict, fmt::format("experiment {} would be left without an owner", experiment));
  });
}

std::optional<Role> Directory::role(const std::string& subject, const std::string& experiment) const {
  const auto rows = database_.query(
      "SELECT MAX(role) FROM auth_role WHERE experiment = ? AND (subject = ? OR subject IN "
      "(SELECT 'group:' || group_id FROM auth_member WHERE subject = ?))",
      experiment, subject, subject);
  if (rows.empty() || rows[0].is_null(0)) return std::nullopt;
  return static_cast<Role>(rows[0].integer(0));
}

std::vector<Directory::Membership> Directory::experiments(const std::string& subject, const std::string& after,
                                                          core::Index limit) const {
  std::vector<Membership> out;
  for (const auto row : database_.query(
           "SELECT experiment, MAX(role) FROM auth_role WHERE experiment > ? AND (subject = ? OR subject IN "
           "(SELECT 'group:' || group_id FROM auth_member WHERE subject = ?)) "
           "GROUP BY experiment ORDER BY experiment LIMIT ?",
           after, subject, subject, limit))
    out.push_back({row.text(0), static_cast<Role>(row.integer(1))});
  return out;
}

std::vector<Directory::Assignment> Directory::roles(const std::string& experiment) const {
  std::vector<Assignment> out;
  for (const auto row :
       database_.query("SELECT subject, role FROM auth_role WHERE experiment = ? ORDER BY subject", experiment))
    out.push_back({row.text(0), static_cast<Role>(row.integer(1))});
  return out;
}

bool Directory::active(const std::string& subject) const {
  const auto colon = std::min(subject.find(':'), subject.size());
  const std::string kind = subject.substr(0, colon), id = subject.substr(std::min(colon + 1, subject.size()));
  if (kind == "user") return !database_.query("SELECT 1 FROM auth_user WHERE id = ? AND disabled = 0", id).empty();
  if (kind == "service")
    return !database_.query("SELECT 1 FROM auth_client WHERE id = ? AND secret IS NOT NULL", id).empty();
  return false;
}

bool Directory::permits(const std::string& subject, const Scope& scope) const {
  if (!active(subject)) return false;
  if (const auto action = scope.action()) {
    const auto held = role(subject, scope.experiment);
    return held && allows(*held, *action);
  }
  const std::string id = subject.substr(subject.find(':') + 1);
  if (subject.starts_with("user:")) {
    if (scope.word == kAllRights) return true;
    return scope.word == kAdministration && user(id).value_or(User{}).administrator;
  }
  const auto service = client(id);
  return service && std::find(service->scopes.begin(), service->scopes.end(), scope.text()) != service->scopes.end();
}

}  // namespace farfield::services::auth
