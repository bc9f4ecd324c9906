// /api/v1: who I am, experiments and their roles; for administrators users, groups and service identities.

#include "farfield/services/auth/http.hpp"
#include "farfield/services/auth/json.hpp"

namespace farfield::services::auth {
namespace {
using core::Error;
using core::ErrorCode;
using nlohmann::json;

net::Response created(const json& value) { return json_response(value, 201); }
net::Response done() {
  net::Response response;
  response.status = 204;
  return response;
}

std::string after(const net::Request& r) {
  const std::string* given = r.query("after");
  return given == nullptr ? std::string() : *given;
}

json experiment_json(Directory& directory, const std::string& id) {
  json roles = json::array();
  for (const auto& [subject, role] : directory.roles(id)) roles.push_back({{"subject", subject}, {"role", name(role)}});
  return {{"id", id}, {"roles", roles}};
}

void add_experiments(net::Router& router, Access& access) {
  Directory& directory = access.issuer().directory();
  const std::string all{kAllRights};
  router.get("/api/v1/whoami", [&](const net::Request& r) {
    const auto who = access.admit(r);
    return json_response({{"subject", who.subject}, {"client", who.client}, {"scope", format_scopes(who.scopes)}});
  });
  router.get("/api/v1/experiments", access.guard(all, [&directory](const net::Request& r, const Principal& who) {
    json list = json::array();
    for (const auto& [id, role] : directory.experiments(who.subject, after(r)))
      list.push_back({{"id", id}, {"role", name(role)}});
    return json_response({{"experiments", list}});
  }));
  router.post("/api/v1/experiments",
              access.guard(std::string(kAdministration), [&directory](const net::Request& r, const Principal&) {
                const auto body = json_body(r, {"id", "owner"});
                const std::string id = json_text(body, "id");
                directory.create_experiment(id, json_text(body, "owner"));
                return created(experiment_json(directory, id));
              }));
  router.get("/api/v1/experiments/{experiment}",
             access.guard(Action::read, "experiment", [&directory](const net::Request& r, const Principal&) {
               return json_response(experiment_json(directory, r.parameter("experiment")));
             }));
  router.put("/api/v1/experiments/{experiment}/roles/{subject}",
             access.guard(Action::manage, "experiment", [&directory](const net::Request& r, const Principal&) {
               const auto body = json_body(r, {"role"});
               directory.set_role(r.parameter("experiment"), r.parameter("subject"),
                                  parse_role(json_text(body, "role")));
               return json_response(experiment_json(directory, r.parameter("experiment")));
             }));
  router.del("/api/v1/experiments/{experiment}/roles/{subject}",
             access.guard(Action::manage, "experiment", [&directory](const net::Request& r, const Principal&) {
               directory.set_role(r.parameter("experiment"), r.parameter("subject"), std::nullopt);
               return done();
             }));
}

void add_administration(net::Router& router, Access& access) {
  Issuer& issuer = access.issuer();
  Directory& directory = issuer.directory();
  const auto guarded = [&](Access::Handler handler) {
    return access.guard(std::string(kAdministration), std::move(handler));
  };
  router.get("/api/v1/users", guarded([&directory](const net::Request& r, const Principal&) {
               json list = json::array();
               for (const User& user : directory.users(after(r)))
                 list.push_back({{"id", user.id},
                                 {"name", user.name},
                                 {"administrator", user.administrator},
                                 {"disabled", user.disabled}});
               return json_response({{"users", list}});
             }));
  router.post("/api/v1/users", guarded([&directory](const net::Request& r, const Principal&) {
                const auto body = json_body(r, {"id", "name", "password", "administrator"});
                std::optional<std::string> password;
                if (body.contains("password")) password = json_text(body, "password");
                const bool administrator = body.contains("administrator") && body["administrator"] == true;
                directory.add_user(json_text(body, "id"), json_text(body, "name"), password, administrator);
                return created({{"id", body["id"]}, {"name", body["name"]}, {"administrator", administrator}});
              }));
  // Whoever loses his place or gets a new password is out everywhere, at once.
  router.put("/api/v1/users/{user}/password", guarded([&](const net::Request& r, const Principal&) {
               directory.set_password(r.parameter("user"), json_text(json_body(r, {"password"}), "password"));
               issuer.revoke_subject(user_subject(r.parameter("user")));
               return done();
             }));
  router.put("/api/v1/users/{user}/disabled", guarded([&](const net::Request& r, const Principal&) {
               const auto body = json_body(r, {"disabled"});
               if (!body.contains("disabled") || !body["disabled"].is_boolean())
                 throw Error(ErrorCode::invalid_argument, "field \"disabled\" must be true or false");
               directory.set_disabled(r.parameter("user"), body["disabled"].get<bool>());
               if (body["disabled"].get<bool>()) {
                 issuer.revoke_subject(user_subject(r.parameter("user")));
                 issuer.revoke_unpermitted();
               }
               return done();
             }));
  router.get("/api/v1/services", guarded([&directory](const net::Request& r, const Principal&) {
               json list = json::array();
               for (const Client& service : directory.services(after(r)))
                 list.push_back({{"client_id", service.id}, {"scopes", service.scopes}, {"actors", service.actors}});
               return json_response({{"services", list}});
             }));
  router.post("/api/v1/services", guarded([&directory](const net::Request& r, const Principal&) {
                const auto body = json_body(r, {"id", "scopes"});
                std::vector<std::string> scopes;
                if (!body.contains("scopes") || !body["scopes"].is_array())
                  throw Error(ErrorCode::invalid_argument, "field \"scopes\" must be a list of strings");
                for (const auto& scope : body["scopes"]) {
                  if (!scope.is_string())
                    throw Error(ErrorCode::invalid_argument, "field \"scopes\" must be a list of strings");
                  scopes.push_back(scope.get<std::string>());
                }
                const std::string id = json_text(body, "id"), secret = directory.add_service(id, scopes);
                return created({{"client_id", id}, {"client_secret", secret}});
              }));
  // What was obtained by the old secret ends with it.
  router.post("/api/v1/services/{service}/secret", guarded([&](const net::Request& r, const Principal&) {
                const std::string &id = r.parameter("service"), secret = directory.renew_secret(id);
                issuer.revoke_subject(service_subject(id));
                return json_response({{"client_id", id}, {"client_secret", secret}});
              }));
  router.del("/api/v1/services/{service}", guarded([&](const net::Request& r, const Principal&) {
               directory.remove_client(r.parameter("service"));
               issuer.revoke_subject(service_subject(r.parameter("service")));
               issuer.revoke_unpermitted();
               return done();
             }));
  router.put("/api/v1/services/{service}/actors/{subject}",
             guarded([&directory](const net::Request& r, const Principal&) {
               directory.set_actor(r.parameter("service"), r.parameter("subject"), true);
               return done();
             }));
  router.del("/api/v1/services/{service}/actors/{subject}", guarded([&](const net::Request& r, const Principal&) {
               directory.set_actor(r.parameter("service"), r.parameter("subject"), false);
               issuer.revoke_unpermitted();
               return done();
             }));
  router.get("/api/v1/groups", guarded([&directory](const net::Request& r, const Principal&) {
               json list = json::array();
               for (const auto& [id, members] : directory.groups_with_members(after(r)))
                 list.push_back({{"id", id}, {"members", members}});
               return json_response({{"groups", list}});
             }));
  router.post("/api/v1/groups", guarded([&directory](const net::Request& r, const Principal&) {
                const auto id = json_text(json_body(r, {"id"}), "id");
                directory.add_group(id);
                return created({{"id", id}});
              }));
  router.put("/api/v1/groups/{group}/members/{subject}", guarded([&directory](const net::Request& r, const Principal&) {
               directory.set_member(r.parameter("group"), r.parameter("subject"), true);
               return done();
             }));
  router.del("/api/v1/groups/{group}/members/{subject}", guarded([&](const net::Request& r, const Principal&) {
               directory.set_member(r.parameter("group"), r.parameter("subject"), false);
               issuer.revoke_unpermitted();
               return done();
             }));
  router.post("/api/v1/keys/rotate", guarded([&issuer](const net::Request&, const Principal&) {
                issuer.rotate_keys();
                return done();
              }));
}
}  // namespace

void add_rest_routes(net::Router& router, Access& access) {
  add_experiments(router, access);
  add_administration(router, access);
}

}  // namespace farfield::services::auth
