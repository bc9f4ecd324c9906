// The data side as a daemon, at a service that is a stranger's but for its issuer and its places.

#include "apps/farfield/agent.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#include <fstream>
#include <sstream>

#include "farfield/core/testing.hpp"
#include "farfield/net/server.hpp"
#include "farfield/services/auth/http.hpp"
#include "farfield/services/auth/secret.hpp"
#include "farfield/services/transfer/agent/agent.hpp"
#include "farfield/services/transfer/rest.hpp"

namespace farfield::apps {
namespace {
namespace auth = services::auth;
namespace fs = std::filesystem;
namespace transfer = services::transfer;
using core::Error;
using core::ErrorCode;

constexpr const char* kExperiment = "2026-1-Garcia-1";

std::string contents(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

/// The same certificate, signed anew as one that has ended yesterday.
void let_expire(const net::TlsIdentity& files) {
  const auto closed = [](std::FILE* file) {
    return std::unique_ptr<std::FILE, int (*)(std::FILE*)>(file, std::fclose);
  };
  X509* certificate =
      PEM_read_X509(closed(std::fopen(files.certificate.c_str(), "r")).get(), nullptr, nullptr, nullptr);
  EVP_PKEY* key = PEM_read_PrivateKey(closed(std::fopen(files.key.c_str(), "r")).get(), nullptr, nullptr, nullptr);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -172800);
  X509_gmtime_adj(X509_getm_notAfter(certificate), -86400);
  ASSERT_GT(X509_sign(certificate, key, EVP_sha256()), 0);
  PEM_write_X509(closed(std::fopen(files.certificate.c_str(), "w")).get(), certificate);
  X509_free(certificate);
  EVP_PKEY_free(key);
}

/// Issuer and places on SQLite, over TLS.
class AgentDaemon : public ::testing::Test {
protected:
  AgentDaemon() {
    net::make_self_signed(tls, {"127.0.0.1"});
    issuer.directory().add_user("garcia", "Garcia", std::nullopt);
    issuer.directory().create_experiment(kExperiment, "user:garcia");
    const std::string secret = issuer.directory().add_service("dtn", {transfer::kAgentScope});
    std::ofstream(folder / "secret") << secret << '\n';
    fs::permissions(folder / "secret", fs::perms::owner_read | fs::perms::owner_write);
    fs::create_directories(folder / "data");
    start();
    options.service = server->origin();
    options.authority = tls.certificate;
    options.issuer = "https://farfield.test";
    options.identity = "dtn";
    options.secret_file = folder / "secret";
    options.root = folder / "data";
    options.folder = folder / "agent";
    options.port = 0;
  }
  void start(std::uint16_t port = 0) {
    net::Router router;
    auth::add_routes(router, access);
    transfer::add_routes(router, access, tasks, places);
    server = std::make_unique<net::Server>(
        net::ServerOptions{.port = port, .tls = tls, .error_response = auth::json_error}, std::move(router));
  }
  /// What a transfer for garcia would use.
  std::unique_ptr<transfer::Provider> place(const std::string& grant, const std::string& name = "dtn") {
    const auto record = places.find(name);
    if (!record) throw Error(ErrorCode::not_found, "no such place");
    transfer::AgentPlace agent{record->url, kExperiment, {}, {}};
    agent.token = [this, grant, url = record->url] { return issuer.mint(grant, "", url); };
    agent.client.trust.pem = record->certificate;
    return transfer::agent_provider(std::move(agent));
  }
  std::string grant() {
    const std::string scope = std::string("read:/experiments/") + kExperiment + " write:/experiments/" + kExperiment;
    return issuer.delegate("user:garcia", "cli", scope, 3600);
  }
  template <class F>
  static ErrorCode code_of(F act) {
    try {
      act();
    } catch (const Error& e) {
      return e.code();
    }
    return ErrorCode::internal;
  }

  core::testing::TemporaryFolder folder;
  net::TlsIdentity tls{folder / "service.pem", folder / "service.key"};
  std::unique_ptr<store::Database> database = store::Database::open("sqlite:" + (folder / "service.db").string());
  auth::Directory directory{*database, auth::system_unix_time};
  auth::KeyRing keys{folder / "keys", auth::system_unix_time};
  transfer::Places places{*database, auth::system_unix_time};
  auth::Issuer issuer{directory,
                      keys,
                      {.issuer = "https://farfield.test",
                       .also_audience = [this](const std::string& url) { return places.is_audience(url); }},
                      auth::system_unix_time};
  auth::Access access{issuer};
  core::SteadyClock clock;
  transfer::Tasks tasks{*database, transfer::place_resolver(places, issuer), clock};
  std::unique_ptr<net::Server> server;
  AgentOptions options;
};

TEST_F(AgentDaemon, RegistersServesAndHearsOfRevocations) {
  const Agent agent(options);
  ASSERT_TRUE(agent.wait_ready(20));
  EXPECT_EQ(agent.url(), agent.origin());
  struct stat status{};
  ASSERT_EQ(::stat((folder / "agent/certificate.key").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
  EXPECT_EQ(places.find("dtn")->certificate, contents(folder / "agent/certificate.pem"));
  EXPECT_EQ(places.find("dtn")->owner, "service:dtn");

  const std::string id = grant();
  const auto dtn = place(id);
  dtn->make_folder("input");  // the experiment's folder is made, too
  EXPECT_TRUE(fs::is_directory(folder / "data" / kExperiment / "input"));
  EXPECT_TRUE(dtn->stat("input"));
  issuer.revoke_grant(id);
  const auto shown = places.find("dtn");
  // A token from before: it is refused when the push has arrived. That this takes less than a second is for
  // benchmarks; here it is not until the token ends.
  const std::string other = grant();
  std::string token = issuer.mint(other, "", shown->url);
  transfer::AgentPlace with_token{shown->url, kExperiment, [token] { return token; }, {}};
  with_token.client.trust.pem = shown->certificate;
  const auto client = transfer::agent_provider(std::move(with_token));
  EXPECT_TRUE(client->stat("input"));
  issuer.revoke_grant(other);
  ErrorCode code = ErrorCode::internal;
  for (int i = 0; i < 2000 && code == ErrorCode::internal; ++i) {
    code = code_of([&] { client->stat("input"); });
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_EQ(code, ErrorCode::unauthenticated);
}

TEST_F(AgentDaemon, NamedExportsAndNothingElse) {
  fs::create_directories(folder / "elsewhere");
  std::ofstream(folder / "elsewhere/scan") << "content";
  options.root.clear();
  options.exports = std::string(kExperiment) + "=" + (folder / "elsewhere").string();
  options.name = "beamline";
  const Agent agent(options);
  ASSERT_TRUE(agent.wait_ready(20));
  EXPECT_EQ(place(grant(), "beamline")->stat("scan")->version.size_bytes, 7);
  issuer.directory().create_experiment("2026-1-Garcia-2", "user:garcia");
  const std::string other = issuer.delegate("user:garcia", "cli", "write:/experiments/2026-1-Garcia-2", 600);
  transfer::AgentPlace at{agent.url(), "2026-1-Garcia-2", {}, {}};
  at.token = [&] { return issuer.mint(other, "", agent.url()); };
  at.client.trust.pem = places.find("beamline")->certificate;
  EXPECT_EQ(code_of([&] { transfer::agent_provider(at)->make_folder("x"); }), ErrorCode::not_found);
}

TEST_F(AgentDaemon, AServiceThatIsAwayIsWaitedForAndItsTokensStayGood) {
  const std::uint16_t port = server->port();
  server.reset();
  const Agent agent(options);
  EXPECT_FALSE(agent.wait_ready(0.1));
  // Nobody's token can be judged yet: come again.
  const std::string pem = contents(folder / "agent/certificate.pem");
  transfer::AgentPlace early{agent.url(), kExperiment, [] { return "token"; }, {}};
  early.client.trust.pem = pem;
  EXPECT_EQ(code_of([&] { transfer::agent_provider(early)->stat("x"); }), ErrorCode::unavailable);
  start(port);
  ASSERT_TRUE(agent.wait_ready(30));
  const auto dtn = place(grant());
  dtn->make_folder("input");
  server.reset();  // the keys are known: no need to ask
  EXPECT_TRUE(dtn->stat("input"));
}

TEST_F(AgentDaemon, AnExpiredCertificateIsWaitedForAndMadeAnew) {
  const Agent agent(options);
  ASSERT_TRUE(agent.wait_ready(20));
  const auto record = *places.find("dtn");
  // One that ended yesterday, as another agent would show it.
  core::testing::TemporaryFolder old;
  const net::TlsIdentity expired{old / "certificate.pem", old / "certificate.key"};
  net::make_self_signed(expired, {"127.0.0.1"});
  let_expire(expired);
  const net::Server stale({.tls = expired}, net::Router());
  transfer::AgentPlace at{stale.origin(), kExperiment, [] { return "token"; }, {}};
  at.client.trust.pem = contents(expired.certificate);
  EXPECT_EQ(code_of([&] { transfer::agent_provider(at)->stat("x"); }), ErrorCode::unavailable);
  // An agent that finds such a certificate in its folder makes another one and tells the service.
  options.folder = old.path();
  options.name = "again";
  const Agent renewed(options);
  ASSERT_TRUE(renewed.wait_ready(20));
  EXPECT_GT(net::read_certificate(expired.certificate).days_left, 100);
  place(grant(), "again")->make_folder("x");
  EXPECT_EQ(places.find("dtn")->certificate, record.certificate);
}

TEST_F(AgentDaemon, RefusesWhatMakesNoSense) {
  const auto refused = [&](const std::function<void(AgentOptions&)>& change) {
    AgentOptions changed = options;
    change(changed);
    return code_of([&] { const Agent agent(changed); });
  };
  EXPECT_EQ(refused([](AgentOptions& o) { o.service.clear(); }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](AgentOptions& o) { o.service = "http://127.0.0.1:1"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](AgentOptions& o) { o.identity.clear(); }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](AgentOptions& o) { o.root.clear(); }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](AgentOptions& o) { o.root += "/nowhere"; }), ErrorCode::not_found);
  EXPECT_EQ(refused([](AgentOptions& o) { o.exports = "x"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](AgentOptions& o) { o.exports = "../x=/tmp"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](AgentOptions& o) { o.name = "A place"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](AgentOptions& o) { o.certificate = "x.pem"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](AgentOptions& o) { o.secret_file += ".no"; }), ErrorCode::not_found);
  fs::permissions(folder / "secret", fs::perms::owner_all | fs::perms::group_read);
  EXPECT_EQ(refused([](AgentOptions&) {}), ErrorCode::forbidden);
}

}  // namespace
}  // namespace farfield::apps
