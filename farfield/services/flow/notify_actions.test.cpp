#include "farfield/services/flow/notify_actions.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "farfield/core/error.hpp"
#include "farfield/net/server.hpp"
#include "farfield/services/auth/testing.hpp"

namespace farfield::services::flow {
namespace {
using ::testing::HasSubstr;
using ::testing::Not;
using State = ActionUpdate::State;

class Notify : public ::testing::Test {
protected:
  Notify() {
    core::set_log_sink(log);
    net::Router router;
    router.post("/hook/secret-path", [this](const net::Request& request) {
      const std::lock_guard lock(mutex);
      requests.push_back(request.body);
      keys.push_back(request.headers.contains("Idempotency-Key") ? *request.headers.find("Idempotency-Key") : "");
      const int status = statuses.empty() ? 200 : statuses.front();
      if (!statuses.empty()) statuses.erase(statuses.begin());
      return net::Response::text(status, "");
    });
    server = std::make_unique<net::Server>(net::ServerOptions{}, std::move(router));
  }
  ~Notify() override { core::set_log_sink(nullptr); }

  ActionUpdate run(const NotifyOptions& options, const std::string& url) {
    const auto actions = notify_actions(options);
    ActionUpdate out;
    std::condition_variable told;
    actions->start({.key = "run.1",
                    .body = R"({"url": ")" + url + R"(", "payload": {"scan": 100}, "headers": {"X-Key": "hush"}})"},
                   [&](const ActionUpdate& update) {
                     const std::lock_guard lock(mutex);
                     out = update;
                     told.notify_all();
                   });
    std::unique_lock lock(mutex);
    EXPECT_TRUE(told.wait_for(lock, std::chrono::seconds(20), [&] { return !out.key.empty(); }));
    return out;
  }
  std::string hook() const { return server->origin() + "/hook/secret-path"; }

  std::shared_ptr<auth::testing::LogKeeper> log = std::make_shared<auth::testing::LogKeeper>();
  std::mutex mutex;
  std::vector<int> statuses;
  std::vector<std::string> requests, keys;
  std::unique_ptr<net::Server> server;
};

TEST_F(Notify, IsTriedAgainAndSaysNothingOfWhatItCarries) {
  statuses = {503, 429};
  const auto update = run({.allowed_hosts = {"127.0.0.1"}, .first_pause_s = 0.01}, hook());
  EXPECT_EQ(update.state, State::succeeded) << update.cause;
  EXPECT_EQ(update.details, R"({"status":200})");
  ASSERT_EQ(requests.size(), 3U);
  EXPECT_EQ(requests[2], R"({"scan":100})");
  EXPECT_EQ(keys, std::vector<std::string>(3, "run.1"));
  EXPECT_THAT(log->all(), HasSubstr("host=127.0.0.1"));
  for (const char* secret : {"hush", "secret-path", "\"scan\""}) EXPECT_THAT(log->all(), Not(HasSubstr(secret)));
}

TEST_F(Notify, GivesUp) {
  statuses = {500, 500, 500, 500};
  const auto update = run({.allowed_hosts = {"127.0.0.1"}, .attempts = 3, .first_pause_s = 0.01}, hook());
  EXPECT_EQ(update.state, State::failed);
  EXPECT_THAT(update.cause, HasSubstr("500"));
  EXPECT_EQ(requests.size(), 3U);
  statuses = {404};
  EXPECT_EQ(run({.allowed_hosts = {"127.0.0.1"}}, hook()).state, State::failed);  // will not help again
}

TEST_F(Notify, ReachesNothingThatOnlyThisHostReaches) {
  const auto actions = notify_actions();
  const auto refused = [&](const std::string& body) {
    try {
      actions->start({.key = "k", .body = body}, [](const ActionUpdate&) {});
    } catch (const core::Error&) {
      return true;
    }
    return false;
  };
  EXPECT_TRUE(refused(R"({"url": "http://example.org/"})"));
  EXPECT_TRUE(refused(R"({"url": "file:///etc/passwd"})"));
  EXPECT_TRUE(refused(R"({"url": "https://user:password@example.org/"})"));
  EXPECT_TRUE(refused(R"({"url": "https://example.org/", "headers": {"Host": "localhost"}})"));
  EXPECT_TRUE(refused(R"({"url": "https://example.org/", "header": {}})"));
  // As an address, and as a name that leads there.
  for (const char* host : {"127.0.0.1", "localhost", "[::1]"}) {
    const auto update = run({}, "https://" + std::string(host) + ":" + std::to_string(server->port()) + "/");
    EXPECT_EQ(update.state, State::failed);
    EXPECT_THAT(update.cause, HasSubstr("not allowed")) << host;
  }
  EXPECT_EQ(server->statistics().connections, 0);
}

TEST(PublicAddress, IsWhatIsRouted) {
  for (const char* address : {"8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8"})
    EXPECT_TRUE(is_public_address(address)) << address;
  for (const char* address : {"127.0.0.1",
                              "127.255.0.1",
                              "0.0.0.0",
                              "10.1.2.3",
                              "172.16.0.1",
                              "172.31.255.255",
                              "192.168.1.1",
                              "169.254.169.254",
                              "100.64.0.1",
                              "224.0.0.1",
                              "255.255.255.255",
                              "::1",
                              "::",
                              "fe80::1",
                              "fe80::1%lo",
                              "fc00::1",
                              "ff02::1",
                              "::ffff:127.0.0.1",
                              "::ffff:10.0.0.1",
                              "64:ff9b::7f00:1",
                              "2002:7f00:1::",
                              "2001::1",
                              "nonsense"})
    EXPECT_FALSE(is_public_address(address)) << address;
}
}  // namespace
}  // namespace farfield::services::flow
