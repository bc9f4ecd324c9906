#include "farfield/services/flow/report.hpp"

#include <gtest/gtest.h>

#include "farfield/core/error.hpp"
#include "farfield/services/flow/dry_run.hpp"
#include "farfield/services/flow/testing.hpp"
#include "farfield/services/flow/visible.hpp"

namespace farfield::services::flow {
namespace {
using testing::json;

StoredEvent event(double at_s, const char* kind, const Json& body) { return {0, at_s, kind, body.dump()}; }

TEST(Report, BreaksARunDown) {
  RunRecord run;
  run.status = RunStatus::succeeded;
  const std::string transfer = "farfield:transfer", compute = "https://api.funcx.org/automate";
  const auto times =
      run_times(run, {
                         event(100, "RunStarted", Json::object()),
                         event(100, "StateEntered", {{"frame", 0}, {"state", "In"}}),
                         event(100, "ActionScheduled", {{"frame", 0}, {"state", "In"}, {"url", transfer}}),
                         event(104, "ActionEnded", {{"frame", 0}, {"start_s", 101}, {"completion_s", 103.5}}),
                         event(104, "StateExited", {{"frame", 0}, {"state", "In"}}),
                         event(104, "StateEntered", {{"frame", 0}, {"state", "Both"}}),
      // Two computations side by side: 105-109 and 107-112 together take 7 s.
                         event(105, "StateEntered", {{"frame", 1}, {"state", "A"}}),
                         event(105, "ActionScheduled", {{"frame", 1}, {"state", "A"}, {"url", compute}}),
                         event(107, "StateEntered", {{"frame", 2}, {"state", "B"}}),
                         event(107, "ActionScheduled", {{"frame", 2}, {"state", "B"}, {"url", compute}}),
                         event(109, "ActionEnded", {{"frame", 1}, {"completion_s", 5e9}}),  // a clock far ahead
                         event(109, "StateExited", {{"frame", 1}, {"state", "A"}}),
                         event(112, "ActionEnded", {{"frame", 2}}),
                         event(112, "StateExited", {{"frame", 2}, {"state", "B"}}),
                         event(112, "StateExited", {{"frame", 0}, {"state", "Both"}}),
                         event(112, "StateEntered", {{"frame", 0}, {"state", "Out"}}),
                         event(112, "ActionScheduled", {{"frame", 0}, {"state", "Out"}, {"url", transfer}}),
                         event(115, "ActionEnded", {{"frame", 0}}),
                         event(115, "StateExited", {{"frame", 0}, {"state", "Out"}}),
                         event(116, "RunSucceeded", Json::object()),
                     });
  EXPECT_DOUBLE_EQ(times.incoming_s, 2.5);
  EXPECT_DOUBLE_EQ(times.compute_s, 7);
  EXPECT_DOUBLE_EQ(times.outgoing_s, 3);
  EXPECT_DOUBLE_EQ(times.total_s, 16);
  EXPECT_DOUBLE_EQ(times.others_s, 3.5);
  ASSERT_EQ(times.states.size(), 5U);
  EXPECT_EQ(times.states[0].state, "In");
  EXPECT_EQ(times.states[0].kind, "transfer");
  EXPECT_DOUBLE_EQ(times.states[1].left_s - times.states[1].entered_s, 8);
  EXPECT_NE(times_table({times, times}).find("median"), std::string::npos);
}

TEST(Report, OfNothing) {
  EXPECT_EQ(run_times({}, {}).total_s, 0);
  EXPECT_EQ(kind_of_url("https://compute.actions.globus.org/v3"), "compute");
  EXPECT_EQ(kind_of_url("https://transfer.actions.globus.org/transfer/"), "transfer");
  EXPECT_EQ(kind_of_url("https://example.org"), "");
}

TEST(Visible, LeavesOutWhatIsPrivate) {
  const auto machine = parse_definition(R"json({"StartAt": "A", "States": {
    "A": {"Type": "Map", "ItemsPath": "$.items", "ResultPath": "$._private.a", "Next": "B", "Iterator": {"StartAt": "I", "States": {
      "I": {"Type": "Action", "ActionUrl": "u", "Parameters": {"key": 1, "to": 2, "__Private_Parameters": ["key"]}, "End": true}}}},
    "B": {"Type": "Pass", "ResultPath": "$.b", "End": true}}})json");
  const auto seen = visible_events(
      {event(1, "RunStarted", json(R"({"input": {"x": 1, "_private_y": 2}})")),
       event(2, "ActionScheduled", json(R"({"frame": 1, "state": "I", "body": {"key": 1, "to": 2}})")),
       event(3, "StateExited", json(R"({"frame": 0, "state": "A", "result": [5]})")),
       event(4, "StateExited", json(R"({"frame": 0, "state": "B", "result": [5]})")),
       event(5, "StateCaught", json(R"({"frame": 0, "state": "B", "path": "$.x._private", "result": [5]})"))},
      *machine);
  EXPECT_EQ(Json::parse(seen[0].body), json(R"({"input": {"x": 1}})"));
  EXPECT_EQ(Json::parse(seen[1].body)["body"], json(R"({"to": 2})"));
  EXPECT_FALSE(Json::parse(seen[2].body).contains("result"));
  EXPECT_TRUE(Json::parse(seen[3].body).contains("result"));
  EXPECT_FALSE(Json::parse(seen[4].body).contains("result"));
}

TEST(DryRun, ShowsWhatWouldBeDone) {
  const auto machine = parse_definition(R"json({"StartAt": "A", "States": {
    "A": {"Type": "Action", "ActionUrl": "farfield:transfer", "Parameters": {"to.=": "input.folder + '/x'", "key": "secret", "__Private_Parameters": ["key"]}, "ResultPath": "$.a", "Next": "B"},
    "B": {"Type": "Wait", "Seconds": 5, "Next": "C"},
    "C": {"Type": "Choice", "Choices": [{"Variable": "$.a.details.files", "NumericGreaterThan": 2, "Next": "D"}], "Default": "E"},
    "D": {"Type": "Pass", "End": true}, "E": {"Type": "Fail", "Error": "Few"}}})json");
  const std::string input = R"({"input": {"folder": "/data"}, "_private": 1})";
  const DryRun good = dry_run(machine, input, {{"A", R"({"files": 3})"}});
  ASSERT_EQ(good.steps.size(), 4U);
  EXPECT_EQ(good.steps[0].type, "Action");
  EXPECT_EQ(good.steps[0].body, R"({"to":"/data/x"})");
  EXPECT_EQ(good.steps[1].waits_s, 5);
  EXPECT_EQ(good.steps[3].state, "D");
  EXPECT_EQ(good.status, "SUCCEEDED");
  EXPECT_FALSE(Json::parse(good.output).contains("_private"));
  const DryRun bad = dry_run(machine, input, {{"A", R"({"files": 1})"}});
  EXPECT_EQ(bad.error, "Few");
  EXPECT_EQ(dry_run(machine, input).error, kParameterPathFailure);
  EXPECT_THROW(dry_run(machine, input, {{"A", "{"}}), core::Error);
  EXPECT_THROW(
      dry_run(parse_definition(R"({"StartAt": "A", "States": {"A": {"Type": "Wait", "Seconds": 1, "Next": "A"}}})"),
              "{}"),
      core::Error);
}

}  // namespace
}  // namespace farfield::services::flow
