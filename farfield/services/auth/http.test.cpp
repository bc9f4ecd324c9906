// The issuer as programs and browsers see it, over the loopback interface, and attacks by way of HTTP.

#include "farfield/services/auth/http.hpp"

#include <nlohmann/json.hpp>
#include <thread>

#include "farfield/net/client.hpp"
#include "farfield/net/server.hpp"
#include "farfield/services/auth/testing.hpp"
#include "farfield/services/auth/trust.hpp"

namespace farfield::services::auth {
namespace {
using core::Error;
using core::ErrorCode;
using nlohmann::json;
using ::testing::HasSubstr;
using testing::IssuerFixture;
using ::testing::Not;
using ::testing::StartsWith;

class Http : public ::testing::Test {
protected:
  Http() {
    core::set_log_sink(log);
    database_.prepare("sqlite");
    database = database_.open();
    f = std::make_unique<IssuerFixture>(*database, (keys.path() / "keys").string());
    f->directory.set_password("garcia", "correct horse");
    access = std::make_unique<Access>(f->issuer);
    net::Router router;
    add_routes(router, *access);
    server = std::make_unique<net::Server>(net::ServerOptions{.error_response = json_error}, std::move(router));
    client = std::make_unique<net::Client>(server->origin());
  }
  ~Http() override { core::set_log_sink(nullptr); }

  net::ClientResponse form(const std::string& target, const net::QueryFields& fields, net::Headers headers = {}) {
    headers.add("Content-Type", "application/x-www-form-urlencoded");
    return client->send({.method = "POST", .target = target, .headers = headers, .body = net::format_query(fields)});
  }
  net::ClientResponse call(const std::string& method, const std::string& target, const std::string& token,
                           const json& body = nullptr) {
    net::ClientRequest request{.method = method, .target = target};
    if (!token.empty()) request.headers.add("Authorization", "Bearer " + token);
    if (!body.is_null()) request.body = body.dump();
    return client->send(request);
  }
  static std::string error_of(const net::ClientResponse& response) {
    const auto body = json::parse(response.body, nullptr, false);
    return body.is_object() && body.contains("error") && body["error"].is_string() ? body["error"].get<std::string>()
                                                                                   : response.body;
  }
  std::string basic(const std::string& both) {
    // EVP_EncodeBlock of OpenSSL would do; this is shorter than its set-up.
    static const char* kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string out;
    for (std::size_t i = 0; i < both.size(); i += 3) {
      unsigned v = 0;
      for (std::size_t j = 0; j < 3; ++j)
        v = v << 8 | (i + j < both.size() ? static_cast<unsigned char>(both[i + j]) : 0U);
      for (std::size_t j = 0; j < 4; ++j) out += i + j > both.size() ? '=' : kDigits[v >> (18 - 6 * j) & 63];
    }
    return "Basic " + out;
  }
  std::string token(const std::string& user, const std::string& scope = "farfield") {
    return f->log_in(user, scope).access;
  }

  std::shared_ptr<testing::LogKeeper> log = std::make_shared<testing::LogKeeper>();
  store::testing::TestDatabase database_;
  store::testing::TemporaryFolder keys;
  std::unique_ptr<store::Database> database;
  std::unique_ptr<IssuerFixture> f;
  std::unique_ptr<Access> access;
  std::unique_ptr<net::Server> server;
  std::unique_ptr<net::Client> client;
};

TEST_F(Http, ADeviceLogsIn) {
  const auto begun =
      json::parse(form("/oauth/device_authorization", {{"client_id", "cli"}, {"scope", "farfield"}}).body);
  const std::string code = begun["device_code"], user_code = begun["user_code"];
  EXPECT_EQ(begun["verification_uri"], std::string(testing::kIssuer) + "/device");
  const net::QueryFields poll{
      {"grant_type", "urn:ietf:params:oauth:grant-type:device_code"}, {"client_id", "cli"}, {"device_code", code}};
  EXPECT_EQ(error_of(form("/oauth/token", poll)), "authorization_pending");
  const auto page = client->send({.target = "/device?code=" + user_code});
  EXPECT_EQ(page.status, 200);
  EXPECT_THAT(page.body, HasSubstr("<b>cli</b> asks for: farfield"));
  EXPECT_EQ(
      form("/device", {{"code", user_code}, {"user", "garcia"}, {"password", "wrong"}, {"decision", "approve"}}).status,
      403);
  EXPECT_EQ(
      form("/device", {{"code", user_code}, {"user", "garcia"}, {"password", "correct horse"}, {"decision", "approve"}})
          .status,
      200);
  f->now_s += 20;
  const auto response = form("/oauth/token", poll);
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(*response.headers.find("Cache-Control"), "no-store");
  const auto tokens = json::parse(response.body);
  EXPECT_EQ(json::parse(call("GET", "/api/v1/whoami", tokens["access_token"]).body)["subject"], "user:garcia");
  const auto fresh =
      form("/oauth/token",
           {{"grant_type", "refresh_token"}, {"client_id", "cli"}, {"refresh_token", tokens["refresh_token"]}});
  EXPECT_EQ(fresh.status, 200);
  EXPECT_EQ(form("/device", {{"code", "XXXX-XXXX"}, {"decision", "deny"}}).status, 404);
  EXPECT_THAT(log->all(), Not(HasSubstr("correct horse")));
  EXPECT_THAT(log->all(), Not(HasSubstr(tokens["access_token"].get<std::string>().substr(0, 30))));
}

TEST_F(Http, ABrowserLogsInWithPkce) {
  const net::QueryFields ask{{"response_type", "code"},
                             {"client_id", "portal"},
                             {"redirect_uri", testing::kRedirect},
                             {"scope", "farfield"},
                             {"state", "s&1"},
                             {"code_challenge", pkce_challenge(testing::kVerifier)},
                             {"code_challenge_method", "S256"}};
  const auto page = client->send({.target = "/oauth/authorize?" + net::format_query(ask)});
  EXPECT_EQ(page.status, 200);
  EXPECT_THAT(*page.headers.find("Content-Security-Policy"), HasSubstr("frame-ancestors 'none'"));
  EXPECT_THAT(page.body, HasSubstr("value=\"s&amp;1\""));
  auto decide = ask;
  decide.insert(decide.end(), {{"user", "garcia"}, {"password", "correct horse"}, {"decision", "approve"}});
  const auto back = form("/oauth/authorize", decide);
  ASSERT_EQ(back.status, 303);
  const std::string location = *back.headers.find("Location");
  ASSERT_THAT(location, StartsWith(std::string(testing::kRedirect) + "?code="));
  const auto fields = net::parse_query(location.substr(location.find('?') + 1)).value();
  EXPECT_EQ(fields[1], (std::pair<std::string, std::string>("state", "s&1")));
  EXPECT_EQ(fields[2], (std::pair<std::string, std::string>("iss", testing::kIssuer)));
  const auto tokens = form("/oauth/token", {{"grant_type", "authorization_code"},
                                            {"client_id", "portal"},
                                            {"code", fields[0].second},
                                            {"redirect_uri", testing::kRedirect},
                                            {"code_verifier", testing::kVerifier}});
  EXPECT_EQ(tokens.status, 200);
}

TEST_F(Http, NothingIsRedirectedToStrangers) {
  const auto ask = [&](net::QueryFields change) {
    net::QueryFields fields{{"response_type", "code"},
                            {"client_id", "portal"},
                            {"redirect_uri", testing::kRedirect},
                            {"scope", "farfield"},
                            {"code_challenge", pkce_challenge(testing::kVerifier)},
                            {"code_challenge_method", "S256"}};
    for (const auto& [name, value] : change)
      for (auto& [known, old] : fields)
        if (known == name) old = value;
    return client->send({.target = "/oauth/authorize?" + net::format_query(fields)});
  };
  for (const auto* uri : {"https://evil.test/", "https://portal.test/callback@evil.test", "javascript:alert(1)", ""}) {
    const auto response = ask({{"redirect_uri", uri}});
    EXPECT_EQ(response.status, 400) << uri;
    EXPECT_EQ(response.headers.find("Location"), nullptr);
  }
  EXPECT_EQ(ask({{"client_id", "<script>alert(1)</script>"}}).status, 400);
  EXPECT_THAT(ask({{"client_id", "<script>alert(1)</script>"}}).body, Not(HasSubstr("<script>")));
  EXPECT_THAT(ask({{"scope", "<script>"}}).body, Not(HasSubstr("<script>")));
  // What is wrong with a request of the portal's own goes back to the portal.
  for (const auto& [name, value, error] : {std::tuple("code_challenge", "", "invalid_request"),
                                           {"code_challenge_method", "plain", "invalid_request"},
                                           {"code_challenge_method", "", "invalid_request"},
                                           {"response_type", "token", "unsupported_response_type"},
                                           {"scope", "read:/experiments/..", "invalid_scope"}}) {
    const auto response = ask({{name, value}});
    ASSERT_EQ(response.status, 303) << name;
    EXPECT_THAT(*response.headers.find("Location"), HasSubstr(std::string("error=") + error));
  }
}

TEST_F(Http, ClientsProveWhoTheyAre) {
  const auto ask = [&](net::QueryFields fields, net::Headers headers = {}) {
    fields.insert(fields.begin(), {"grant_type", "client_credentials"});
    return form("/oauth/token", fields, headers);
  };
  EXPECT_EQ(ask({{"client_id", "agent"}, {"client_secret", f->secret}, {"scope", "transfer.agent"}}).status, 200);
  EXPECT_EQ(ask({{"scope", "transfer.agent"}}, {{"Authorization", basic("agent:" + f->secret)}}).status, 200);
  for (const auto& response :
       {ask({{"client_id", "agent"}}), ask({{"client_id", "agent"}, {"client_secret", "wrong"}}),
        ask({{"client_id", "nobody"}}), ask({{"client_id", "cli"}, {"client_secret", "x"}}), ask({}),
        ask({}, {{"Authorization", basic("agent:wrong")}}), ask({}, {{"Authorization", basic("agent")}}),
        ask({}, {{"Authorization", "Basic !!!"}}),
        ask({{"client_id", "cli"}}, {{"Authorization", basic("agent:" + f->secret)}}),
        ask({{"client_id", "agent"}, {"client_secret", f->secret}}, {{"Authorization", basic("agent:" + f->secret)}}),
        ask({{"client_id", "agent' OR 1=1 --"}, {"client_secret", "x"}})}) {
    EXPECT_EQ(response.status, 401);
    EXPECT_EQ(error_of(response), "invalid_client");
  }
  EXPECT_EQ(error_of(ask({{"client_id", "cli"}})), "unauthorized_client");
}

TEST_F(Http, FormsAreRead) {
  EXPECT_EQ(error_of(form("/oauth/token", {{"client_id", "cli"}, {"grant_type", "password"}})),
            "unsupported_grant_type");
  EXPECT_EQ(error_of(form("/oauth/token", {{"client_id", "cli"}})), "invalid_request");
  EXPECT_EQ(error_of(form("/oauth/token", {{"client_id", "cli"}, {"client_id", "agent"}})), "invalid_request");
  EXPECT_EQ(error_of(form("/oauth/token", {{"client_id", "cli"},
                                           {"grant_type", "refresh_token"},
                                           {"refresh_token", "x"},
                                           {"audience", "https://evil.test"}})),
            "invalid_target");
  EXPECT_EQ(client->send({.method = "POST", .target = "/oauth/token", .body = "{}"}).status, 400);
  EXPECT_EQ(client->send({.target = "/oauth/token"}).status, 405);
}

TEST_F(Http, IntrospectionIsForServicesOnly) {
  const auto good = token("garcia");
  const auto ask = [&](const std::string& t, const std::string& secret) {
    return form("/oauth/introspect", {{"client_id", "agent"}, {"client_secret", secret}, {"token", t}});
  };
  const auto found = json::parse(ask(good, f->secret).body);
  EXPECT_EQ(found["active"], true);
  EXPECT_EQ(found["sub"], "user:garcia");
  EXPECT_EQ(json::parse(ask("made.up.token", f->secret).body), (json{{"active", false}}));
  EXPECT_EQ(ask(good, "wrong").status, 401);
  EXPECT_EQ(form("/oauth/introspect", {{"client_id", "cli"}, {"token", good}}).status, 401);
  EXPECT_EQ(form("/oauth/revoke", {{"client_id", "cli"}, {"token", good}}).status, 200);
  EXPECT_EQ(json::parse(ask(good, f->secret).body), (json{{"active", false}}));
  EXPECT_EQ(call("GET", "/api/v1/whoami", good).status, 401);
}

TEST_F(Http, EveryRouteIsClosedToThoseWithoutAToken) {
  net::Router router;
  add_rest_routes(router, *access);
  for (const auto& route : router.routes()) {
    std::string target = route.pattern;
    for (std::size_t at; (at = target.find('{')) != std::string::npos;)
      target.replace(at, target.find('}') - at + 1, "2026-1-Garcia-1");
    for (const auto* bad : {"", "x", "a.b.c"}) {
      const auto response = call(route.method, target, bad, route.method == "GET" ? json() : json::object());
      EXPECT_EQ(response.status, 401) << route.method << " " << route.pattern;
      EXPECT_THAT(*response.headers.find("WWW-Authenticate"), StartsWith("Bearer"));
    }
    // A token that may do nothing at all.
    const auto empty = call(route.method, target, token("garcia", ""), route.method == "GET" ? json() : json::object());
    EXPECT_EQ(empty.status, route.pattern == "/api/v1/whoami" ? 200 : 403) << route.method << " " << route.pattern;
  }
  EXPECT_EQ(
      client->send({.target = "/api/v1/whoami", .headers = {{"Authorization", basic("agent:" + f->secret)}}}).status,
      401);
  EXPECT_EQ(client->send({.target = "/api/v1/whoami?access_token=" + token("garcia")}).status, 401);  // not in a URL
}

TEST_F(Http, ForeignExperimentsStayClosed) {
  const auto lee = token("lee"), garcia = token("garcia"),
             narrow = token("garcia", "read:/experiments/2026-1-Garcia-1/raw");
  const std::string mine = "/api/v1/experiments/2026-1-Garcia-1", other = "/api/v1/experiments/2026-1-Other-2";
  EXPECT_EQ(call("GET", mine, lee).status, 200);
  EXPECT_EQ(call("GET", mine, garcia).status, 200);
  EXPECT_EQ(call("GET", mine, narrow).status, 403);  // part of it is not all of it
  EXPECT_EQ(call("GET", other, lee).status, 403);
  EXPECT_EQ(call("GET", other, garcia).status, 403);
  EXPECT_EQ(call("GET", "/api/v1/experiments/2026-1-Nowhere", garcia).status, 403);  // does not tell what exists
  EXPECT_EQ(call("GET", "/api/v1/experiments/%2e%2e", garcia).status, 400);
  EXPECT_EQ(call("GET", "/api/v1/experiments/a%27%20OR%201=1", garcia).status, 400);
  EXPECT_EQ(call("PUT", mine + "/roles/user:lee", lee, {{"role", "owner"}}).status, 403);
  EXPECT_EQ(call("PUT", mine + "/roles/user:lee", garcia, {{"role", "member"}}).status, 200);
  EXPECT_EQ(call("PUT", mine + "/roles/user:lee", garcia, {{"role", "king"}}).status, 400);
  EXPECT_EQ(call("PUT", mine + "/roles/user:lee", garcia, {{"role", "member"}, {"x", 1}}).status, 400);
  EXPECT_EQ(call("DELETE", mine + "/roles/user:garcia", garcia).status, 409);  // the last owner
  EXPECT_EQ(call("DELETE", mine + "/roles/user:lee", garcia).status, 204);
  EXPECT_EQ(call("GET", mine, lee).status, 403);  // at once, with the token he has
  const auto list = json::parse(call("GET", "/api/v1/experiments", garcia).body)["experiments"];
  EXPECT_EQ(list, (json{{{"id", "2026-1-Garcia-1"}, {"role", "owner"}}}));
  EXPECT_THAT(log->all(),
              HasSubstr("access decision=denied subject=user:lee client=cli scope=read:/experiments/2026-1-Other-2"));
  EXPECT_THAT(log->all(),
              HasSubstr("access decision=allowed subject=user:lee client=cli scope=read:/experiments/2026-1-Garcia-1"));
}

TEST_F(Http, AdministrationIsForAdministrators) {
  const auto admin = token("other"), plain = token("garcia");
  EXPECT_EQ(call("POST", "/api/v1/users", plain, {{"id", "x"}, {"name", "X"}}).status, 403);
  EXPECT_EQ(
      call("POST", "/api/v1/users", token("other", "read:/experiments/2026-1-Other-2"), {{"id", "x"}, {"name", "X"}})
          .status,
      403);
  EXPECT_EQ(call("POST", "/api/v1/users", admin, {{"id", "x"}, {"name", "X"}, {"password", "12345678"}}).status, 201);
  EXPECT_EQ(call("POST", "/api/v1/users", admin, {{"id", "x"}, {"name", "X"}}).status, 409);
  EXPECT_EQ(call("POST", "/api/v1/users", admin, {{"id", "X Y"}, {"name", "X"}}).status, 400);
  EXPECT_EQ(call("POST", "/api/v1/experiments", admin, {{"id", "2026-2-X-1"}, {"owner", "user:x"}}).status, 201);
  EXPECT_EQ(call("POST", "/api/v1/groups", admin, {{"id", "g"}}).status, 201);
  EXPECT_EQ(call("PUT", "/api/v1/groups/g/members/user:x", admin, json::object()).status, 204);
  EXPECT_EQ(json::parse(call("GET", "/api/v1/groups", admin).body)["groups"].back(),
            (json{{"id", "g"}, {"members", {"user:x"}}}));
  EXPECT_EQ(call("DELETE", "/api/v1/groups/g/members/user:x", admin).status, 204);
  EXPECT_EQ(json::parse(call("GET", "/api/v1/groups?after=f", admin).body)["groups"],
            (json{{{"id", "g"}, {"members", json::array()}}}));
  for (const char* list : {"/api/v1/users", "/api/v1/groups", "/api/v1/services"})
    EXPECT_EQ(call("GET", list, plain).status, 403);
  EXPECT_THAT(call("GET", "/api/v1/users?after=w", admin).body, HasSubstr(R"("id":"x")"));
  const auto service =
      json::parse(call("POST", "/api/v1/services", admin, {{"id", "ep"}, {"scopes", {"compute.endpoint"}}}).body);
  EXPECT_EQ(form("/oauth/token", {{"grant_type", "client_credentials"},
                                  {"client_id", "ep"},
                                  {"client_secret", service["client_secret"]},
                                  {"scope", "compute.endpoint"}})
                .status,
            200);
  EXPECT_THAT(call("GET", "/api/v1/services", admin).body,
              HasSubstr(R"({"actors":[],"client_id":"ep","scopes":["compute.endpoint"]})"));
  EXPECT_THAT(call("GET", "/api/v1/services", admin).body, Not(HasSubstr("secret")));
  const auto ask = [&](const std::string& secret) {
    return form("/oauth/token", {{"grant_type", "client_credentials"},
                                 {"client_id", "ep"},
                                 {"client_secret", secret},
                                 {"scope", "compute.endpoint"}});
  };
  const std::string before = json::parse(ask(service["client_secret"]).body)["access_token"];
  EXPECT_EQ(call("POST", "/api/v1/services/ep/secret", plain).status, 403);
  const auto renewed = json::parse(call("POST", "/api/v1/services/ep/secret", admin).body);
  EXPECT_EQ(ask(service["client_secret"]).status, 401);
  EXPECT_EQ(call("GET", "/api/v1/whoami", before).status, 401);
  EXPECT_EQ(ask(renewed["client_secret"]).status, 200);
  EXPECT_EQ(call("POST", "/api/v1/services/nobody/secret", admin).status, 404);
  EXPECT_EQ(call("DELETE", "/api/v1/services/ep", admin).status, 204);
  EXPECT_EQ(call("PUT", "/api/v1/users/garcia/disabled", admin, {{"disabled", true}}).status, 204);
  EXPECT_EQ(call("GET", "/api/v1/whoami", plain).status, 401);  // out at once
  EXPECT_EQ(call("POST", "/api/v1/keys/rotate", admin, json::object()).status, 204);
  EXPECT_EQ(call("GET", "/api/v1/whoami", admin).status, 200);
}

TEST_F(Http, RevocationsReachThoseWhoFollow) {
  Verifier far({testing::kIssuer, {testing::kIssuer}}, f->clock());
  const auto before = f->log_in("lee"), tokens = f->log_in("garcia");
  f->issuer.revoke("cli", before.refresh);
  TrustFeed feed(server->origin(), [&] { return f->issuer.client_tokens("agent", "").access; }, far, {.retry_s = 0.05});
  ASSERT_TRUE(feed.wait_connected(20));
  EXPECT_FALSE(far.verify(before.access));
  EXPECT_TRUE(far.verify(tokens.access));
  std::mutex mutex;
  std::condition_variable heard;
  bool revoked = false;
  const auto listening = far.revocations().listen([&](const RevocationList::Entry&) {
    const std::lock_guard lock(mutex);
    revoked = true;
    heard.notify_all();
  });
  f->issuer.revoke("cli", tokens.refresh);
  std::unique_lock lock(mutex);
  // The promise is less than a second; how long a loaded machine takes is not this test's matter.
  ASSERT_TRUE(heard.wait_for(lock, std::chrono::seconds(20), [&] { return revoked; }));
  EXPECT_FALSE(far.verify(tokens.access));
  lock.unlock();

  // The service goes and comes back: what was revoked meanwhile arrives.
  const auto port = server->port();
  const auto later = f->log_in("garcia");
  server->stop(0);
  f->issuer.revoke("cli", later.refresh);
  EXPECT_TRUE(far.verify(later.access));
  net::Router router;
  add_routes(router, *access);
  server =
      std::make_unique<net::Server>(net::ServerOptions{.port = port, .error_response = json_error}, std::move(router));
  for (int i = 0; i < 2000 && far.verify(later.access); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_FALSE(far.verify(later.access));
}

TEST_F(Http, StrangersDoNotFollowRevocations) {
  EXPECT_EQ(call("GET", "/oauth/revocations", "").status, 401);
  EXPECT_EQ(json::parse(call("GET", "/oauth/jwks", "").body)["keys"].size(), 1U);
  EXPECT_THAT(call("GET", "/oauth/jwks", "").body, Not(HasSubstr("\"d\"")));
  const auto metadata = json::parse(call("GET", "/.well-known/openid-configuration", "").body);
  EXPECT_EQ(metadata["jwks_uri"], std::string(testing::kIssuer) + "/oauth/jwks");
  EXPECT_EQ(metadata, json::parse(call("GET", "/.well-known/oauth-authorization-server", "").body));
}

TEST_F(Http, WhoActsAsAnIdentityIsForAdministrators) {
  const std::string admin = token("other", "farfield admin"), garcia = token("garcia");
  const std::string place = "/api/v1/services/agent/actors/user:garcia";
  EXPECT_EQ(call("PUT", place, garcia).status, 403);
  EXPECT_EQ(call("PUT", place, admin).status, 204);
  EXPECT_EQ(call("PUT", "/api/v1/services/nobody/actors/user:garcia", admin).status, 404);
  EXPECT_EQ(call("PUT", "/api/v1/services/agent/actors/garcia", admin).status, 400);
  EXPECT_EQ(json::parse(call("GET", "/api/v1/services", admin).body)["services"][0]["actors"],
            json::array({"user:garcia"}));
  const std::string grant = f->issuer.impersonate({"service:agent", "user:garcia", "user:garcia"}, "cli", 3600);
  const std::string acting = f->issuer.mint(grant, "read:/experiments/2026-1-Garcia-1");
  EXPECT_EQ(call("GET", "/api/v1/experiments/2026-1-Garcia-1", acting).status, 200);
  EXPECT_THAT(log->all(), HasSubstr("access decision=allowed subject=service:agent client=cli "
                                    "scope=read:/experiments/2026-1-Garcia-1 where=GET "
                                    "/api/v1/experiments/{experiment} on_behalf_of=user:garcia\n"));
  EXPECT_EQ(call("DELETE", place, garcia).status, 403);
  EXPECT_EQ(call("DELETE", place, admin).status, 204);
  EXPECT_EQ(call("GET", "/api/v1/experiments/2026-1-Garcia-1", acting).status, 401);
}
}  // namespace
}  // namespace farfield::services::auth
