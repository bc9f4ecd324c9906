// A flow whose actions are transfers between two agents, also when the service dies in between.

#include "farfield/services/flow/transfer_actions.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "farfield/services/flow/engine.hpp"
#include "farfield/services/flow/lines.hpp"
#include "farfield/services/transfer/testing_federation.hpp"

namespace farfield::services::flow {
namespace {
using ::testing::HasSubstr;
namespace fs = std::filesystem;
using transfer::testing::kMine;
using transfer::testing::kOther;

constexpr const char* kThereAndBack = R"({"StartAt": "In", "States": {
  "In": {"Type": "Action", "ActionUrl": "https://actions.automate.globus.org/transfer/transfer", "ResultPath": "$.in",
    "Parameters": {"source_endpoint_id.$": "$.from", "destination_endpoint_id.$": "$.to", "transfer_items":
      [{"source_path": "/scan100", "destination_path": "/~/input/100", "recursive": true}]}, "Next": "Out"},
  "Out": {"Type": "Action", "ActionUrl": "farfield:transfer", "ResultPath": "$.out",
    "Parameters": {"source_endpoint.$": "$.to", "destination_endpoint.$": "$.from", "DATA":
      [{"source_path": "input/100/a", "destination_path": "recon/a"}]}, "End": true}}})";

class TransferActions : public ::testing::Test {
protected:
  TransferActions() {
    fs::create_directories(federation.beamline / (kMine + "/scan100"));
    std::ofstream(federation.beamline / (kMine + "/scan100/a")) << "frames";
    open();
  }
  void open() {
    Providers providers;
    providers.add("transfer", urls_of("transfer"), transfer_actions(*federation.tasks));
    engine = std::make_unique<Engine>(*federation.database, std::move(providers));
  }
  std::string start(const std::string& from, const std::string& to) {
    FlowRecord flow;
    flow.owner = "garcia";
    flow.definition = kThereAndBack;
    const std::string id = engine->deploy(flow).id;
    grant = federation.issuer->issuer.delegate("user:garcia", "cli", "farfield", 3600);
    return engine->start(
        {.flow_id = id, .input = to_text({{"from", from}, {"to", to}}), .owner = "garcia", .grant = grant});
  }

  transfer::testing::Federation federation;
  std::unique_ptr<Engine> engine;
  std::string grant;
};

TEST_F(TransferActions, ThereAndBack) {
  const auto run = engine->wait(start("beamline/" + kMine, "cluster/" + kMine), 30);
  EXPECT_EQ(run.status, RunStatus::succeeded) << run.cause;
  EXPECT_EQ(transfer::testing::text_of(federation.cluster / (kMine + "/input/100/a")), "frames");
  EXPECT_EQ(transfer::testing::text_of(federation.beamline / (kMine + "/recon/a")), "frames");
  std::string log;
  for (const auto& event : engine->records().events(run.id)) log += event.body;
  EXPECT_THAT(log, HasSubstr("\"bytes_transferred\":6"));
}

/// What a run started at a scan's first file needs: its next state begins when the whole scan is there.
TEST_F(TransferActions, FollowsAScanThatIsStillWritten) {
  const fs::path scan = federation.beamline / (kMine + "/scan7");
  fs::create_directories(scan);
  std::ofstream(scan / "f0") << "frame 0";
  FlowRecord flow;
  flow.owner = "garcia";
  flow.definition = R"flow({"StartAt": "In", "States": {
    "In": {"Type": "Action", "ActionUrl": "farfield:transfer", "ResultPath": "$.in", "Parameters":
      {"source_endpoint.$": "$.from", "destination_endpoint.$": "$.to", "follow.=": "getattr('scan.follow', False)",
       "DATA": [{"source_path": "scan7", "destination_path": "input/7", "recursive": true}]}, "Next": "Back"},
    "Back": {"Type": "Action", "ActionUrl": "farfield:transfer", "ResultPath": "$.out", "Parameters":
      {"source_endpoint.$": "$.to", "destination_endpoint.$": "$.from",
       "DATA": [{"source_path": "input/7", "destination_path": "recon/7", "recursive": true}]}, "End": true}}})flow";
  const std::string id = engine->deploy(flow).id;
  grant = federation.issuer->issuer.delegate("user:garcia", "cli", "farfield", 3600);
  const std::string run =
      engine->start({.flow_id = id,
                     .input = to_text({{"from", "beamline/" + kMine},
                                       {"to", "cluster/" + kMine},
                                       {"scan", {{"follow", {{"marker", "done"}, {"quiet_s", 0}}}}}}),
                     .owner = "garcia",
                     .grant = grant});
  const fs::path there = federation.cluster / (kMine + "/input/7");
  for (int i = 0; i < 1000 && !fs::exists(there / "f0"); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_TRUE(fs::exists(there / "f0"));  // while the scan goes on
  EXPECT_EQ(engine->records().run(run).states, std::vector<std::string>{"In"});
  std::ofstream(scan / "f1") << "frame 1";
  std::ofstream(scan / "done") << "";
  const auto ended = engine->wait(run, 30);
  EXPECT_EQ(ended.status, RunStatus::succeeded) << ended.cause;
  const fs::path back = federation.beamline / (kMine + "/recon/7");
  EXPECT_EQ(transfer::testing::text_of(back / "f0"), "frame 0");
  EXPECT_EQ(transfer::testing::text_of(back / "f1"), "frame 1");  // the second state saw the last file
}

TEST_F(TransferActions, NobodyGetsWhatIsNotHis) {
  for (const auto& [from, to] : {std::pair("beamline/" + kMine, "cluster/" + kOther),
                                 {"beamline/" + kMine, "nowhere/" + kMine},
                                 {"beamline/" + kMine, "cluster"}}) {
    const auto run = engine->wait(start(from, to), 30);
    EXPECT_EQ(run.status, RunStatus::failed) << to;
  }
  EXPECT_FALSE(fs::exists(federation.cluster / kOther));
}

TEST_F(TransferActions, AnIdentityReachesWhatTheUserDoesNot) {
  auth::Directory& directory = federation.issuer->directory;
  directory.add_service("courier", {"farfield"});
  directory.set_role(kMine, "service:courier", auth::Role::member);
  directory.set_role(kOther, "service:courier", auth::Role::member);
  directory.set_actor("courier", "user:garcia", true);
  const auto moved = [&](const Json& run_as) {
    FlowRecord flow;
    flow.owner = "garcia";
    Json definition = Json::parse(kThereAndBack);
    for (const char* state : {"In", "Out"}) definition["States"][state].update(run_as);
    flow.definition = to_text(definition);
    auth::Issuer& issuer = federation.issuer->issuer;
    return engine->wait(
        engine->start(
            {.flow_id = engine->deploy(flow).id,
             .input = to_text({{"from", "beamline/" + kMine}, {"to", "cluster/" + kOther}}),
             .owner = "garcia",
             .grant = issuer.delegate("user:garcia", "cli", "farfield", 3600),
             .identities = {{"Courier",
                             {"service:courier",
                              issuer.impersonate({"service:courier", "user:garcia", "user:garcia"}, "cli", 3600)}}}}),
        30);
  };
  EXPECT_EQ(moved(Json::object()).status, RunStatus::failed);
  EXPECT_FALSE(fs::exists(federation.cluster / (kOther + "/input/100/a")));
  const auto run = moved({{"RunAs", "Courier"}});
  EXPECT_EQ(run.status, RunStatus::succeeded) << run.cause;
  EXPECT_EQ(transfer::testing::text_of(federation.cluster / (kOther + "/input/100/a")), "frames");
  EXPECT_EQ(federation.tasks->list("service:courier", 10).size(), 2U);
}

TEST_F(TransferActions, ARevokedRunStopsWorking) {
  federation.issuer->issuer.revoke_subject("user:garcia");
  const std::string id = start("beamline/" + kMine, "cluster/" + kMine);
  federation.issuer->issuer.revoke_grant(grant);
  const auto run = engine->wait(id, 30);
  // It may have ended before it was revoked; if not, it has failed and said why.
  if (run.status == RunStatus::failed) EXPECT_THAT(run.cause, HasSubstr("revoked"));
  else EXPECT_EQ(run.status, RunStatus::succeeded);
}

TEST_F(TransferActions, GoesOnAfterACrashWithTheSameTask) {
  // The cluster is away: the transfer waits.
  const auto port = federation.cluster.server->port();
  federation.cluster.server->stop(0);
  federation.cluster.server.reset();
  const std::string id = start("beamline/" + kMine, "cluster/" + kMine);
  while (federation.tasks->list("user:garcia", 10).empty()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  engine.reset();
  federation.tasks.reset();
  federation.tasks = std::make_unique<transfer::Tasks>(
      *federation.database, transfer::place_resolver(*federation.places, federation.issuer->issuer), federation.clock);
  federation.cluster.start(*federation.issuer, port);
  open();
  const auto run = engine->wait(id, 30);
  EXPECT_EQ(run.status, RunStatus::succeeded) << run.cause;
  EXPECT_EQ(federation.tasks->list("user:garcia", 10).size(), 2U);  // one for each action
}
}  // namespace
}  // namespace farfield::services::flow
