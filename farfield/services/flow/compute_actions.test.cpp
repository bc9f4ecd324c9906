// A flow whose actions are tasks of an endpoint that is played by hand, also when the service dies in between.

#include "farfield/services/flow/compute_actions.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "farfield/services/auth/testing.hpp"
#include "farfield/services/compute/broker/testing.hpp"
#include "farfield/services/flow/engine.hpp"
#include "farfield/services/flow/lines.hpp"
#include "farfield/store/testing.hpp"

namespace farfield::services::flow {
namespace {
using compute::Ending;
using ::testing::HasSubstr;

class ComputeActions : public store::testing::EachDatabase {
protected:
  void SetUp() override {
    EachDatabase::SetUp();
    if (IsSkipped() || HasFailure()) return;
    db = database_.open();
    f = std::make_unique<auth::testing::IssuerFixture>(*db, (folder / "keys").string());
    open();
    broker->register_endpoint("cluster", "service:agent");
    endpoint = std::make_unique<compute::testing::HandEndpoint>(*broker, "cluster");
  }
  void open() {
    engine.reset();
    broker.reset();
    broker = std::make_unique<compute::Broker>(*db, compute::BrokerOptions{.folder = folder.path().string()});
    Providers providers;
    providers.add("compute", urls_of("compute"), compute_actions(*broker, f->issuer));
    engine = std::make_unique<Engine>(*db, std::move(providers));
  }
  void TearDown() override {
    endpoint.reset();
    engine.reset();
    EachDatabase::TearDown();
  }
  std::string start(const Json& body, const std::string& user = "garcia") {
    FlowRecord flow;
    flow.owner = "garcia";
    flow.definition = to_text({{"StartAt", "Recon"},
                               {"States",
                                {{"Recon",
                                  {{"Type", "Action"},
                                   {"ActionUrl", "https://compute.actions.globus.org/v3"},
                                   {"Parameters", body},
                                   {"End", true}}}}}});
    const std::string grant = f->issuer.delegate("user:" + user, "cli", "farfield", 3600);
    return engine->start({.flow_id = engine->deploy(flow).id, .owner = user, .grant = grant});
  }
  /// Waits for so many assignments.
  std::vector<compute::Assignment> assigned(std::size_t count) {
    std::vector<compute::Assignment> out;
    while (out.size() < count) {
      const auto some = endpoint->line().next<compute::Assign>().tasks;
      if (some.empty()) break;
      out.insert(out.end(), some.begin(), some.end());
    }
    return out;
  }
  std::string log(const std::string& run) {
    std::string out;
    for (const auto& event : engine->records().events(run)) out += event.body + "\n";
    return out;
  }
  static Json body(const Json& tasks, const Json& more = Json::object()) {
    // {one} is one, not a list of it, to the JSON library.
    Json out{{"endpoint_id", "cluster/2026-1-Garcia-1"}, {"tasks", tasks.is_array() ? tasks : Json::array({tasks})}};
    out.update(more);
    return out;
  }

  store::testing::TemporaryFolder folder;
  std::unique_ptr<store::Database> db;
  std::unique_ptr<auth::testing::IssuerFixture> f;
  std::unique_ptr<compute::Broker> broker;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<compute::testing::HandEndpoint> endpoint;
};
INSTANTIATE_TEST_SUITE_P(Each, ComputeActions, store::testing::kinds(), store::testing::kind_name);

const Json kNothing = {{"function_id", "farfield.test.nothing"}, {"kwargs", {{"n", 1}}}};

TEST_P(ComputeActions, OutputsAreWhereFlowsLookForThem) {
  endpoint->join();
  const std::string run = start(body({kNothing, {{"function_id", "farfield.test.nothing"}, {"args", {{{"n", 2}}}}}},
                                     {{"resource_specification", {{"num_nodes", 1}, {"num_ranks", 1}}},
                                      {"user_endpoint_config", {{"priority", "high"}, {"gpu_slots", 1}}}}));
  const auto tasks = assigned(2);
  ASSERT_EQ(tasks.size(), 2U);
  for (const auto& task : tasks) {
    EXPECT_EQ(task.request.owner, "user:garcia");
    EXPECT_EQ(task.request.experiment, "2026-1-Garcia-1");
    EXPECT_EQ(task.request.priority, compute::Priority::high);
    EXPECT_EQ(task.request.resources.gpu_slots, 1);
    endpoint->begin(task.key);
    endpoint->end(task.key, Ending::done, task.request.arguments);
  }
  const auto ended = engine->wait(run, 30);
  EXPECT_EQ(ended.status, RunStatus::succeeded) << ended.cause;
  EXPECT_THAT(log(run), HasSubstr(R"("results":[{"output":{"n":1})"));
  EXPECT_THAT(log(run), HasSubstr(R"({"output":{"n":2})"));
}

TEST_P(ComputeActions, AFailureIsTheFlowsAndTheOthersAreCancelled) {
  endpoint->join();
  const std::string run = start(body({kNothing, kNothing}));
  const auto tasks = assigned(2);
  ASSERT_EQ(tasks.size(), 2U);
  endpoint->end(tasks[0].key, Ending::failed, "null", "no such file");
  const auto ended = engine->wait(run, 30);
  EXPECT_EQ(ended.status, RunStatus::failed);
  EXPECT_EQ(ended.error, "ActionFailedException");
  EXPECT_THAT(ended.cause, HasSubstr("no such file"));
  EXPECT_EQ(endpoint->line().next<compute::Cancel>().tasks, std::vector<std::string>{tasks[1].key.task});
}

TEST_P(ComputeActions, NobodyComputesWhereHeMayNot) {
  endpoint->join();
  const auto failed = [&](const Json& asked, const std::string& user, const std::string& why) {
    const auto run = engine->wait(start(asked, user), 30);
    EXPECT_EQ(run.status, RunStatus::failed);
    EXPECT_EQ(run.error, "ActionUnableToRun");
    EXPECT_THAT(run.cause, HasSubstr(why));
  };
  failed(body({kNothing}), "lee", "not allowed");  // a viewer
  failed(body({kNothing}, {{"endpoint_id", "cluster/2026-1-Other-2"}}), "garcia", "not allowed");
  failed(body({kNothing}, {{"endpoint_id", "cluster"}}), "garcia", "ENDPOINT/EXPERIMENT");
  failed(body({kNothing}, {{"endpoint_id", "elsewhere/2026-1-Garcia-1"}}), "garcia", "elsewhere");
  failed(body({{"function_id", "nobody.knows"}}), "garcia", "nobody.knows");
  failed(body({kNothing}, {{"user_endpoint_config", {{"worker_init", "rm -rf /"}}}}), "garcia", "worker_init");
  EXPECT_TRUE(broker->list("", 10).empty());
}

TEST_P(ComputeActions, AfterACrashItIsTheSameTask) {
  endpoint->join();
  const std::string run = start(body({kNothing}));
  const auto tasks = assigned(1);
  ASSERT_EQ(tasks.size(), 1U);
  endpoint.reset();
  open();
  endpoint = std::make_unique<compute::testing::HandEndpoint>(*broker, "cluster");
  endpoint->join(4, {tasks[0].key});
  endpoint->end(tasks[0].key, Ending::done, "7");
  EXPECT_EQ(engine->wait(run, 30).status, RunStatus::succeeded);
  EXPECT_EQ(broker->list("", 10).size(), 1U);
}

TEST_P(ComputeActions, CancellingTheRunCancelsTheTask) {
  endpoint->join();
  const std::string run = start(body({kNothing}));
  const auto tasks = assigned(1);
  ASSERT_EQ(tasks.size(), 1U);
  engine->cancel(run, "garcia");
  EXPECT_EQ(endpoint->line().next<compute::Cancel>().tasks, std::vector<std::string>{tasks[0].key.task});
}

/// Starts nothing and cancels nothing: what a process does that dies between what it stores and what it does.
class Dying final : public ActionProvider {
public:
  void start(const ActionRequest&, const Notify&) override {}
  void cancel(const std::string&) override {}
};

TEST_P(ComputeActions, ACancellationThatWasStoredIsCarriedOutAfterACrash) {
  endpoint->join();
  const std::string run = start(body({kNothing})), other = start(body({kNothing}));
  const auto tasks = assigned(2);
  ASSERT_EQ(tasks.size(), 2U);
  engine.reset();
  Providers dying;
  dying.add("compute", urls_of("compute"), std::make_shared<Dying>());
  Engine(*db, std::move(dying)).cancel(run, "garcia");
  const auto is_open = [&](const auto& task) { return !compute::has_ended(broker->status(task.key.task).state); };
  EXPECT_TRUE(std::all_of(tasks.begin(), tasks.end(), is_open));
  endpoint.reset();
  open();
  for (const auto& task : tasks) {
    if (task.request.label == "run " + run) {
      EXPECT_EQ(broker->wait(task.key.task, 20).state, compute::TaskState::cancelled);
    } else {
      EXPECT_TRUE(is_open(task));
      EXPECT_EQ(task.request.label, "run " + other);
    }
  }
}

TEST_P(ComputeActions, AStateActsAsItsIdentityAlsoAfterACrash) {
  endpoint->join();
  f->directory.set_role("2026-1-Other-2", "service:agent", auth::Role::member);
  f->directory.set_actor("agent", "user:garcia", true);
  const auto state = [&](const char* place, const Json& more) {
    Json out{{"Type", "Action"},
             {"ActionUrl", "farfield:compute"},
             {"Parameters", body({kNothing}, {{"endpoint_id", place}})},
             {"ResultPath", "$.r"}};
    out.update(more);
    return out;
  };
  FlowRecord flow;
  flow.owner = "garcia";
  flow.definition = to_text({{"StartAt", "Mine"},
                             {"States",
                              {{"Mine", state("cluster/2026-1-Garcia-1", {{"Next", "Theirs"}})},
                               {"Theirs", state("cluster/2026-1-Other-2", {{"RunAs", "Recon"}, {"Next", "Again"}})},
                               {"Again", state("cluster/2026-1-Other-2", {{"RunAs", "Recon"}, {"End", true}})}}}});
  const std::string own = f->issuer.delegate("user:garcia", "cli", "farfield", 3600),
                    other = f->issuer.impersonate({"service:agent", "user:garcia", "user:garcia"}, "cli", 3600);
  const std::string run = engine->start({.flow_id = engine->deploy(flow).id,
                                         .owner = "garcia",
                                         .grant = own,
                                         .identities = {{"Recon", {"service:agent", other}}}});
  const auto mine = assigned(1);
  ASSERT_EQ(mine.size(), 1U);
  EXPECT_EQ(mine[0].request.owner, "user:garcia");
  endpoint.reset();
  open();
  endpoint = std::make_unique<compute::testing::HandEndpoint>(*broker, "cluster");
  endpoint->join(4, {mine[0].key});
  endpoint->end(mine[0].key, Ending::done, "1");
  const auto theirs = assigned(1);
  ASSERT_EQ(theirs.size(), 1U);
  EXPECT_EQ(theirs[0].request.owner, "service:agent");
  EXPECT_EQ(theirs[0].request.experiment, "2026-1-Other-2");
  // The permission is taken away while the run is on its way.
  f->directory.set_actor("agent", "user:garcia", false);
  endpoint->end(theirs[0].key, Ending::done, "2");
  const auto ended = engine->wait(run, 30);
  EXPECT_EQ(ended.status, RunStatus::failed);
  EXPECT_EQ(ended.error, "NoTokenException");
  EXPECT_THAT(ended.cause, HasSubstr("user:garcia may no longer act as service:agent"));
  EXPECT_EQ(ended.states, std::vector<std::string>{"Again"});
}

TEST_P(ComputeActions, ARoleWithoutAnIdentityHasNoToken) {
  FlowRecord flow;
  flow.owner = "garcia";
  flow.definition = to_text({{"StartAt", "A"},
                             {"States",
                              {{"A",
                                {{"Type", "Action"},
                                 {"ActionUrl", "farfield:compute"},
                                 {"RunAs", "Recon"},
                                 {"Parameters", body({kNothing})},
                                 {"End", true}}}}}});
  const std::string grant = f->issuer.delegate("user:garcia", "cli", "farfield", 3600);
  const auto run =
      engine->wait(engine->start({.flow_id = engine->deploy(flow).id, .owner = "garcia", .grant = grant}), 30);
  EXPECT_EQ(run.error, "NoTokenException");
  EXPECT_THAT(run.cause, HasSubstr("Recon"));
}
}  // namespace
}  // namespace farfield::services::flow
