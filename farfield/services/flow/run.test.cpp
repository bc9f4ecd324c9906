#include "farfield/services/flow/run.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

#include "farfield/services/flow/testing.hpp"

namespace farfield::services::flow {
namespace {
using testing::json;

/// A run whose actions and time a test moves by hand. Every event is also applied to a second run, which must always
/// be where the first one is: what was stored brings a run back.
class Played {
public:
  explicit Played(const std::string& definition, Json input = Json::object())
      : machine_(parse_definition(definition)), run_(machine_, kContext), copy_(machine_, kContext) {
    run_.start(std::move(input), now_s);
    settle();
  }
  void end(const std::string& key, ActionUpdate::State state, const std::string& details = "{}",
           const std::string& error = "") {
    ActionUpdate update{.key = key, .state = state, .details = details, .error = error};
    run_.on_action(update, now_s);
    if (state == ActionUpdate::State::active) copy_.on_action(update, now_s);  // heartbeats are not stored
    settle();
  }
  void succeed(const std::string& key, const std::string& details = "{}") {
    end(key, ActionUpdate::State::succeeded, details);
  }
  void fail(const std::string& key) { end(key, ActionUpdate::State::failed); }
  /// Time goes on until something is due, and that happens.
  double wait() {
    now_s = std::max(now_s, run_.due_s());
    run_.on_time(now_s);
    settle();
    return now_s;
  }
  void cancel() {
    run_.cancel("user", now_s);
    settle();
  }
  void resume() {
    run_.resume("user", now_s);
    settle();
  }
  Run& run() { return run_; }
  const Json& state() const { return run_.state(); }
  std::string status() const { return std::string(name_of(run_.status())); }

  double now_s = 1000;
  std::vector<ActionRequest> started;
  std::vector<std::string> cancelled, kinds;

private:
  static inline const Json kContext = json(R"({"run_id": "r", "flow_id": "f", "username": "garcia"})");

  void settle() {
    for (const Event& event : run_.take_events()) {
      kinds.push_back(event.kind);
      copy_.apply({event.kind, event.at_s, Json::parse(event.body.dump())});
    }
    for (const Effect& effect : run_.take_effects()) {
      if (const auto* start = std::get_if<StartAction>(&effect)) started.push_back(start->request);
      if (const auto* cancel = std::get_if<CancelAction>(&effect)) cancelled.push_back(cancel->key);
    }
    EXPECT_EQ(copy_.state(), run_.state());
    EXPECT_EQ(copy_.status(), run_.status());
    EXPECT_EQ(copy_.due_s(), run_.due_s());
    EXPECT_EQ(copy_.error(), run_.error());
    EXPECT_EQ(copy_.current_states(), run_.current_states());
    const auto keys = [](const Run& run) {
      std::vector<std::string> out;
      for (const Effect& effect : run.outstanding()) {
        const auto& request = std::get<StartAction>(effect).request;
        out.push_back(request.key + request.url + request.body);
      }
      return out;
    };
    EXPECT_EQ(keys(copy_), keys(run_));
  }

  std::shared_ptr<const Machine> machine_;
  Run run_, copy_;
};

/// A flow of one state S (ending) and others.
std::string one(const std::string& state, const std::string& others = "") {
  return R"({"StartAt": "S", "States": {"S": )" + state + (others.empty() ? "" : ", " + others) + "}}";
}
std::string action(const std::string& members) {
  return one(R"({"Type": "Action", "ActionUrl": "u", "Parameters": {"a": 1}, "ResultPath": "$.r", )" + members + "}",
             R"("C": {"Type": "Pass", "End": true})");
}

TEST(Run, TheScanFlow) {
  Played p(
      testing::kScanFlow,
      json(
          R"({"input": {"source_ep": "s", "dest_ep": "d", "local_dir": "/l", "data_dir": "/data", "compute_ep": "c", "recon_fn": "f"}})"));
  ASSERT_EQ(p.started.size(), 1U);
  EXPECT_EQ(p.started[0].key, "r.1");
  EXPECT_EQ(p.started[0].url, "https://actions.automate.globus.org/transfer/transfer");
  EXPECT_EQ(p.started[0].user, "garcia");
  EXPECT_EQ(
      Json::parse(p.started[0].body),
      json(
          R"({"source_endpoint_id": "s", "destination_endpoint_id": "d", "transfer_items": [{"source_path": "/l", "destination_path": "/data", "recursive": true}]})"));
  EXPECT_EQ(p.run().current_states(), std::vector<std::string>{"Transfer_Out"});
  p.succeed("r.1", R"({"files": 3})");
  EXPECT_EQ(p.state()["TransferResult"]["details"]["files"], 3);
  EXPECT_EQ(p.state()["TransferResult"]["status"], "SUCCEEDED");
  EXPECT_EQ(p.state()["TransferResult"]["start_time"], "1970-01-01T00:16:40.000000Z");
  p.succeed("r.2", R"({"result": ["fine"]})");
  EXPECT_EQ(Json::parse(p.started[2].body)["transfer_items"][0]["source_path"], "/data/recon");
  EXPECT_EQ(p.status(), "ACTIVE");
  p.succeed("r.3");
  EXPECT_EQ(p.status(), "SUCCEEDED");
  EXPECT_EQ(p.state()["Recon"]["details"]["result"][0], "fine");
}

TEST(Run, StatesThatTakeNoTimeAreOneStep) {
  Played p(R"json({"StartAt": "A", "States": {
    "A": {"Type": "Pass", "Result": {"x": 5}, "ResultPath": "$.p", "Next": "B"},
    "B": {"Type": "ExpressionEval", "Parameters": {"y.=": "p.x * 2", "who.$": "$._context.username"}, "ResultPath": "$.e", "Next": "C"},
    "C": {"Type": "Choice", "Choices": [{"Variable": "$.e.y", "NumericLessThan": 10, "Next": "F"}, {"Variable": "$.e.y", "NumericEquals": 10, "Next": "D"}], "Default": "F"},
    "D": {"Type": "Pass", "InputPath": "$.e", "End": true}, "F": {"Type": "Fail", "Error": "Own", "Cause": "why"}}})json");
  EXPECT_EQ(p.status(), "SUCCEEDED");
  EXPECT_EQ(p.state(), json(R"({"y": 10, "who": "garcia"})"));  // ResultPath `$` replaces the state
}

TEST(Run, Failures) {
  const auto outcome = [](const std::string& definition, Json input = Json::object()) {
    Played p(definition, std::move(input));
    return p.status() + " " + p.run().error();
  };
  EXPECT_EQ(outcome(one(R"({"Type": "Fail", "Error": "Own", "Cause": "why"})")), "FAILED Own");
  EXPECT_EQ(outcome(one(R"({"Type": "Choice", "Choices": [{"Variable": "$.a", "IsPresent": true, "Next": "S"}]})")),
            "FAILED States.NoChoiceMatched");
  EXPECT_EQ(outcome(one(R"({"Type": "Pass", "InputPath": "$.a", "End": true})")), "FAILED States.ParameterPathFailure");
  EXPECT_EQ(outcome(one(R"({"Type": "Pass", "Result": 1, "ResultPath": "$.a.b", "End": true})"), {{"a", 5}}),
            "FAILED States.ResultPathMatchFailure");
  EXPECT_EQ(outcome(one(R"({"Type": "ExpressionEval", "Parameters": {"a.=": "1 / 0"}, "End": true})")),
            "FAILED States.Runtime");
  EXPECT_EQ(outcome(one(R"({"Type": "Wait", "SecondsPath": "$.s", "End": true})"), {{"s", "x"}}),
            "FAILED States.Runtime");
  EXPECT_EQ(outcome(one(R"({"Type": "Pass", "Next": "S"})")), "FAILED States.Runtime");  // an endless loop
}

TEST(Run, WaitsUntilItIsTime) {
  Played p(
      R"json({"StartAt": "A", "States": {"A": {"Type": "Wait", "SecondsPath": "$.s", "Next": "B"}, "B": {"Type": "Wait", "Timestamp": "1970-01-01T00:20:00Z", "Next": "C"},
    "C": {"Type": "Wait", "Timestamp": "1970-01-01T00:00:00Z", "Next": "D"}, "D": {"Type": "Wait", "Seconds": 0.5, "End": true}}})json",
      {{"s", 30}});
  p.run().on_time(1029.9);
  EXPECT_TRUE(p.run().take_events().empty());
  EXPECT_EQ(p.wait(), 1030);
  EXPECT_EQ(p.wait(), 1200);
  EXPECT_EQ(p.wait(), 1200.5);
  EXPECT_EQ(p.status(), "SUCCEEDED");
  EXPECT_EQ(p.state(), json(R"({"s": 30})"));
}

TEST(Run, ActionsThatFail) {
  {
    Played p(action(R"("End": true)"));
    p.fail("r.1");
    EXPECT_EQ(p.run().error(), kActionFailed);
  }
  {
    Played p(action(R"("ExceptionOnActionFailure": false, "End": true)"));
    p.fail("r.1");
    EXPECT_EQ(p.status(), "SUCCEEDED");
    EXPECT_EQ(p.state()["r"]["status"], "FAILED");
  }
  {
    Played p(action(R"("ExceptionOnActionFailure": false, "End": true)"));
    p.end("r.1", ActionUpdate::State::refused);
    EXPECT_EQ(p.run().error(), kActionUnableToRun);
  }
  {
    Played p(action(
        R"("Catch": [{"ErrorEquals": ["Other"], "Next": "S"}, {"ErrorEquals": ["NoTokenException"], "Next": "C"}], "End": true)"));
    p.end("r.1", ActionUpdate::State::refused, "{}", "NoTokenException");
    EXPECT_EQ(p.status(), "SUCCEEDED");
    EXPECT_EQ(p.state()["r"]["Error"], "NoTokenException");
  }
  {
    Played p(action(R"("Catch": [{"ErrorEquals": ["States.All"], "Next": "C", "ResultPath": "$.why"}], "End": true)"));
    p.end("r.1", ActionUpdate::State::failed, R"({"code": 7})");
    EXPECT_EQ(p.state()["why"]["details"]["code"], 7);
    EXPECT_FALSE(p.state().contains("r"));
  }
  {
    Played p(action(R"("End": true)"));
    p.succeed("r.1", "not JSON");
    EXPECT_EQ(p.run().error(), kActionFailed);
  }
}

TEST(Run, ActionsThatTakeTooLong) {
  {
    Played p(action(R"("WaitTime": 60, "End": true)"));
    EXPECT_EQ(p.wait(), 1060);
    EXPECT_EQ(p.run().error(), kActionTimeout);
    EXPECT_EQ(p.cancelled, std::vector<std::string>{"r.1"});
    p.succeed("r.1");  // too late
    EXPECT_EQ(p.status(), "FAILED");
  }
  {
    Played p(action(
        R"("TimeoutSeconds": 60, "HeartbeatSeconds": 10, "Catch": [{"ErrorEquals": ["States.HeartbeatTimeout"], "Next": "C"}], "End": true)"));
    p.now_s = 1009;
    p.end("r.1", ActionUpdate::State::active);
    EXPECT_EQ(p.run().due_s(), 1019);
    p.run().expect_heartbeats(1009);
    EXPECT_EQ(p.run().due_s(), 1019);
    EXPECT_EQ(p.wait(), 1019);
    EXPECT_EQ(p.status(), "SUCCEEDED");
    EXPECT_EQ(p.state()["r"]["Error"], kHeartbeatTimeout);
  }
  {
    Played p(action(R"("TimeoutSeconds": 60, "End": true)"));
    p.wait();
    EXPECT_EQ(p.run().error(), kTimeout);
  }
  {
    Played p(R"({"TimeoutSeconds": 5, )" + action(R"("End": true)").substr(1));
    EXPECT_EQ(p.wait(), 1005);
    EXPECT_EQ(p.run().error(), kTimeout);
    EXPECT_EQ(p.cancelled.size(), 1U);
  }
}

TEST(Run, RetriesWithBackOffThenCatches) {
  Played p(action(
      R"("Retry": [{"ErrorEquals": ["ActionUnableToRun"], "MaxAttempts": 1}, {"ErrorEquals": ["States.All"], "IntervalSeconds": 2, "BackoffRate": 3, "MaxAttempts": 3, "MaxDelaySeconds": 10}],
     "Catch": [{"ErrorEquals": ["States.All"], "Next": "C"}], "End": true)"));
  p.fail("r.1");
  EXPECT_EQ(p.wait(), 1002);
  p.end("r.2", ActionUpdate::State::refused);  // counted by its own entry
  EXPECT_EQ(p.wait(), 1003);
  p.fail("r.3");
  EXPECT_EQ(p.wait(), 1009);
  p.fail("r.4");
  EXPECT_EQ(p.wait(), 1019);  // 18 s, at most 10
  p.fail("r.5");
  EXPECT_EQ(p.status(), "SUCCEEDED");
  EXPECT_EQ(p.state()["r"]["Error"], kActionFailed);
  EXPECT_EQ(p.started.size(), 5U);
}

TEST(Run, JitterIsWithinTheDelay) {
  for (int i = 0; i < 20; ++i) {
    Played p(action(
        R"("Retry": [{"ErrorEquals": ["States.All"], "IntervalSeconds": 10, "JitterStrategy": "FULL"}], "End": true)"));
    p.fail("r.1");
    EXPECT_GE(p.run().due_s(), 1000);
    EXPECT_LT(p.run().due_s(), 1010);
  }
}

const char* const kTwo = R"json({"Type": "Parallel", "InputPath": "$.in", "Branches": [
    {"StartAt": "A", "States": {"A": {"Type": "Action", "ActionUrl": "a", "InputPath": "$", "ResultPath": "$.r", "End": true}}},
    {"StartAt": "B", "States": {"B": {"Type": "Action", "ActionUrl": "b", "InputPath": "$.x", "End": true}}}],
    "ResultPath": "$.out", )json";

TEST(Run, ParallelBranches) {
  Played p(one(std::string(kTwo) + R"("End": true})"), json(R"({"in": {"x": 5}})"));
  ASSERT_EQ(p.started.size(), 2U);
  EXPECT_EQ(p.started[0].body, R"({"x":5})");
  EXPECT_EQ(p.started[1].body, "5");
  EXPECT_EQ(p.run().current_states(), (std::vector<std::string>{"A", "B"}));
  p.succeed("r.2", "2");
  p.succeed("r.1", "1");
  EXPECT_EQ(p.status(), "SUCCEEDED");
  EXPECT_EQ(p.state()["out"][0]["x"], 5);
  EXPECT_EQ(p.state()["out"][0]["r"]["details"], 1);
  EXPECT_EQ(p.state()["out"][1]["details"], 2);
}

TEST(Run, ABranchThatFailsEndsTheOthers) {
  Played p(
      one(std::string(kTwo) +
              R"("Retry": [{"ErrorEquals": ["ActionFailedException"], "MaxAttempts": 1}], "Catch": [{"ErrorEquals": ["States.All"], "Next": "C"}], "End": true})",
          R"("C": {"Type": "Pass", "End": true})"),
      json(R"({"in": {"x": 5}})"));
  p.fail("r.2");
  EXPECT_EQ(p.cancelled, std::vector<std::string>{"r.1"});
  p.succeed("r.1");  // too late
  EXPECT_EQ(p.wait(), 1001);
  EXPECT_EQ(p.started.size(), 4U);
  p.fail("r.3");
  EXPECT_EQ(p.cancelled, (std::vector<std::string>{"r.1", "r.4"}));
  EXPECT_EQ(p.status(), "SUCCEEDED");
  EXPECT_EQ(p.state()["out"]["Error"], kActionFailed);
}

std::string map_flow(const std::string& members, const std::string& inner) {
  return one(R"({"Type": "Map", "ItemsPath": "$.items", "ResultPath": "$.out", )" + members +
             R"("Iterator": {"StartAt": "I", "States": {"I": )" + inner + R"(}}, "End": true})");
}

TEST(Run, MapRunsAtMostSoManyItems) {
  Played p(
      map_flow(
          R"("MaxConcurrency": 2, "ItemSelector": {"v.$": "$._context.Map.Item.Value", "i.$": "$._context.Map.Item.Index", "k.$": "$.k"}, )",
          R"({"Type": "Action", "ActionUrl": "u", "InputPath": "$", "ResultPath": "$.r", "End": true})"),
      json(R"({"items": ["a", "b", "c", "d"], "k": 9})"));
  EXPECT_EQ(p.started.size(), 2U);
  p.succeed("r.2");
  EXPECT_EQ(p.started.size(), 3U);
  EXPECT_EQ(Json::parse(p.started[2].body), json(R"({"v": "c", "i": 2, "k": 9})"));
  p.succeed("r.3");
  p.succeed("r.1");
  p.succeed("r.4");
  EXPECT_EQ(p.status(), "SUCCEEDED");
  ASSERT_EQ(p.state()["out"].size(), 4U);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(p.state()["out"][static_cast<std::size_t>(i)]["i"], i);
}

TEST(Run, MapOfManyItemsThatTakeNoTime) {
  // One after the other and all at once; more than the stack or the limit on endless loops would bear if each nested.
  for (const char* concurrency : {R"("MaxConcurrency": 1, )", ""}) {
    std::vector<int> items(3000);
    Played p(map_flow(concurrency, R"({"Type": "Pass", "End": true})"), {{"items", items}});
    EXPECT_EQ(p.status(), "SUCCEEDED");
    EXPECT_EQ(p.state()["out"].size(), 3000U);
  }
  Played empty(map_flow("", R"({"Type": "Pass", "End": true})"), {{"items", Json::array()}});
  EXPECT_EQ(empty.state()["out"], Json::array());
  Played wrong(map_flow("", R"({"Type": "Pass", "End": true})"), {{"items", 5}});
  EXPECT_EQ(wrong.run().error(), kRuntime);
}

TEST(Run, ParallelTimesOut) {
  Played p(one(std::string(kTwo) + R"("TimeoutSeconds": 7, "End": true})"), json(R"({"in": {"x": 5}})"));
  EXPECT_EQ(p.wait(), 1007);
  EXPECT_EQ(p.run().error(), kTimeout);
  EXPECT_EQ(p.cancelled.size(), 2U);
}

TEST(Run, CancelledAndResumed) {
  Played p(
      testing::kScanFlow,
      json(
          R"({"input": {"source_ep": "s", "dest_ep": "d", "local_dir": "/l", "data_dir": "/data", "compute_ep": "c", "recon_fn": "f"}})"));
  p.succeed("r.1");
  p.cancel();
  EXPECT_EQ(p.status(), "CANCELLED");
  EXPECT_EQ(p.cancelled, std::vector<std::string>{"r.2"});
  p.succeed("r.2");
  EXPECT_EQ(p.status(), "CANCELLED");
  p.resume();
  EXPECT_EQ(p.status(), "ACTIVE");
  ASSERT_EQ(p.started.size(), 3U);
  EXPECT_EQ(p.started[2].key, "r.3");
  EXPECT_EQ(p.started[2].body, p.started[1].body);
  p.fail("r.3");
  EXPECT_EQ(p.status(), "FAILED");
  p.resume();
  p.succeed("r.4");
  p.succeed("r.5");
  EXPECT_EQ(p.status(), "SUCCEEDED");
  p.resume();
  EXPECT_EQ(p.status(), "SUCCEEDED");
}

TEST(Run, ResumesOnlyTheBranchesThatWereAtWork) {
  Played p(one(std::string(kTwo) + R"("End": true})"), json(R"({"in": {"x": 5}})"));
  p.succeed("r.1");
  p.cancel();
  p.resume();
  EXPECT_EQ(p.started.size(), 3U);
  EXPECT_EQ(p.started[2].url, "b");
  p.succeed("r.3");
  EXPECT_EQ(p.status(), "SUCCEEDED");
}

// Any order of any outcomes ends, and the log always brings the run back (which Played checks after each step).
RC_GTEST_PROP(RunProperty, AnyOrderOfOutcomesEnds, ()) {
  Played p(one(R"json({"Type": "Map", "ItemsPath": "$", "MaxConcurrency": 3, "Iterator": {"StartAt": "A", "States": {
      "A": {"Type": "Action", "ActionUrl": "a", "Parameters": {}, "ResultPath": "$.r", "WaitTime": 20, "HeartbeatSeconds": 4, "Retry": [{"ErrorEquals": ["ActionFailedException"], "MaxAttempts": 2, "IntervalSeconds": 1}],
            "Catch": [{"ErrorEquals": ["States.HeartbeatTimeout", "ActionFailedException"], "Next": "W", "ResultPath": "$.e"}], "Next": "W"},
      "W": {"Type": "Wait", "Seconds": 1, "End": true}}}, "Retry": [{"ErrorEquals": ["States.All"], "MaxAttempts": 1}], "End": true})json"),
           Json::array({Json::object(), Json::object(), Json::object(), Json::object(), Json::object()}));
  for (int step = 0; step < 400 && p.run().status() == RunStatus::active; ++step) {
    const auto outstanding = p.run().outstanding();
    const int choice = *rc::gen::inRange(0, 5);
    if (choice == 0 || outstanding.empty()) {
      p.wait();
      continue;
    }
    const auto which = *rc::gen::inRange<std::size_t>(0, outstanding.size());
    const auto key = std::get<StartAction>(outstanding[which]).request.key;
    constexpr ActionUpdate::State kStates[] = {ActionUpdate::State::active, ActionUpdate::State::succeeded,
                                               ActionUpdate::State::failed, ActionUpdate::State::refused};
    p.end(key, kStates[choice - 1]);
  }
  RC_ASSERT(p.run().status() != RunStatus::active);
  RC_ASSERT(p.run().outstanding().empty());
}

}  // namespace
}  // namespace farfield::services::flow
