// Flows and runs over HTTP, over the loopback interface: what each role may, and what is pushed.

#include "farfield/services/flow/rest.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "farfield/net/client.hpp"
#include "farfield/net/event_stream.hpp"
#include "farfield/net/server.hpp"
#include "farfield/services/auth/http.hpp"
#include "farfield/services/auth/testing.hpp"
#include "farfield/services/flow/simple_actions.hpp"
#include "farfield/store/testing.hpp"

namespace farfield::services::flow {
namespace {
using ::testing::HasSubstr;
using ::testing::Not;

/// Actions that end when a test says so; remembers by whose grant they were asked for.
class Gate final : public ActionProvider {
public:
  void start(const ActionRequest& request, const Notify& notify) override {
    const std::lock_guard lock(mutex_);
    last_ = request;
    waiting_[request.key] = notify;
    changed_.notify_all();
  }
  void cancel(const std::string& key) override {
    const std::lock_guard lock(mutex_);
    waiting_.erase(key);
    changed_.notify_all();
  }
  ActionRequest expect_one() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(20), [&] { return !waiting_.empty(); }));
    return last_;
  }
  bool expect_none() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return waiting_.empty(); });
  }
  void open() {
    std::map<std::string, Notify> all;
    {
      const std::lock_guard lock(mutex_);
      all.swap(waiting_);
    }
    for (const auto& [key, notify] : all) {
      ActionUpdate update;
      update.key = key;
      update.state = ActionUpdate::State::succeeded;
      update.details = R"({"answer": 42})";
      notify(update);
    }
  }

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Notify> waiting_;
  ActionRequest last_;
};

constexpr const char* kFlow = R"({"StartAt": "Wait", "States": {
  "Wait": {"Type": "Action", "ActionUrl": "farfield:gate", "ResultPath": "$.r",
    "Parameters": {"open": 1, "secret": "hush", "__Private_Parameters": ["secret"]}, "End": true}}})";

class Rest : public store::testing::EachDatabase {
protected:
  void SetUp() override {
    EachDatabase::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    db = database_.open();
    f = std::make_unique<auth::testing::IssuerFixture>(*db, (keys.path() / "keys").string());
    access = std::make_unique<auth::Access>(f->issuer);
    Providers providers = simple_providers();
    providers.add("test", {"farfield:gate"}, gate);
    engine = std::make_unique<Engine>(*db, std::move(providers));
    net::Router router;
    add_routes(router, *access, *engine);
    server = std::make_unique<net::Server>(net::ServerOptions{.error_response = auth::json_error}, std::move(router));
    client = std::make_unique<net::Client>(server->origin());
    for (const char* user : {"garcia", "lee"}) tokens[user] = f->log_in(user).access;
    tokens["other"] = f->log_in("other", "farfield admin").access;  // an administrator
  }
  net::ClientRequest request(const std::string& method, const std::string& target, const std::string& user,
                             const Json& body = nullptr) {
    net::ClientRequest out{.method = method, .target = target};
    if (!user.empty()) out.headers.add("Authorization", "Bearer " + tokens.at(user));
    if (!body.is_null()) out.body = body.dump();
    return out;
  }
  net::ClientResponse call(const std::string& method, const std::string& target, const std::string& user,
                           const Json& body = nullptr) {
    return client->send(request(method, target, user, body));
  }
  Json good(const net::ClientResponse& response, int status = 200) {
    EXPECT_EQ(response.status, status) << response.body;
    return Json::parse(response.body, nullptr, false);
  }
  std::string deploy(const Json& more = Json::object()) {
    Json body{{"title", "t"}, {"definition", kFlow}};
    body.update(more);
    return good(call("POST", "/api/v1/flows", "garcia", body), 201)["id"].get<std::string>();
  }

  store::testing::TemporaryFolder keys;
  std::unique_ptr<store::Database> db;
  std::unique_ptr<auth::testing::IssuerFixture> f;
  std::unique_ptr<auth::Access> access;
  std::shared_ptr<Gate> gate = std::make_shared<Gate>();
  std::unique_ptr<Engine> engine;
  std::unique_ptr<net::Server> server;
  std::unique_ptr<net::Client> client;
  std::map<std::string, std::string> tokens;
};

TEST_P(Rest, MistakesAreToldWithTheirLines) {
  const Json wrong{
      {"definition", "{\"StartAt\": \"A\",\n \"States\": {\n  \"A\": {\"Type\": \"Pass\", \"Next\": \"B\"}}}"}};
  const Json found = good(call("POST", "/api/v1/flows/validate", "garcia", wrong));
  EXPECT_EQ(found["valid"], false);
  ASSERT_FALSE(found["problems"].empty());
  EXPECT_EQ(found["problems"][0]["line"], 3);
  EXPECT_EQ(found["problems"][0]["path"], "/States/A/Next");
  EXPECT_EQ(good(call("POST", "/api/v1/flows/validate", "garcia", {{"definition", kFlow}}))["valid"], true);
  EXPECT_EQ(call("POST", "/api/v1/flows", "garcia", wrong).status, 400);
  EXPECT_EQ(call("POST", "/api/v1/flows", "garcia", {{"definition", kFlow}, {"titel", "t"}}).status, 400);
  EXPECT_EQ(call("POST", "/api/v1/flows", "garcia", {{"definition", kFlow}, {"viewers", {"no one"}}}).status, 400);
  EXPECT_EQ(call("GET", "/api/v1/runs?status=ILL", "garcia").status, 400);
  EXPECT_EQ(call("GET", "/api/v1/runs?limit=1e9", "garcia").status, 400);
}

TEST_P(Rest, ARunIsStartedOnceFollowedAndReported) {
  const std::string flow = deploy();
  const Json wanted{{"input", {{"n", 1}}}, {"label", "scan 100"}, {"tags", {"scan100"}}, {"request_id", "scan/100"}};
  const Json started = good(call("POST", "/api/v1/flows/" + flow + "/runs", "garcia", wanted), 201);
  EXPECT_EQ(started["created"], true);
  const std::string run = started["id"];
  const Json again = good(call("POST", "/api/v1/flows/" + flow + "/runs", "garcia", wanted));
  EXPECT_EQ(again["id"], run);
  EXPECT_EQ(again["created"], false);

  const ActionRequest asked = gate->expect_one();
  EXPECT_EQ(asked.user, "garcia");
  EXPECT_FALSE(asked.grant.empty());
  // It acts for garcia, as far as his own rights go.
  EXPECT_NO_THROW(f->issuer.mint(asked.grant, "write:/experiments/2026-1-Garcia-1"));
  EXPECT_THROW(f->issuer.mint(asked.grant, "read:/experiments/2026-1-Other-2"), core::Error);

  // The past at once, then what comes, then the end.
  struct Sink final : net::BodySink {
    void write(std::span<const std::byte> bytes) override {
      parser.write({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    }
    net::EventParser parser{[this](const net::Event& event) {
      const std::lock_guard lock(mutex);
      events.push_back(event);
      changed.notify_all();
    }};
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<net::Event> events;
  } sink;
  std::thread viewer([&] {
    net::Client own(server->origin());
    own.send(request("GET", "/api/v1/runs/" + run + "/events", "garcia"), sink);
  });
  {
    std::unique_lock lock(sink.mutex);
    EXPECT_TRUE(sink.changed.wait_for(lock, std::chrono::seconds(20), [&] { return sink.events.size() >= 3; }));
  }
  gate->open();
  viewer.join();  // the stream ends by itself
  ASSERT_GE(sink.events.size(), 4U);
  EXPECT_EQ(sink.events.back().name, "run");
  EXPECT_EQ(Json::parse(sink.events.back().data)["status"], "SUCCEEDED");
  std::int64_t number = 0;
  for (std::size_t i = 0; i + 1 < sink.events.size(); ++i) {
    EXPECT_EQ(sink.events[i].id, std::to_string(++number));  // each once, in order
    EXPECT_THAT(sink.events[i].data, Not(HasSubstr("hush")));
  }
  const Json log = good(call("GET", "/api/v1/runs/" + run + "/log", "garcia"));
  EXPECT_EQ(std::ssize(log["events"]), number);
  EXPECT_THAT(log.dump(), Not(HasSubstr("hush")));
  EXPECT_EQ(good(call("GET", "/api/v1/runs/" + run + "/log?after=2&limit=1", "garcia"))["events"][0]["number"], 3);
  EXPECT_EQ(good(call("GET", "/api/v1/runs/" + run + "/report", "garcia"))["states"][0]["kind"], "test");
  EXPECT_EQ(good(call("GET", "/api/v1/report?tag=scan100", "garcia"))["times"].size(), 1U);
  // Who comes back with the last number gets only what he has not seen.
  net::ClientRequest back = request("GET", "/api/v1/runs/" + run + "/events", "garcia");
  back.headers.add("Last-Event-ID", std::to_string(number));
  EXPECT_THAT(client->send(back).body, Not(HasSubstr("event: event")));
}

TEST_P(Rest, WhatOneMayNotSeeIsNotThere) {
  f->directory.add_group("beamline");
  f->directory.set_member("beamline", "user:lee", true);
  const std::string hidden = deploy(), seen = deploy({{"viewers", {"user:lee"}}}),
                    open = deploy({{"starters", {"group:beamline"}}});
  EXPECT_EQ(good(call("GET", "/api/v1/flows", "lee"))["flows"].size(), 2U);
  EXPECT_EQ(good(call("GET", "/api/v1/flows", "garcia"))["flows"].size(), 3U);
  EXPECT_EQ(good(call("GET", "/api/v1/flows", "other"))["flows"].size(), 3U);
  EXPECT_EQ(call("GET", "/api/v1/flows/" + hidden, "lee").status, 404);
  EXPECT_THAT(call("GET", "/api/v1/flows/" + seen, "lee").body, Not(HasSubstr("hush")));
  EXPECT_THAT(call("GET", "/api/v1/flows/" + seen, "garcia").body, HasSubstr("hush"));
  EXPECT_EQ(call("POST", "/api/v1/flows/" + hidden + "/runs", "lee").status, 404);
  EXPECT_EQ(call("POST", "/api/v1/flows/" + seen + "/runs", "lee").status, 403);
  EXPECT_EQ(call("POST", "/api/v1/flows/" + open + "/runs", "lee").status, 201);
  EXPECT_EQ(call("PUT", "/api/v1/flows/" + open, "lee", {{"definition", kFlow}}).status, 403);
  EXPECT_EQ(good(call("PUT", "/api/v1/flows/" + open, "garcia", {{"definition", kFlow}}))["version"], 2);
  EXPECT_EQ(good(call("GET", "/api/v1/flows/" + open, "garcia"))["starters"][0], "group:beamline");

  const std::string run =
      good(call("POST", "/api/v1/flows/" + hidden + "/runs", "garcia", {{"monitors", {"lee"}}}), 201)["id"];
  const std::string own = good(call("POST", "/api/v1/flows/" + hidden + "/runs", "garcia"), 201)["id"];
  EXPECT_EQ(call("GET", "/api/v1/runs/" + run, "lee").status, 200);
  EXPECT_EQ(call("GET", "/api/v1/runs/" + own, "lee").status, 404);
  EXPECT_EQ(call("GET", "/api/v1/runs/" + own + "/events", "lee").status, 404);
  EXPECT_EQ(call("POST", "/api/v1/runs/" + run + "/cancel", "lee").status, 403);
  EXPECT_EQ(good(call("GET", "/api/v1/runs", "lee"))["runs"].size(), 2U);  // his own and that one
  for (const char* what : {"/api/v1/runs/", "/api/v1/flows/"})
    EXPECT_EQ(call("GET", what + std::string("%27%20OR%201=1"), "lee").status, 404);
  EXPECT_EQ(call("GET", "/api/v1/runs", "").status, 401);

  // Managers and the service's administrators may end it.
  EXPECT_EQ(good(call("POST", "/api/v1/runs/" + run + "/cancel", "other"))["status"], "CANCELLED");
  EXPECT_EQ(good(call("POST", "/api/v1/runs/" + own + "/cancel", "garcia"))["status"], "CANCELLED");
  EXPECT_EQ(call("POST", "/api/v1/runs/" + own + "/cancel", "garcia").status, 409);
  EXPECT_EQ(good(call("POST", "/api/v1/runs/" + own + "/resume", "garcia"))["status"], "ACTIVE");
}

TEST_P(Rest, AStreamEndsWithTheSessionOfItsViewer) {
  const std::string flow = deploy();
  const std::string run = good(call("POST", "/api/v1/flows/" + flow + "/runs", "garcia"), 201)["id"];
  gate->expect_one();
  std::atomic<bool> open{true};
  std::thread viewer([&] {
    net::Client own(server->origin());
    own.send(request("GET", "/api/v1/runs/" + run + "/events", "garcia"));
    open = false;
  });
  while (server->statistics().requests < 3 && open) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  // Revoked again and again: the first time may come before the stream is there.
  while (open) {
    f->issuer.revoke_subject("user:garcia");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  viewer.join();
}

TEST_P(Rest, ADryRunAsksNobody) {
  const std::string flow = deploy();
  const Json tried = good(call("POST", "/api/v1/flows/" + flow + "/dry-run", "garcia",
                               {{"input", {{"n", 1}}}, {"results", {{"Wait", {{"answer", 1}}}}}}));
  EXPECT_EQ(tried["status"], "SUCCEEDED");
  EXPECT_EQ(tried["steps"][0]["action_url"], "farfield:gate");
  EXPECT_EQ(tried["output"]["r"]["details"]["answer"], 1);
  EXPECT_TRUE(gate->expect_none());
  EXPECT_THAT(tried.dump(), Not(HasSubstr("hush")));
}

std::string runs_as(const std::string& run_as) {
  Json flow = Json::parse(kFlow);
  flow["States"]["Wait"]["RunAs"] = run_as;
  return flow.dump();
}

TEST_P(Rest, AStateActsAsAnIdentityThatItsStarterMayBe) {
  f->directory.set_role("2026-1-Other-2", "service:agent", auth::Role::member);
  const std::string flow = deploy({{"definition", runs_as("Recon")}, {"starters", {"public"}}});
  const std::string place = "/api/v1/flows/" + flow + "/runs";
  const Json as_agent{{"roles", {{"Recon", "service:agent"}}}};
  EXPECT_THAT(call("POST", place, "garcia").body, HasSubstr("state 'Wait' runs as the role 'Recon'"));
  EXPECT_EQ(call("POST", place, "garcia").status, 400);
  EXPECT_EQ(call("POST", place, "garcia", as_agent).status, 403);  // nobody has permitted it
  f->directory.set_actor("agent", "user:garcia", true);
  EXPECT_EQ(call("POST", place, "lee", as_agent).status, 403);
  for (const char* role : {"Flow", "User", "recon", "Recon2"})
    EXPECT_EQ(call("POST", place, "garcia", {{"roles", {{"Recon", "service:agent"}, {role, "service:agent"}}}}).status,
              400)
        << role;
  for (const Json& identity : {Json("agent"), Json("user:other"), Json("group:x"), Json("service:' OR 1=1"), Json(1)})
    EXPECT_EQ(call("POST", place, "garcia", {{"roles", {{"Recon", identity}}}}).status, 400) << identity;
  EXPECT_EQ(call("POST", place, "garcia", {{"roles", {{"Recon", "service:nobody"}}}}).status, 403);
  EXPECT_EQ(call("POST", place, "garcia", {{"roles", "service:agent"}}).status, 400);
  EXPECT_TRUE(engine->records().runs({}).empty());

  const std::string run = good(call("POST", place, "garcia", as_agent), 201)["id"];
  const ActionRequest asked = gate->expect_one();
  EXPECT_EQ(asked.user, "garcia");
  EXPECT_EQ(asked.identity, "service:agent");
  const std::string scope = "write:/experiments/2026-1-Other-2";  // which garcia has not
  EXPECT_NO_THROW(f->issuer.mint(asked.grant, scope));
  EXPECT_THROW(f->issuer.mint(engine->records().run(run).grant, scope), core::Error);
  const Json shown = good(call("GET", "/api/v1/runs/" + run, "garcia"));
  EXPECT_EQ(shown["identities"]["Recon"], "service:agent");
  EXPECT_THAT(shown.dump(), Not(HasSubstr(asked.grant)));
  f->directory.set_actor("agent", "user:garcia", false);
  EXPECT_THROW(f->issuer.mint(asked.grant, scope), core::Error);
}

TEST_P(Rest, AFlowActsAsTheIdentityOfWhoDeployedIt) {
  const Json body{{"definition", runs_as("Flow")}, {"starters", {"public"}}, {"administrators", {"lee"}}};
  const std::string without = deploy(body);
  EXPECT_THAT(call("POST", "/api/v1/flows/" + without + "/runs", "garcia").body, HasSubstr("without an identity"));
  Json with = body;
  with["identity"] = "service:agent";
  EXPECT_EQ(call("POST", "/api/v1/flows", "garcia", with).status, 403);
  f->directory.set_actor("agent", "user:garcia", true);
  const std::string flow = deploy(with);
  EXPECT_EQ(good(call("GET", "/api/v1/flows/" + flow, "lee"))["identity"], "service:agent");

  // lee may start it, though he may not act as the identity; but he may not tell it to do something else.
  EXPECT_EQ(call("PUT", "/api/v1/flows/" + flow, "lee", {{"definition", runs_as("Flow")}}).status, 403);
  good(call("POST", "/api/v1/flows/" + flow + "/runs", "lee"), 201);
  const ActionRequest asked = gate->expect_one();
  EXPECT_EQ(asked.user, "lee");
  EXPECT_EQ(asked.identity, "service:agent");
  const std::string scope = "write:/experiments/2026-1-Garcia-1";  // where lee is a viewer
  EXPECT_NO_THROW(f->issuer.mint(asked.grant, scope));
  f->issuer.revoke_subject("user:lee");
  EXPECT_THROW(f->issuer.mint(asked.grant, scope), core::Error);

  f->directory.set_actor("agent", "user:garcia", false);
  EXPECT_EQ(call("POST", "/api/v1/flows/" + flow + "/runs", "other").status, 403);
  EXPECT_EQ(good(call("PUT", "/api/v1/flows/" + flow, "garcia", {{"definition", kFlow}, {"identity", ""}}))["version"],
            2);
}

INSTANTIATE_TEST_SUITE_P(Each, Rest, store::testing::kinds(), store::testing::kind_name);
}  // namespace
}  // namespace farfield::services::flow
