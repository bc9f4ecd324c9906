#pragma once
// For tests of this room only: a service with its issuer, and agents that trust it, each with its own folder.

#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "farfield/net/client.hpp"
#include "farfield/net/server.hpp"
#include "farfield/services/auth/http.hpp"
#include "farfield/services/auth/testing.hpp"
#include "farfield/services/transfer/agent/authority.hpp"
#include "farfield/services/transfer/rest.hpp"
#include "farfield/services/transfer/testing.hpp"

namespace farfield::services::transfer::testing {

inline const std::string kMine = "2026-1-Garcia-1", kOther = "2026-1-Other-2";

inline std::string text_of(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

/// An agent with a certificate of its own, which exports folder/<name>/<experiment>.
class TestAgent {
public:
  TestAgent(const std::filesystem::path& folder, auth::testing::IssuerFixture& issuer)
      : root(folder), identity_{folder / "agent.pem", folder / "agent.key"} {
    std::filesystem::create_directories(root / "data");
    net::make_self_signed(identity_, {"127.0.0.1"});
    start(issuer);
  }
  void start(auth::testing::IssuerFixture& issuer, std::uint16_t port = 0) {
    net::Router router;
    add_agent_routes(
        router, exported_folders({{}, root / "data"}),
        [this](auto&&... asked) { authorise(std::forward<decltype(asked)>(asked)...); },
        [this](auto&&... asked) { token_may_fetch (*verifier)(std::forward<decltype(asked)>(asked)...); });
    server = std::make_unique<net::Server>(
        net::ServerOptions{.port = port, .tls = identity_, .error_response = auth::json_error}, std::move(router));
    verifier = std::make_unique<auth::Verifier>(auth::VerifierRules{auth::testing::kIssuer, {server->origin()}, 0},
                                                issuer.clock());
    EXPECT_TRUE(verifier->set_keys(issuer.keys.jwks()));
    authorise = token_authority(*verifier, [] { return true; });
  }
  std::string certificate() const { return text_of(identity_.certificate); }
  std::filesystem::path operator/(const std::string& path) const { return root / "data" / path; }

  std::filesystem::path root;
  std::unique_ptr<auth::Verifier> verifier;
  Authorise authorise;
  std::unique_ptr<net::Server> server;

private:
  net::TlsIdentity identity_;
};

/// The service: SQLite, users and experiments as IssuerFixture has them, two agents registered as "beamline" and
/// "cluster".
class Federation {
public:
  explicit Federation(const TasksOptions& options = {})
      : beamline(folder / "beamline", make_issuer()), cluster(folder / "cluster", *issuer) {
    access = std::make_unique<auth::Access>(issuer->issuer);
    places = std::make_unique<Places>(*database, issuer->clock());
    audience = [this](const std::string& url) { return places->is_audience(url); };
    for (const auto& [name, agent] : {std::pair{"beamline", &beamline}, {"cluster", &cluster}})
      places->put({name, agent->server->origin(), agent->certificate(), "service:agent", 0, 0});
    tasks = std::make_unique<Tasks>(*database, place_resolver(*places, issuer->issuer), clock, options);
    net::Router router;
    auth::add_routes(router, *access);
    add_routes(router, *access, *tasks, *places);
    server = std::make_unique<net::Server>(net::ServerOptions{.error_response = auth::json_error}, std::move(router));
    client = std::make_unique<net::Client>(server->origin());
  }

  net::ClientResponse send(const std::string& method, const std::string& target, const std::string& token,
                           const std::string& body = "", const std::string& key = "") {
    net::ClientRequest request{.method = method, .target = target, .headers = {}, .body = body};
    if (!token.empty()) request.headers.set("Authorization", "Bearer " + token);
    if (!key.empty()) request.headers.set("Idempotency-Key", key);
    return client->send(request);
  }
  nlohmann::json ok(const net::ClientResponse& response) {
    EXPECT_TRUE(response.ok()) << response.status << " " << response.body;
    return nlohmann::json::parse(response.body, nullptr, false);
  }

  TemporaryFolder folder;
  core::SteadyClock clock;
  std::unique_ptr<store::Database> database;
  std::function<bool(const std::string&)> audience;
  std::unique_ptr<auth::testing::IssuerFixture> issuer;
  TestAgent beamline, cluster;
  std::unique_ptr<auth::Access> access;
  std::unique_ptr<Places> places;
  std::unique_ptr<Tasks> tasks;
  std::unique_ptr<net::Server> server;
  std::unique_ptr<net::Client> client;

private:
  auth::testing::IssuerFixture& make_issuer() {
    database = store::Database::open("sqlite:" + (folder / "service.db").string());
    issuer = std::make_unique<auth::testing::IssuerFixture>(
        *database, (folder / "keys").string(), [this](const std::string& url) { return audience && audience(url); });
    return *issuer;
  }
};

}  // namespace farfield::services::transfer::testing
