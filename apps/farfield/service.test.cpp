// The service host as a whole: what a first start makes, logging in from the command line, and the REST interface as
// api/openapi.yaml has it.

#include "apps/farfield/service.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "apps/farfield/credentials.hpp"
#include "farfield/net/client.hpp"
#include "farfield/services/auth/http.hpp"

namespace farfield::apps {
namespace {
namespace fs = std::filesystem;
using core::Error;
using core::ErrorCode;
using ::testing::HasSubstr;

std::string contents(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

unsigned mode(const fs::path& path) {
  struct stat status{};
  EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
  return status.st_mode & 0777U;
}

class ServiceHost : public ::testing::Test {
protected:
  ServiceHost() {
    std::string name = ::testing::TempDir() + "farfield_service_XXXXXX";
    folder = ::mkdtemp(name.data());
    options.folder = (folder / "state").string();
    options.port = 0;
    options.issuer = "https://farfield.test";
    options.requests_per_s = 0;
  }
  ~ServiceHost() override { fs::remove_all(folder); }
  fs::path folder;
  ServeOptions options;
};

TEST_F(ServiceHost, FirstStartMakesWhatIsMissingAndTheSecondKeepsIt) {
  std::string password, certificate;
  {
    Service service(options);
    EXPECT_EQ(mode(options.folder), 0700U);
    EXPECT_EQ(mode(service.first_password()), 0600U);
    EXPECT_EQ(mode(folder / "state/certificate.key"), 0600U);
    EXPECT_EQ(mode(folder / "state/keys"), 0700U);
    password = contents(service.first_password());
    certificate = contents(service.made_certificate());
    net::Client client(service.origin(), {.trust = {service.made_certificate()}});
    const auto health = client.send({.target = "/api/v1/health"});
    EXPECT_EQ(health.status, 200);
    EXPECT_THAT(health.body, HasSubstr("\"status\":\"ok\""));
    EXPECT_EQ(client.send({.target = "/api/openapi.yaml"}).body, contents("api/openapi.yaml"));
    EXPECT_THROW(net::Client(service.origin()).send({}), Error);  // nobody trusts it unasked
  }
  Service again(options);
  EXPECT_TRUE(again.first_password().empty());
  EXPECT_EQ(contents(again.made_certificate()), certificate);
  EXPECT_EQ(contents(folder / "state/admin-password"), password);
}

TEST_F(ServiceHost, LoggingInStayingInAndLeaving) {
  Service service(options);
  const Remote remote{service.origin(), service.made_certificate()};
  net::Client browser(service.origin(), {.trust = {service.made_certificate()}});
  std::string password = contents(service.first_password());
  password.pop_back();
  Credentials credentials(folder / "config");
  EXPECT_THROW(credentials.remote(), Error);
  log_in(credentials, remote, "farfield",
         [&](const std::string& page, const std::string& code) {
           EXPECT_EQ(page, "https://farfield.test/device");
           const auto decided = browser.send(
               {.method = "POST",
                .target = "/device",
                .headers = {{"Content-Type", "application/x-www-form-urlencoded"}},
                .body = net::format_query(
                    {{"code", code}, {"user", "admin"}, {"password", password}, {"decision", "approve"}})});
           EXPECT_EQ(decided.status, 200);
         },
         {});
  EXPECT_EQ(mode(folder / "config/credentials.json"), 0600U);
  EXPECT_EQ(credentials.remote().origin, service.origin());
  const auto whoami = [&](const std::string& token) {
    return browser.send({.target = "/api/v1/whoami", .headers = {{"Authorization", "Bearer " + token}}});
  };
  const auto first = credentials.access_token(remote);
  EXPECT_THAT(whoami(first).body, HasSubstr("user:admin"));
  EXPECT_EQ(credentials.access_token(remote), first);  // good for a while yet

  // Many processes whose token has ended at the same time: each refresh token is used once, and the session lives on.
  std::string text = contents(folder / "config/credentials.json");
  const auto expires = text.find("\"expires\": ") + 11;
  text.replace(expires, text.find_first_not_of("0123456789", expires) - expires, "0");
  std::ofstream(folder / "config/credentials.json") << text;
  std::vector<std::thread> threads;
  std::vector<std::string> tokens(6);
  for (auto& token : tokens) threads.emplace_back([&] { token = Credentials(folder / "config").access_token(remote); });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(std::set<std::string>(tokens.begin(), tokens.end()).size(), 1U);
  EXPECT_EQ(whoami(tokens[0]).status, 200);

  credentials.forget(remote);
  EXPECT_EQ(whoami(tokens[0]).status, 401);
  EXPECT_THROW(credentials.access_token(remote), Error);
}

TEST_F(ServiceHost, RefusesWhatMakesNoSense) {
  const auto refused = [&](const std::function<void(ServeOptions&)>& change) {
    ServeOptions changed = options;
    change(changed);
    try {
      Service service(changed);
    } catch (const Error& e) {
      return e.code();
    }
    return ErrorCode::internal;
  };
  EXPECT_EQ(refused([](ServeOptions& o) { o.issuer = "farfield.test"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](ServeOptions& o) { o.issuer = "https://farfield.test/"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](ServeOptions& o) { o.issuer.clear(); }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](ServeOptions& o) { o.certificate = "a.pem"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](ServeOptions& o) { o.database = "oracle:x"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](ServeOptions& o) { o.address = "nowhere"; }), ErrorCode::invalid_argument);
}

/// "GET /api/v1/whoami" for each operation under `paths:`; the file is written in one plain style.
std::set<std::string> operations(const std::string& yaml) {
  std::set<std::string> out;
  std::istringstream lines(yaml);
  std::string path;
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(' ')) inside = line == "paths:";
    if (!inside) continue;
    if (line.starts_with("  /")) path = line.substr(2, line.size() - 3);
    for (const auto* method : {"get", "put", "post", "delete"})
      if (line == std::string("    ") + method + ":") {
        std::string upper = method;
        for (char& c : upper) c = static_cast<char>(c - 'a' + 'A');
        out.insert(upper + " " + path);
      }
  }
  return out;
}

TEST_F(ServiceHost, EveryRouteIsInTheDescriptionAndTheOtherWayRound) {
  Service service(options);
  std::set<std::string> routes;
  for (const auto& route : service.routes()) routes.insert(route.method + " " + route.pattern);
  EXPECT_EQ(routes, operations(kOpenApi));
  // Described as open or closed, and so it is.
  net::Client client(service.origin(), {.trust = {service.made_certificate()}});
  for (const auto& route : routes) {
    const auto blank = route.find(' ');
    const std::string method = route.substr(0, blank), path = route.substr(blank + 1);
    std::string target = path;
    for (std::size_t at = 0; (at = target.find('{')) != std::string::npos;)
      target.replace(at, target.find('}') - at + 1, "x");
    const int status = client.send({.method = method, .target = target}).status;
    const bool open = path.starts_with("/oauth/") ? path != "/oauth/revocations"
                                                  : !path.starts_with("/api/v1/") || path == "/api/v1/health";
    if (open) EXPECT_NE(status, method == "GET" ? 401 : 404) << route;
    else EXPECT_EQ(status, 401) << route;
    EXPECT_NE(status, 500) << route;
  }
}

}  // namespace
}  // namespace farfield::apps
