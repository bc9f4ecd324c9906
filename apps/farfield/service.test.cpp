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
#include "apps/farfield/flow_host.hpp"
#include "farfield/net/client.hpp"
#include "farfield/net/websocket.hpp"
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

TEST_F(ServiceHost, FlowsOfTheServiceFromTheCommandLine) {
  Service service(options);
  ::setenv("XDG_CONFIG_HOME", (folder / "config").c_str(), 1);
  const auto tokens = [&] {
    auto& issuer = service.access().issuer();
    const auto device = issuer.begin_device("farfield-cli", "farfield");
    issuer.decide_device(device.user_code, "user:admin", true);
    return issuer.device_tokens("farfield-cli", device.device_code);
  }();
  Credentials(credentials_folder())
      .keep({service.origin(), service.made_certificate()}, tokens.access, tokens.refresh, tokens.expires_in_s);
  const auto host = service_flow_host(service.origin());

  services::flow::FlowRecord record;
  record.title = "wait";
  record.definition = "{\"StartAt\": \"A\",\n \"States\": {\"A\": {\"Type\": \"Wait\"}}}";
  try {
    host->deploy(record);
    ADD_FAILURE() << "taken";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
    EXPECT_THAT(e.message(), HasSubstr("line 2"));
  }
  record.definition = R"({"StartAt": "A", "States": {"A": {"Type": "Wait", "Seconds": 0.2, "Next": "B"},
    "B": {"Type": "Pass", "ResultPath": "$.done", "Result": true, "End": true}}})";
  const std::string flow = host->deploy(record).id;
  EXPECT_EQ(host->flow(flow).owner, "admin");
  EXPECT_EQ(host->flows({.limit = 5}).size(), 1U);
  services::flow::RunRequest request;
  request.flow_id = flow;
  request.input = R"({"scan": 100})";
  request.tags = {"scan100"};
  request.request_id = "scan100";
  const std::string run = host->start(request);
  EXPECT_EQ(host->start(request), run);
  std::vector<std::int64_t> numbers;
  const auto ended = host->follow(run, 0, [&](const auto& event) { numbers.push_back(event.number); }, {});
  EXPECT_EQ(ended.status, services::flow::RunStatus::succeeded);
  ASSERT_FALSE(numbers.empty());
  for (std::size_t i = 0; i < numbers.size(); ++i) EXPECT_EQ(numbers[i], static_cast<std::int64_t>(i) + 1);
  EXPECT_EQ(host->log(run).size(), numbers.size());
  EXPECT_EQ(host->runs({.tag = "scan100"}).size(), 1U);
  EXPECT_GE(host->times(ended).total_s, 0.2);
  try {
    host->run("no such run");
    ADD_FAILURE() << "found";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::not_found);
  }
  ::unsetenv("XDG_CONFIG_HOME");
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

/// How a WebSocket without a token is answered.
int status_of_websocket(const Service& service, const std::string& target) {
  try {
    net::connect_websocket("wss" + service.origin().substr(5) + target, {}, {.trust = {service.made_certificate()}});
    return 101;
  } catch (const Error& e) {
    return core::traits(e.code()).http_status;
  }
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
    int status = client.send({.method = method, .target = target}).status;
    if (status == 426) status = status_of_websocket(service, target);
    const bool open = path.starts_with("/oauth/") ? path != "/oauth/revocations"
                                                  : !path.starts_with("/api/v1/") || path == "/api/v1/health";
    if (open) EXPECT_NE(status, method == "GET" ? 401 : 404) << route;
    else EXPECT_EQ(status, 401) << route;
    EXPECT_NE(status, 500) << route;
  }
}

}  // namespace
}  // namespace farfield::apps
