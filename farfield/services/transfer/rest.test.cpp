// Transfers and places over HTTP, between two agents that know nobody but the issuer's keys.

#include "farfield/services/transfer/rest.hpp"

#include <sys/stat.h>

#include <atomic>
#include <thread>

#include "farfield/codec/checksum.hpp"
#include "farfield/net/event_stream.hpp"
#include "farfield/services/transfer/testing_federation.hpp"

namespace farfield::services::transfer {
namespace {

using nlohmann::json;
using testing::caught;
using testing::kMine;
using testing::kOther;

class TransferRest : public ::testing::Test {
protected:
  void SetUp() override {
    core::set_log_sink(log);
    token = f.issuer->log_in("garcia").access;
    for (int i = 0; i < 3; ++i)
      testing::write_plain(f.beamline / (kMine + "/input/scan100/f" + std::to_string(i)),
                           testing::random_text(5000, static_cast<std::uint64_t>(i)));
    testing::write_plain(f.beamline / (kOther + "/secret"), "secret");
  }
  void TearDown() override { core::set_log_sink(nullptr); }

  static json transfer(const std::string& from = kMine, const std::string& to = kMine) {
    return {{"source", "beamline/" + from},
            {"destination", "cluster/" + to},
            {"items", {{{"source", "input/scan100"}, {"destination", "input/100"}, {"recursive", true}}}}};
  }
  std::string submit(const json& body) {
    return f.ok(f.send("POST", "/api/v1/transfers", token, body.dump())).value("id", "");
  }

  std::shared_ptr<auth::testing::LogKeeper> log = std::make_shared<auth::testing::LogKeeper>();
  testing::Federation f;
  std::string token;
};

TEST_F(TransferRest, FromOneAgentToAnother) {
  const auto submitted = f.send("POST", "/api/v1/transfers", token, transfer().dump());
  EXPECT_EQ(submitted.status, 201) << submitted.body;
  const std::string id = json::parse(submitted.body)["id"];
  const auto status = f.tasks->wait(id, 30);
  EXPECT_EQ(status.state, TaskState::succeeded) << status.problem;
  for (const auto* name : {"f0", "f1", "f2"})
    EXPECT_EQ(testing::read_plain(f.cluster / (kMine + "/input/100/" + name)),
              testing::read_plain(f.beamline / (kMine + "/input/scan100/" + name)));
  const json shown = f.ok(f.send("GET", "/api/v1/transfers/" + id, token));
  EXPECT_EQ(shown["state"], "succeeded");
  EXPECT_EQ(shown["request"]["owner"], "user:garcia");
  EXPECT_EQ(shown["progress"]["files_copied"], 3);
  const json units = f.ok(f.send("GET", "/api/v1/transfers/" + id + "/units?limit=2", token))["units"];
  ASSERT_EQ(units.size(), 2U);
  EXPECT_EQ(units[0]["destination"], "input/100/f0");
  EXPECT_EQ(units[0]["size_bytes"], 5000);
  const json rest = f.ok(f.send("GET", "/api/v1/transfers/" + id + "/units?after=input%2F100%2Ff1", token))["units"];
  EXPECT_EQ(rest.size(), 1U);
  EXPECT_EQ(f.ok(f.send("GET", "/api/v1/transfers", token))["transfers"][0]["id"], id);
  // What the transfer was done with is in no answer and in no log.
  const std::string grant = f.tasks->status(id).request.grant;
  EXPECT_FALSE(grant.empty());
  EXPECT_EQ(f.send("GET", "/api/v1/transfers/" + id, token).body.find(grant), std::string::npos);
  EXPECT_EQ(log->all().find("eyJ"), std::string::npos);
  EXPECT_NE(log->all().find("agent.access decision=allowed subject=user:garcia"), std::string::npos);
}

TEST_F(TransferRest, LargeFilesGoFromAgentToAgentByThemselves) {
  const std::string large = testing::random_text(9 << 20, 5);  // three chunks
  testing::write_plain(f.beamline / (kMine + "/input/scan100/large"), large);
  const auto fetched = [&](const std::string& log_text) {
    std::size_t count = 0;
    for (std::size_t at = 0; (at = log_text.find("/fetch/{number}", at)) != std::string::npos; ++at) ++count;
    return count;
  };
  EXPECT_EQ(f.tasks->wait(submit(transfer()), 60).state, TaskState::succeeded);
  EXPECT_EQ(testing::read_plain(f.cluster / (kMine + "/input/100/large")), large);
  EXPECT_EQ(fetched(log->all()), 3U);
  EXPECT_EQ(log->all().find("/chunk/{number}"), std::string::npos);  // nothing came by way of the service

  // One that cannot reach the other is given the bytes.
  const TaskRequest request = request_from_json(transfer().dump());
  const std::string grant = f.issuer->issuer.delegate("user:garcia", "cli", needed_scope(request), 600);
  const std::string to_token = f.issuer->issuer.mint(grant, "write:/experiments/" + kMine, f.cluster.server->origin());
  net::Client client(f.cluster.server->origin(), {.trust = {.pem = f.cluster.certificate()}});
  const auto send = [&](const std::string& what, const json& body) {
    return client.send({.method = "POST",
                        .target = "/transfer/v1/" + kMine + what,
                        .headers = {{"Authorization", "Bearer " + to_token}},
                        .body = body.dump()});
  };
  const json begun =
      f.ok(send("/receive?path=new", {{"version", {{"size_bytes", 9 << 20}, {"mtime_ns", 0}, {"tag", ""}}},
                                      {"chunk_bytes", 4 << 20},
                                      {"growing", false},
                                      {"sha256", false}}));
  const std::string session = "/receive/" + begun["session"].get<std::string>();
  json body{{"bytes", 4 << 20},
            {"from",
             {{"origin", "https://127.0.0.1:1"},
              {"experiment", kMine},
              {"path", "input/scan100/large"},
              {"token", ""},
              {"certificate", ""}}}};
  f.places->put({"away", "https://127.0.0.1:1", "", "service:agent", 0, 0});
  const std::string read = "read:/experiments/" + kMine;
  body["from"]["token"] = f.issuer->issuer.mint(grant, read, "https://127.0.0.1:1");
  EXPECT_EQ(f.ok(send(session + "/fetch/0", body))["fetched"], false);
  body["from"]["origin"] = f.beamline.server->origin();
  body["from"]["certificate"] = f.beamline.certificate();
  body["from"]["token"] = f.issuer->issuer.mint(grant, read, f.beamline.server->origin());
  body["from"]["path"] = "../" + kOther + "/secret";
  EXPECT_EQ(send(session + "/fetch/0", body).status, 400);
  body["from"]["path"] = "input/scan100/large";
  body["bytes"] = 5 << 20;
  EXPECT_EQ(send(session + "/fetch/0", body).status, 422);
  EXPECT_EQ(send(session + "/fetch/99999999999999999999", body).status, 400);
}

/// Whoever may write at an agent names the address that it fetches from.
TEST_F(TransferRest, AnAgentIsSentToRegisteredPlacesOnly) {
  std::atomic<int> visitors{0};
  net::Router router;
  router.get("/{path...}", [&](const net::Request&) {
    ++visitors;
    return net::Response::text(200, std::string(4 << 20, 'x'));
  });
  const net::TlsIdentity tls{f.folder / "inner.pem", f.folder / "inner.key"};
  net::make_self_signed(tls, {"127.0.0.1"});
  const net::Server inner(net::ServerOptions{.tls = tls}, std::move(router));  // what only the agent's network reaches
  const TaskRequest request = request_from_json(transfer().dump());
  auto& issuer = f.issuer->issuer;
  const std::string grant = issuer.delegate("user:garcia", "cli", needed_scope(request), 600);
  const std::string read = "read:/experiments/" + kMine;
  const std::string cluster = f.cluster.server->origin(), beamline = f.beamline.server->origin();
  const std::string mine = issuer.mint(grant, "write:/experiments/" + kMine, cluster);
  const std::string good = issuer.mint(grant, read, beamline);
  net::Client client(cluster, {.trust = {.pem = f.cluster.certificate()}});
  const auto send = [&](const std::string& what, const json& body) {
    return client.send({.method = "POST",
                        .target = "/transfer/v1/" + kMine + what,
                        .headers = {{"Authorization", "Bearer " + mine}},
                        .body = body.dump()});
  };
  const json begun =
      f.ok(send("/receive?path=new", {{"version", {{"size_bytes", 9 << 20}, {"mtime_ns", 0}, {"tag", ""}}},
                                      {"chunk_bytes", 4 << 20},
                                      {"growing", false},
                                      {"sha256", false}}));
  const auto fetched = [&](const std::string& origin, const std::string& with, const std::string& experiment = kMine,
                           const std::string& path = "input/scan100/f0") {
    return send("/receive/" + begun["session"].get<std::string>() + "/fetch/0",
                {{"bytes", 4 << 20},
                 {"from",
                  {{"origin", origin},
                   {"experiment", experiment},
                   {"path", path},
                   {"token", with},
                   {"certificate", testing::text_of(tls.certificate)}}}})
        .status;
  };
  for (const std::string& with : {std::string(), std::string("x"), mine, good, token}) {
    EXPECT_EQ(fetched(inner.origin(), with), 403);
    EXPECT_EQ(fetched("http://169.254.169.254", with), 403);
    EXPECT_EQ(fetched("file:///etc/passwd", with), 403);
    EXPECT_EQ(fetched(beamline + "/path", with), 403);
  }
  EXPECT_EQ(fetched(beamline, mine), 403);  // made for another agent
  EXPECT_EQ(fetched(beamline, good, kOther), 403);
  const std::string part = issuer.mint(grant, read + "/input/scan100", beamline);
  EXPECT_EQ(fetched(beamline, part, kMine, "input/scan1001/f0"), 403);
  const core::testing::TemporaryFolder keys_folder;
  auth::KeyRing thief(keys_folder / "thief", f.issuer->clock());
  auth::Claims claims;
  claims.issuer = auth::testing::kIssuer;
  claims.subject = "user:garcia";
  claims.audience = inner.origin();
  claims.id = "1";
  claims.issued_s = f.issuer->now_s;
  claims.expires_s = claims.issued_s + 60;
  claims.scopes = auth::parse_scopes(read).value();
  EXPECT_EQ(fetched(inner.origin(), thief.sign(auth::claims_json(claims))), 403);
  EXPECT_EQ(visitors, 0);
  // The same token, where the issuer has made it for that place.
  f.places->put({"inner", inner.origin(), "", "service:agent", 0, 0});
  EXPECT_EQ(fetched(inner.origin(), issuer.mint(grant, read, inner.origin())), 200);
  EXPECT_EQ(visitors, 1);
}

TEST_F(TransferRest, EventsTellTheEnd) {
  struct Sink final : net::BodySink {
    std::vector<net::Event> events;
    net::EventParser parser{[this](const net::Event& event) { events.push_back(event); }};
    void write(std::span<const std::byte> bytes) override {
      parser.write({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    }
  } sink, late;
  const std::string id = submit(transfer());
  net::ClientRequest request{.target = "/api/v1/transfers/" + id + "/events",
                             .headers = {{"Authorization", "Bearer " + token}}};
  EXPECT_TRUE(f.client->send(request, sink).ok());  // until the stream ends
  ASSERT_FALSE(sink.events.empty());
  EXPECT_EQ(sink.events.back().name, "ended");
  EXPECT_EQ(json::parse(sink.events.back().data)["state"], "succeeded");
  EXPECT_TRUE(f.client->send(request, late).ok());
  ASSERT_EQ(late.events.size(), 1U);
  EXPECT_EQ(late.events[0].name, "ended");
}

TEST_F(TransferRest, AStreamEndsWithTheSessionOfItsViewer) {
  json body = transfer();
  body["follow"] = {{"marker", "done"}, {"quiet_s", 0}};
  const std::string id = submit(body);
  struct Sink final : net::BodySink {
    std::atomic<int> bytes{0};
    void write(std::span<const std::byte> piece) override { bytes += static_cast<int>(piece.size()); }
  } sink;
  std::thread viewer([&] {
    net::ClientRequest request{.target = "/api/v1/transfers/" + id + "/events",
                               .headers = {{"Authorization", "Bearer " + token}}};
    f.client->send(request, sink);
  });
  for (int i = 0; i < 4000 && sink.bytes == 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  f.issuer->issuer.revoke_grant(f.issuer->issuer.verifier().verify(token)->grant);
  viewer.join();  // would be waiting still
  EXPECT_EQ(f.tasks->status(id).state, TaskState::active);  // with a grant of its own
  f.tasks->cancel(id);
  f.tasks->wait(id, 30);
}

TEST_F(TransferRest, AKeySubmitsOnceForEachUser) {
  const auto send = [&](const std::string& key, const json& body) {
    return f.send("POST", "/api/v1/transfers", token, body.dump(), key);
  };
  const std::string id = f.ok(send("one", transfer()))["id"];
  EXPECT_EQ(f.ok(send("one", transfer()))["id"], id);
  EXPECT_NE(f.ok(send("two", transfer()))["id"], id);
  json other = transfer();
  other["label"] = "another";
  EXPECT_EQ(send("one", other).status, 409);
  EXPECT_EQ(f.tasks->wait(id, 30).state, TaskState::succeeded);  // its grant is as it was
  EXPECT_EQ(f.send("POST", "/api/v1/transfers", token, transfer().dump(), std::string(201, 'k')).status, 400);
}

TEST_F(TransferRest, OnlyWhatTheSubmitterMayDo) {
  const auto status = [&](const std::string& with, const json& body) {
    return f.send("POST", "/api/v1/transfers", with, body.dump()).status;
  };
  EXPECT_EQ(status("", transfer()), 401);
  EXPECT_EQ(status(token, transfer(kOther, kMine)), 403);
  EXPECT_EQ(status(token, transfer(kMine, kOther)), 403);
  EXPECT_EQ(status(f.issuer->log_in("lee").access, transfer()), 403);  // a viewer does not write
  EXPECT_EQ(status(f.issuer->log_in("garcia", "read:/experiments/" + kMine).access, transfer()), 403);
  json body = transfer();
  body["owner"] = "user:other";
  EXPECT_EQ(status(token, body), 400);
  for (const auto* place : {"nowhere/2026-1-Garcia-1", "beamline", "beamline/../2026-1-Garcia-1", "/", "x/y/z"}) {
    body = transfer();
    body["source"] = place;
    EXPECT_GE(status(token, body), 400) << place;
    EXPECT_LT(status(token, body), 500) << place;
  }
  body = transfer();
  body["deadline_s"] = 1e9;
  EXPECT_EQ(status(token, body), 400);
  EXPECT_EQ(f.send("POST", "/api/v1/transfers", token, "{").status, 400);
  EXPECT_TRUE(f.tasks->list("", 10).empty());

  // Others do not learn of a transfer, administrators do.
  const std::string id = submit(transfer()), lee = f.issuer->log_in("lee").access;
  for (const auto* what : {"", "/units", "/events"})
    EXPECT_EQ(f.send("GET", "/api/v1/transfers/" + id + what, lee).status, 404) << what;
  EXPECT_EQ(f.send("POST", "/api/v1/transfers/" + id + "/cancel", lee).status, 404);
  EXPECT_TRUE(f.ok(f.send("GET", "/api/v1/transfers", lee))["transfers"].empty());
  EXPECT_EQ(f.send("GET", "/api/v1/transfers?all=true", lee).status, 403);
  const std::string administrator = f.issuer->log_in("other").access;
  EXPECT_EQ(f.ok(f.send("GET", "/api/v1/transfers?all=true", administrator))["transfers"].size(), 1U);
  EXPECT_EQ(f.send("GET", "/api/v1/transfers/" + id, administrator).status, 200);
  EXPECT_EQ(f.send("GET", "/api/v1/transfers?limit=0", token).status, 400);
  f.tasks->wait(id, 30);
}

TEST_F(TransferRest, ARevokedGrantOrALostRoleEndsTheTask) {
  json body = transfer();
  body["follow"] = {{"marker", "done"}, {"quiet_s", 0}};
  std::string id = submit(body);
  const auto active = [&] { return f.tasks->status(id).state == TaskState::active; };
  for (int i = 0; i < 1000 && !active(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  f.issuer->issuer.revoke_grant(f.tasks->status(id).request.grant);
  // As it is pushed to the agents (TrustFeed has its own test).
  for (const auto& entry : f.issuer->issuer.verifier().revocations().after(0))
    for (auto* agent : {&f.beamline, &f.cluster}) agent->verifier->revocations().add(entry);
  auto status = f.tasks->wait(id, 30);
  EXPECT_EQ(status.state, TaskState::failed);
  EXPECT_NE(status.problem.find("revoked"), std::string::npos) << status.problem;

  // Without a push the role counts when the next token is made.
  id = submit(body);
  for (int i = 0; i < 1000 && !active(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  f.issuer->directory.set_role(kMine, "user:lee", auth::Role::owner);
  f.issuer->directory.set_role(kMine, "user:garcia", std::nullopt);
  const auto resolve = place_resolver(*f.places, f.issuer->issuer);
  EXPECT_EQ(caught([&] { resolve("beamline/" + kMine, f.tasks->status(id).request); }).code,
            core::ErrorCode::forbidden);
  f.tasks->cancel(id);
  EXPECT_EQ(f.tasks->wait(id, 30).state, TaskState::cancelled);
}

TEST_F(TransferRest, TokensOfOneAgentAreNoGoodElsewhere) {
  const TaskRequest request = request_from_json(transfer().dump());
  const std::string grant = f.issuer->issuer.delegate("user:garcia", "cli", needed_scope(request), 600);
  const auto show = [&](const testing::TestAgent& agent, const std::string& good, const std::string& target,
                        const std::string& method = "GET") {
    net::Client client(agent.server->origin(), {.trust = {.pem = agent.certificate()}});
    return client
        .send({.method = method, .target = "/transfer/v1/" + target, .headers = {{"Authorization", "Bearer " + good}}})
        .status;
  };
  const std::string read = "read:/experiments/" + kMine, write = "write:/experiments/" + kMine;
  const std::string here = f.issuer->issuer.mint(grant, read, f.beamline.server->origin());
  EXPECT_EQ(show(f.beamline, here, kMine + "/stat?path=input"), 200);
  EXPECT_EQ(show(f.cluster, here, kMine + "/stat?path="), 401);  // another agent
  EXPECT_EQ(f.send("GET", "/api/v1/transfers", here).status, 401);  // the service
  EXPECT_EQ(show(f.beamline, token, kMine + "/stat?path=input"), 401);  // a token for the service
  EXPECT_EQ(show(f.beamline, here, kOther + "/stat?path=secret"), 403);  // another experiment
  EXPECT_EQ(show(f.beamline, here, kMine + "/folder?path=new", "POST"), 403);  // reading is not writing
  EXPECT_EQ(show(f.beamline, here, kMine + "/stat?path=..%2F" + kOther), 400);
  EXPECT_EQ(show(f.beamline, "", kMine + "/stat?path=input"), 401);
  const std::string part = f.issuer->issuer.mint(grant, read + "/input/scan100", f.beamline.server->origin());
  EXPECT_EQ(show(f.beamline, part, kMine + "/stat?path=input%2Fscan100%2Ff0"), 200);
  EXPECT_EQ(show(f.beamline, part, kMine + "/stat?path=input%2Fscan1001"), 403);
  EXPECT_EQ(show(f.beamline, part, kMine + "/list?path=input"), 403);
  const std::string there = f.issuer->issuer.mint(grant, write, f.cluster.server->origin());
  EXPECT_EQ(show(f.cluster, there, kMine + "/folder?path=new", "POST"), 200);
  EXPECT_EQ(show(f.cluster, there, kMine + "/stat?path=new"), 403);  // nor is writing reading
  f.issuer->now_s += auth::kLongestLife_s + 60;
  EXPECT_EQ(show(f.beamline, here, kMine + "/stat?path=input"), 401);  // expired
  EXPECT_THROW(f.issuer->issuer.mint(grant, read, "https://127.0.0.1:1"), core::Error);
}

TEST_F(TransferRest, AFolderThatIsMadeAnewIsAnotherAndTheOldOneStaysUntilItIsUsedNoMore) {
  const std::string scope = "read:/experiments/" + kMine + " write:/experiments/" + kMine;
  const std::string grant = f.issuer->issuer.delegate("user:garcia", "cli", scope, 600);
  AgentPlace place{f.cluster.server->origin(), kMine, {}, {}};
  place.token = [&] { return f.issuer->issuer.mint(grant, scope, f.cluster.server->origin()); };
  place.client.trust.pem = f.cluster.certificate();
  const auto agent = agent_provider(place);
  agent->make_folder("old");
  const auto receiver = agent->receive("file", {{9 << 20, 0, ""}, 4 << 20, false, false});
  std::filesystem::rename(f.cluster / kMine, f.cluster / "2026-1-Moved-1");
  agent->make_folder("new");
  EXPECT_FALSE(agent->stat("old"));
  EXPECT_TRUE(agent->stat("new"));
  const std::vector<std::byte> chunk(4 << 20);
  receiver->put(0, chunk, codec::crc32c(chunk));  // where it was begun
  receiver->abandon();
  EXPECT_TRUE(std::filesystem::is_empty(f.cluster / (kMine + "/new")));
}

TEST_F(TransferRest, PlacesAreRegisteredByAgentsOnly) {
  const std::string agent = f.issuer->issuer.client_tokens("agent", kAgentScope).access;
  const auto put = [&](const std::string& with, const json& body) {
    return f.send("POST", "/api/v1/places", with, body.dump()).status;
  };
  const json place{{"name", "dtn"}, {"url", "https://dtn.example.org:8444"}};
  EXPECT_EQ(put("", place), 401);
  EXPECT_EQ(put(token, place), 403);
  EXPECT_EQ(put(agent, place), 200);
  EXPECT_EQ(put(agent, place), 200);  // it is there again
  for (const auto& [name, value] : {std::pair{"name", "../x"},
                                    {"name", "A B"},
                                    {"url", "http://dtn.example.org"},
                                    {"url", "https://dtn.example.org/path"},
                                    {"url", "https://user@dtn.example.org"},
                                    {"url", "file:///etc/passwd"},
                                    {"certificate", "not one"},
                                    {"owner", "user:garcia"}}) {
    json bad = place;
    bad[name] = value;
    EXPECT_EQ(put(agent, bad), 400) << bad;
  }
  // Another identity neither takes a name nor a URL.
  f.issuer->directory.add_service("thief", {kAgentScope});
  const std::string thief = f.issuer->issuer.client_tokens("thief", kAgentScope).access;
  EXPECT_EQ(put(thief, place), 409);
  EXPECT_EQ(put(thief, {{"name", "mine"}, {"url", "https://dtn.example.org:8444"}}), 409);
  EXPECT_EQ(f.send("DELETE", "/api/v1/places/dtn", thief).status, 403);
  EXPECT_EQ(f.send("DELETE", "/api/v1/places/dtn", token).status, 403);

  const json listed = f.ok(f.send("GET", "/api/v1/places", token))["places"];
  ASSERT_EQ(listed.size(), 3U);
  EXPECT_EQ(listed[2]["name"], "dtn");
  EXPECT_EQ(f.ok(f.send("GET", "/api/v1/places/cluster", token))["certificate"], f.cluster.certificate());
  EXPECT_EQ(f.send("GET", "/api/v1/places/nowhere", token).status, 404);

  // Of other people's servers administrators tell.
  const json xrootd{{"name", "storage"},
                    {"kind", "xrootd"},
                    {"url", "roots://xrootd.example.org:1094"},
                    {"folder", "/experiments"},
                    {"audience", "https://xrootd.example.org"}};
  const std::string administrator = f.issuer->log_in("other").access;
  EXPECT_EQ(put(agent, xrootd), 403);
  EXPECT_EQ(put(administrator, xrootd), 200);
  EXPECT_EQ(f.ok(f.send("GET", "/api/v1/places/storage", token))["folder"], "/experiments");
  EXPECT_TRUE(f.places->is_audience("https://xrootd.example.org"));
  EXPECT_FALSE(f.places->is_audience(""));
  for (const auto& [name, value] : {std::pair{"url", "root://xrootd.example.org:1094"},  // tokens without TLS
                                    {"url", "roots://"},
                                    {"url", "roots://host/path"},
                                    {"folder", ""},
                                    {"folder", "/"},
                                    {"folder", "/a/../b"},
                                    {"kind", "ftp"}}) {
    json bad = xrootd;
    bad[name] = value;
    EXPECT_EQ(put(administrator, bad), 400) << bad;
  }
  json odd = place;
  odd["folder"] = "/x";
  EXPECT_EQ(put(agent, odd), 400);
  EXPECT_EQ(f.send("DELETE", "/api/v1/places/dtn", agent).status, 204);
  EXPECT_EQ(f.send("GET", "/api/v1/places/dtn", token).status, 404);
  EXPECT_EQ(f.send("DELETE", "/api/v1/places/beamline", f.issuer->log_in("other").access).status, 204);
}

TEST_F(TransferRest, AnAgentThatIsAwayIsWaitedFor) {
  const std::uint16_t port = f.beamline.server->port();
  f.beamline.server.reset();
  const std::string id = submit(transfer());
  for (int i = 0; i < 2000 && f.tasks->status(id).problem.empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(f.tasks->status(id).state, TaskState::active);
  f.beamline.start(*f.issuer, port);
  EXPECT_EQ(f.tasks->wait(id, 60).state, TaskState::succeeded);
}

class TransferPlaces : public store::testing::EachDatabase {};
INSTANTIATE_TEST_SUITE_P(Each, TransferPlaces, store::testing::kinds(), store::testing::kind_name);

TEST_P(TransferPlaces, StayAcrossAStart) {
  if (IsSkipped() || HasFatalFailure()) return;
  const auto database = database_.open();
  std::int64_t now_s = 100;
  const auto clock = [&] { return now_s; };
  Places(*database, clock).put({"a", "https://a:1", "", "service:a", 0, 0});
  now_s = 200;
  Places places(*database, clock);
  EXPECT_EQ(places.find("a")->seen_s, 100);
  EXPECT_EQ(places.put({"a", "https://a:2", "", "service:a", 0, 0}).registered_s, 100);
  EXPECT_EQ(places.find("a")->seen_s, 200);
  EXPECT_TRUE(places.is_audience("https://a:2"));
  EXPECT_FALSE(places.is_audience("https://a:1"));
  EXPECT_FALSE(places.is_audience("'; DROP TABLE transfer_place; --"));
  EXPECT_EQ(places.list().size(), 1U);
  EXPECT_TRUE(places.remove("a"));
  EXPECT_FALSE(places.remove("a"));
}

}  // namespace
}  // namespace farfield::services::transfer
