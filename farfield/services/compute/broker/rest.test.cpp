// Computing over HTTP, over the loopback interface: what each role may, lines of endpoints, and what is pushed.

#include "farfield/services/compute/broker/rest.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <future>
#include <nlohmann/json.hpp>

#include "farfield/codec/checksum.hpp"
#include "farfield/net/client.hpp"
#include "farfield/net/event_stream.hpp"
#include "farfield/net/server.hpp"
#include "farfield/services/auth/http.hpp"
#include "farfield/services/auth/testing.hpp"
#include "farfield/services/compute/broker/testing.hpp"
#include "farfield/store/testing.hpp"

namespace farfield::services::compute {
namespace {
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char *kMine = "2026-1-Garcia-1", *kOther = "2026-1-Other-2";

/// One end of a WebSocket, for a test.
class Remote {
public:
  Remote(const std::string& url, const std::string& token) {
    net::WebSocketOptions options;
    if (!token.empty()) options.headers.add("Authorization", "Bearer " + token);
    net::WebSocket::Events events;
    events.message = [this](std::string message, bool binary) {
      const std::lock_guard lock(mutex_);
      (binary ? binaries_ : texts_).push_back(std::move(message));
      changed_.notify_all();
    };
    events.closed = [this](const std::string& reason) {
      const std::lock_guard lock(mutex_);
      reason_ = reason;
      closed_ = true;
      changed_.notify_all();
    };
    socket = net::connect_websocket(url, std::move(events), options);
  }
  std::string text() { return next(texts_); }
  std::string binary() { return next(binaries_); }
  template <class M>
  M message() {
    while (true) {
      const std::string next = text();
      if (next.empty()) return {};
      const Message message = decode(next);
      if (const auto* wanted = std::get_if<M>(&message)) return *wanted;
    }
  }
  std::string closed() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(10), [&] { return closed_; }));
    return reason_;
  }

private:
  std::string next(std::deque<std::string>& from) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, std::chrono::seconds(10), [&] { return !from.empty(); })) {
      ADD_FAILURE() << "nothing came";
      return {};
    }
    std::string out = std::move(from.front());
    from.pop_front();
    return out;
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> texts_, binaries_;
  std::string reason_;
  bool closed_ = false;

public:
  std::shared_ptr<net::WebSocket> socket;  // ends first: its callbacks use the rest
};

class ComputeRest : public store::testing::EachDatabase {
protected:
  void SetUp() override {
    EachDatabase::SetUp();
    if (IsSkipped() || HasFailure()) return;
    database = database_.open();
    f = std::make_unique<auth::testing::IssuerFixture>(*database, (folder.path() / "keys").string());
    f->directory.add_service("cluster", {std::string(kEndpointScope)});
    f->directory.add_service("thief", {std::string(kEndpointScope)});
    access = std::make_unique<auth::Access>(f->issuer);
    broker = std::make_unique<Broker>(*database, BrokerOptions{.folder = (folder.path() / "compute").string()});
    net::Router router;
    add_routes(router, *access, *broker);
    server = std::make_unique<net::Server>(net::ServerOptions{.error_response = auth::json_error}, std::move(router));
    client = std::make_unique<net::Client>(server->origin());
    for (const char* user : {"garcia", "lee"}) tokens[user] = f->log_in(user).access;
    tokens["other"] = f->log_in("other", "farfield admin").access;  // an administrator
    for (const char* service : {"cluster", "thief"})
      tokens[service] = f->issuer.client_tokens(service, std::string(kEndpointScope)).access;
    EXPECT_EQ(call("POST", "/api/v1/endpoints", "cluster", {{"name", "cluster"}}).status, 201);
  }
  net::ClientResponse send(const std::string& method, const std::string& target, const std::string& who,
                           const std::string& body = "", const std::string& key = "") {
    net::ClientRequest out{.method = method, .target = target};
    if (!who.empty()) out.headers.add("Authorization", "Bearer " + tokens.at(who));
    if (!key.empty()) out.headers.add("Idempotency-Key", key);
    out.body = body;
    return client->send(out);
  }
  net::ClientResponse call(const std::string& method, const std::string& target, const std::string& who,
                           const json& body = nullptr, const std::string& key = "") {
    return send(method, target, who, body.is_null() ? "" : body.dump(), key);
  }
  json good(const net::ClientResponse& response, int status = 200) {
    EXPECT_EQ(response.status, status) << response.body;
    return json::parse(response.body, nullptr, false);
  }
  json task(const json& more = json::object()) const {
    json out{{"function", "farfield.test.nothing"}, {"endpoint", "cluster"}, {"experiment", kMine}};
    out.update(more);
    return out;
  }
  std::string submit(const json& more = json::object()) {
    return good(call("POST", "/api/v1/tasks", "garcia", task(more)), 201).value("id", "");
  }
  std::string url(const std::string& path) const { return "ws" + server->origin().substr(4) + path; }
  std::unique_ptr<Remote> connect(const std::string& who = "cluster", const std::string& endpoint = "cluster") const {
    return std::make_unique<Remote>(url("/api/v1/endpoints/" + endpoint + "/link"), who.empty() ? "" : tokens.at(who));
  }
  std::unique_ptr<Remote> join() const {
    auto line = connect();
    line->socket->send_text(encode(testing::HandEndpoint::hello(4, {})));
    return line;
  }

  store::testing::TemporaryFolder folder;
  std::unique_ptr<store::Database> database;
  std::unique_ptr<auth::testing::IssuerFixture> f;
  std::unique_ptr<auth::Access> access;
  std::unique_ptr<Broker> broker;
  std::unique_ptr<net::Server> server;
  std::unique_ptr<net::Client> client;
  std::map<std::string, std::string> tokens;
};

TEST_P(ComputeRest, ATaskFromSubmissionToOutput) {
  const auto line = join();
  const std::string id = submit({{"arguments", {{"n", 1}}}, {"priority", "high"}, {"label", "first"}});
  const Assign assign = line->message<Assign>();
  ASSERT_EQ(assign.tasks.size(), 1U);
  EXPECT_EQ(assign.tasks[0].request.owner, "user:garcia");
  EXPECT_EQ(assign.tasks[0].request.arguments, R"({"n":1})");
  line->socket->send_text(encode(Logged{{{{id, 1}, "a line"}}}));
  line->socket->send_text(encode(Ended{{{{id, 1}, Ending::done, R"({"cost":0.5})"}}}));
  EXPECT_EQ(line->message<Stored>().ends, (std::vector<TaskKey>{{id, 1}}));
  const json shown = good(call("GET", "/api/v1/tasks/" + id, "garcia"));
  EXPECT_EQ(shown["state"], "done");
  EXPECT_EQ(shown["output"]["cost"], 0.5);
  EXPECT_EQ(shown["request"]["label"], "first");
  EXPECT_EQ(send("GET", "/api/v1/tasks/" + id + "/output", "lee").body, R"({"cost":0.5})");
  EXPECT_EQ(send("GET", "/api/v1/tasks/" + id + "/log", "lee").body, "a line\n");
  EXPECT_EQ(good(call("GET", "/api/v1/tasks", "garcia"))["tasks"].size(), 1U);
  EXPECT_EQ(good(call("GET", "/api/v1/tasks", "lee"))["tasks"].size(), 0U);
  EXPECT_EQ(good(call("GET", std::string("/api/v1/tasks?experiment=") + kMine, "lee"))["tasks"].size(), 1U);
}

TEST_P(ComputeRest, EachMayWhatHisRoleAllows) {
  const auto status = [&](const std::string& method, const std::string& target, const std::string& who,
                          const json& body = nullptr) { return call(method, target, who, body).status; };
  const std::string id = submit(), one = "/api/v1/tasks/" + id;
  EXPECT_EQ(status("POST", "/api/v1/tasks", "", task()), 401);
  EXPECT_EQ(status("POST", "/api/v1/tasks", "lee", task()), 403);    // a viewer
  EXPECT_EQ(status("POST", "/api/v1/tasks", "other", task()), 403);  // an administrator is nobody's member
  EXPECT_EQ(status("POST", "/api/v1/tasks", "cluster", task()), 403);
  EXPECT_EQ(status("POST", "/api/v1/tasks", "garcia", task({{"experiment", kOther}})), 403);
  EXPECT_EQ(status("POST", "/api/v1/tasks", "garcia", task({{"experiment", ""}})), 400);
  EXPECT_EQ(status("POST", "/api/v1/tasks", "garcia", task({{"owner", "user:other"}})), 400);
  EXPECT_EQ(status("GET", one, "lee"), 200);
  EXPECT_EQ(status("GET", one, "other"), 404);  // as if it were not there
  EXPECT_EQ(status("GET", one, "cluster"), 404);
  EXPECT_EQ(status("GET", one, ""), 401);
  EXPECT_EQ(status("GET", one + "/log", "other"), 404);
  EXPECT_EQ(status("GET", one + "/output", "other"), 404);
  EXPECT_EQ(status("GET", one + "/previews/object", "other"), 404);
  EXPECT_EQ(status("GET", one + "/events", "other"), 404);
  EXPECT_EQ(status("GET", std::string("/api/v1/tasks?experiment=") + kMine, "other"), 403);
  EXPECT_EQ(status("POST", one + "/cancel", "other"), 404);
  EXPECT_EQ(status("POST", one + "/cancel", "lee"), 403);
  EXPECT_EQ(status("GET", one + "/output", "garcia"), 409);  // it is not done
  EXPECT_EQ(status("POST", one + "/cancel", "garcia"), 200);
  EXPECT_EQ(good(call("GET", one, "lee"))["state"], "cancelled");

  const json command{{"name", "convert"}, {"kind", "command"}, {"command", {"convert", "{in:scan}"}}};
  json mine = command;
  mine["experiment"] = kMine;
  EXPECT_EQ(status("POST", "/api/v1/functions", "garcia", command), 403);  // for everybody: by an administrator
  EXPECT_EQ(status("POST", "/api/v1/functions", "lee", mine), 403);
  EXPECT_EQ(status("POST", "/api/v1/functions", "garcia", mine), 201);
  EXPECT_EQ(status("POST", "/api/v1/functions", "other", command), 403);  // the name is taken
  EXPECT_EQ(status("GET", "/api/v1/functions/convert", "lee"), 200);
  EXPECT_EQ(status("GET", "/api/v1/functions/convert", "other"), 404);
  EXPECT_EQ(good(call("GET", "/api/v1/functions", "other"))["functions"].size(), 0U);
  EXPECT_EQ(good(call("GET", "/api/v1/functions", "lee"))["functions"].size(), 1U);
  EXPECT_EQ(status("POST", "/api/v1/functions", "garcia", {{"name", "x"}, {"kind", "command"}, {"extra", 1}}), 400);

  EXPECT_EQ(status("POST", "/api/v1/endpoints", "thief", {{"name", "cluster"}}), 403);
  EXPECT_EQ(status("POST", "/api/v1/endpoints", "garcia", {{"name", "../x"}}), 400);
  EXPECT_EQ(status("GET", "/api/v1/endpoints", "lee"), 200);
  for (const auto& [who, code] : {std::pair{"", core::ErrorCode::unauthenticated},
                                  {"thief", core::ErrorCode::forbidden},
                                  {"garcia", core::ErrorCode::forbidden}}) {
    try {
      connect(who);
      ADD_FAILURE() << who << " connects as the endpoint";
    } catch (const core::Error& e) {
      EXPECT_EQ(e.code(), code) << who;
    }
  }
  EXPECT_THROW(connect("cluster", "unknown"), core::Error);
  EXPECT_THROW(Remote(url(one + "/live"), tokens.at("other")), core::Error);
}

TEST_P(ComputeRest, DecisionsAreLogged) {
  const auto keeper = std::make_shared<auth::testing::LogKeeper>();
  core::set_log_sink(keeper);
  submit();
  call("POST", "/api/v1/tasks", "lee", task());
  core::set_log_sink(nullptr);
  EXPECT_THAT(keeper->all(), HasSubstr("decision=allowed subject=user:garcia"));
  EXPECT_THAT(keeper->all(), HasSubstr("decision=denied subject=user:lee"));
  for (const auto& [who, token] : tokens) EXPECT_THAT(keeper->all(), Not(HasSubstr(token)));
}

TEST_P(ComputeRest, ManyTasksInOneRequest) {
  const json answer = good(
      call("POST", "/api/v1/tasks", "garcia",
           {{"tasks",
             {task({{"key", "a"}}), task({{"key", "a"}}), task({{"experiment", kOther}}), task({{"key", "b"}}), 7}}}),
      201)["tasks"];
  ASSERT_EQ(answer.size(), 5U);
  EXPECT_EQ(answer[0]["id"], answer[1]["id"]);
  EXPECT_EQ(answer[2]["error"]["code"], "forbidden");
  EXPECT_NE(answer[3]["id"], answer[0]["id"]);
  EXPECT_EQ(answer[4]["error"]["code"], "invalid_argument");
  EXPECT_EQ(good(call("POST", "/api/v1/tasks", "garcia", task(), "a"), 201)["id"], answer[0]["id"]);
  EXPECT_EQ(call("POST", "/api/v1/tasks", "garcia", task({{"label", "x"}}), "a").status, 409);
  EXPECT_EQ(call("POST", "/api/v1/tasks", "garcia", {{"tasks", json::array()}}).status, 400);
  EXPECT_EQ(send("POST", "/api/v1/tasks", "garcia", std::string(100'000, '[')).status, 400);
  EXPECT_EQ(send("POST", "/api/v1/tasks", "garcia", "").status, 400);
}

TEST_P(ComputeRest, ArchivesAreKeptUnderTheirChecksum) {
  const std::string bytes = "not really an archive";
  const std::string sha = codec::sha256_hex(std::as_bytes(std::span(bytes))), path = "/api/v1/archives/" + sha;
  EXPECT_EQ(send("PUT", path, "", bytes).status, 401);
  EXPECT_EQ(send("PUT", path, "cluster", bytes).status, 403);
  EXPECT_EQ(send("PUT", path, "garcia", bytes + "!").status, 400);
  EXPECT_EQ(send("GET", path, "garcia").status, 404);
  EXPECT_EQ(send("PUT", "/api/v1/archives/..%2Fx", "garcia", bytes).status, 400);
  EXPECT_EQ(send("PUT", path, "garcia", bytes).status, 201);
  EXPECT_EQ(send("PUT", path, "garcia", bytes).status, 201);
  EXPECT_EQ(send("GET", path, "cluster").body, bytes);
  EXPECT_EQ(send("GET", "/api/v1/archives/..%2Fx", "garcia").status, 400);
  EXPECT_EQ(send("GET", "/api/v1/archives/x", "garcia").status, 404);
  EXPECT_EQ(call("POST", "/api/v1/functions", "garcia",
                 {{"name", "mine"}, {"kind", "code"}, {"experiment", kMine}, {"archive", sha}, {"command", {"run"}}})
                .status,
            201);
  const std::filesystem::path incoming = folder.path() / "compute" / "incoming";
  EXPECT_TRUE(std::filesystem::is_empty(incoming));
}

TEST_P(ComputeRest, LargeOutputsArePutByTheEndpoint) {
  const auto line = join();
  const std::string id = submit(), path = "/api/v1/tasks/" + id + "/output";
  line->message<Assign>();
  const std::string output = "\"" + std::string(1 << 20, 'x') + "\"";
  EXPECT_EQ(send("PUT", path + "?attempt=1", "garcia", output).status, 403);
  EXPECT_EQ(send("PUT", path + "?attempt=1", "thief", output).status, 403);
  EXPECT_EQ(send("PUT", path + "?attempt=2", "cluster", output).status, 409);
  EXPECT_EQ(send("PUT", path, "cluster", output).status, 409);
  const auto put = send("PUT", path + "?attempt=1", "cluster", output);
  ASSERT_EQ(put.status, 201) << put.body;
  line->socket->send_text(encode(Ended{{{{id, 1}, Ending::done, put.body}}}));
  line->message<Stored>();
  EXPECT_EQ(good(call("GET", "/api/v1/tasks/" + id, "garcia"))["output"]["bytes"], output.size());
  EXPECT_EQ(send("GET", path, "garcia").body, output);
  EXPECT_EQ(send("PUT", path + "?attempt=1", "cluster", "1").status, 409);  // it has ended
}

TEST_P(ComputeRest, ViewersSeeEventsAndPreviews) {
  const auto line = join();
  const std::string id = submit(), one = "/api/v1/tasks/" + id;
  line->message<Assign>();
  Remote viewer(url(one + "/live"), tokens.at("lee"));
  EXPECT_EQ(json::parse(viewer.text())["event"], "placed");
  EXPECT_TRUE(line->message<Watch>().on);
  line->socket->send(encode_preview({id, "object", "zstd", 3, "u16", {2, 4}, -0.5, 2, "bytes"}), true);
  EXPECT_EQ(decode_preview(viewer.binary()).bytes, "bytes");
  const auto shown = send("GET", one + "/previews/object", "lee");
  EXPECT_EQ(shown.body, "bytes");
  EXPECT_EQ(*shown.headers.find("X-Farfield-Shape"), "2,4");
  EXPECT_EQ(*shown.headers.find("X-Farfield-Range"), "-0.5,2");
  EXPECT_EQ(*shown.headers.find("Content-Type"), "application/zstd");
  EXPECT_EQ(send("GET", one + "/previews/probe", "lee").status, 404);
  line->socket->send_text(encode(Progressed{{{{id, 1}, 0.5, "half"}}}));
  EXPECT_EQ(json::parse(viewer.text())["event"], "running");
  EXPECT_EQ(json::parse(viewer.text())["task"]["progress"], 0.5);
  line->socket->send_text(encode(Ended{{{{id, 1}, Ending::done, "1"}}}));
  EXPECT_EQ(json::parse(viewer.text())["event"], "ended");
  EXPECT_THAT(viewer.closed(), HasSubstr("1000"));
  // Who comes too late hears the end, as server-sent events, too.
  EXPECT_THAT(send("GET", one + "/events", "lee").body, HasSubstr("event: ended"));
}

TEST_P(ComputeRest, LinesEndWithTheirToken) {
  const auto line = join();
  const std::string id = submit();
  line->message<Assign>();
  Remote viewer(url("/api/v1/tasks/" + id + "/live"), tokens.at("lee"));
  viewer.text();
  f->issuer.revoke_subject("user:lee");
  EXPECT_THAT(viewer.closed(), HasSubstr("revoked"));
  f->issuer.revoke("cluster", tokens.at("cluster"));  // this token alone
  EXPECT_THAT(line->closed(), HasSubstr("revoked"));
  EXPECT_THROW(connect(), core::Error);
  EXPECT_EQ(broker->status(id).state, TaskState::placed);  // no task ends of it
  tokens["cluster"] = f->issuer.client_tokens("cluster", std::string(kEndpointScope)).access;
  EXPECT_NO_THROW(connect());
}

TEST_P(ComputeRest, EventsEndWithTheirToken) {
  const std::string id = submit();
  struct First final : net::BodySink {
    void write(std::span<const std::byte> bytes) override {
      if (bytes.empty() || std::exchange(heard, true)) return;
      opened.set_value();
    }
    bool heard = false;
    std::promise<void> opened;
  } sink;
  auto reading = std::async(std::launch::async, [&] {
    net::Client(server->origin())
        .send(
            {.target = "/api/v1/tasks/" + id + "/events", .headers = {{"Authorization", "Bearer " + tokens.at("lee")}}},
            sink);
  });
  ASSERT_EQ(sink.opened.get_future().wait_for(std::chrono::seconds(10)), std::future_status::ready);
  EXPECT_EQ(reading.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  f->issuer.revoke_subject("user:lee");
  // Nobody runs the task: nothing else would end this.
  EXPECT_EQ(reading.wait_for(std::chrono::seconds(10)), std::future_status::ready) << "goes on after the revocation";
  broker->cancel(id);
  EXPECT_EQ(send("GET", "/api/v1/tasks/" + id + "/events", "lee").status, 401);
}

TEST_P(ComputeRest, WhoLeftAnExperimentSeesItsTasksNoMore) {
  std::vector<std::string> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(submit());
  EXPECT_EQ(good(call("GET", "/api/v1/tasks?limit=2", "garcia"))["tasks"].size(), 2U);
  f->directory.set_role(kOther, "user:garcia", auth::Role::member);
  const std::string other = submit({{"experiment", kOther}});
  submit();
  f->directory.set_role(kMine, "user:other", auth::Role::owner);
  f->directory.set_role(kMine, "user:garcia", std::nullopt);
  // The latest is one of those that he may not see: pages are gone through until there are enough.
  const json seen = good(call("GET", "/api/v1/tasks?limit=1", "garcia"))["tasks"];
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_EQ(seen[0]["id"], other);
  EXPECT_EQ(call("GET", "/api/v1/tasks/" + ids[0], "garcia").status, 404);
}

INSTANTIATE_TEST_SUITE_P(Each, ComputeRest, store::testing::kinds(), store::testing::kind_name);

}  // namespace
}  // namespace farfield::services::compute
