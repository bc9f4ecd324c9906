#include "farfield/services/flow/definition.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "farfield/core/error.hpp"
#include "farfield/services/flow/lines.hpp"
#include "farfield/services/flow/schema.hpp"
#include "farfield/services/flow/testing.hpp"

namespace farfield::services::flow {
namespace {
using core::Error;
using core::ErrorCode;

std::string problems(std::string_view text, const KnowsAction& knows = {}) {
  return describe(check_definition(text, knows));
}
/// Problems of one state S, ending the flow.
std::string of_state(const std::string& state) { return problems(R"({"StartAt":"S","States":{"S":)" + state + "}}"); }

TEST(Definition, TheScanFlowIsTakenUnchanged) {
  EXPECT_EQ(problems(testing::kScanFlow), "");
  const auto machine = parse_definition(testing::kScanFlow);
  EXPECT_EQ(machine->start_at, "Transfer_Out");
  const State& recon = machine->states.at("Recon");
  EXPECT_EQ(recon.type, StateType::action);
  EXPECT_EQ(recon.wait_time_s, 7200);
  EXPECT_EQ(recon.next, "Transfer Back");
  EXPECT_TRUE(recon.exception_on_action_failure);
  EXPECT_EQ(recon.run_as, "User");
  EXPECT_EQ(recon.result_path.text(), "$.Recon");
  EXPECT_EQ(machine->states.at("Transfer Back").next, "");
}

TEST(Definition, AllKindsOfStates) {
  EXPECT_EQ(problems(R"json({"StartAt": "A", "TimeoutSeconds": 60, "States": {
    "A": {"Type": "Pass", "Result": {"x": 1}, "ResultPath": "$.p", "Next": "B"},
    "B": {"Type": "Choice", "Choices": [{"Variable": "$.p.x", "NumericEquals": 1, "Next": "C"}], "Default": "F"},
    "C": {"Type": "ExpressionEval", "Parameters": {"y.=": "p.x + 1"}, "ResultPath": "$.e", "Next": "D"},
    "D": {"Type": "Wait", "SecondsPath": "$.e.y", "Next": "E"},
    "E": {"Type": "Map", "ItemsPath": "$.items", "MaxConcurrency": 2, "ItemSelector": {"i.$": "$._context.Map.Item.Value"},
          "Iterator": {"StartAt": "I", "States": {"I": {"Type": "Action", "ActionUrl": "farfield:wait", "InputPath": "$", "HeartbeatSeconds": 5, "TimeoutSeconds": 10,
            "Retry": [{"ErrorEquals": ["States.Timeout"], "IntervalSeconds": 1, "MaxAttempts": 2, "BackoffRate": 1.5, "JitterStrategy": "FULL"}, {"ErrorEquals": ["States.All"]}],
            "Catch": [{"ErrorEquals": ["ActionUnableToRun", "Own"], "Next": "J", "ResultPath": "$.error"}], "End": true}, "J": {"Type": "Pass", "End": true}}},
          "Next": "P"},
    "P": {"Type": "Parallel", "Branches": [{"StartAt": "X", "States": {"X": {"Type": "Pass", "End": true}}}], "ResultPath": "$.par", "End": true},
    "F": {"Type": "Fail", "Error": "Own", "Cause": "because"}}})json"),
            "");
}

TEST(Definition, MistakesComeWithLineAndPath) {
  EXPECT_EQ(
      problems("{\n \"StartAt\": \"A\",\n \"States\": {\n  \"A\": {\"Type\": \"Action\",\n   \"ActionUrl\": \"u\", "
               "\"Parameters\": {\"x.$\": \"y\"},\n   \"Next\": \"Bee\"},\n  \"Be\": {\"Type\": \"Task\"}\n }\n}"),
      "line 5, /States/A/Parameters/x.$: path 'y': expected $ at character 1\n"
      "line 6, /States/A/Next: there is no state 'Bee'; did you mean 'Be'?\n"
      "line 7, /States/Be/Type: 'Task' must be one of Action, ExpressionEval, Pass, Choice, Wait, Fail, Parallel, Map\n"
      "line 7, /States/Be: warning: nothing leads to this state");
  EXPECT_NE(problems("{\"StartAt\": \"A\",\n \"States\" {}}").find("line 2"), std::string::npos);
  EXPECT_EQ(problems(R"({"StartAt":"A","States":{"A":{"Type":"Pass","End":true},"A":{"Type":"Pass","End":true}}})"),
            "line 1, /States/A: this name is given twice");
}

TEST(Definition, WhatTheLanguageForbids) {
  struct Case {
    const char *state, *found;
  };
  for (
      const Case& c : std::initializer_list<Case>{
          {R"({"Type":"Action","ActionUrl":"u","InputPath":"$","Parameters":{},"End":true})",
           "exactly one of InputPath and Parameters"},
          {R"({"Type":"Action","ActionUrl":"u","End":true})", "exactly one of InputPath and Parameters"},
          {R"({"Type":"Action","Parameters":{},"End":true})", "ActionUrl is missing"},
          {R"({"Type":"Action","ActionUrl":"u","Parameters":{}})", "exactly one of Next and End"},
          {R"({"Type":"Action","ActionUrl":"u","Parameters":{},"Next":"S","End":true})", "exactly one of Next and End"},
          {R"({"Type":"Action","ActionUrl":"u","Parameters":{},"WaitTime":-1,"End":true})",
           "-1 must be a number from 0"},
          {R"({"Type":"Action","ActionUrl":"u","Parameters":{},"WaitTime":"5","End":true})", "string must be a number"},
          {R"({"Type":"Action","ActionUrl":"u","Parameters":{},"WaitTime":5,"TimeoutSeconds":5,"End":true})",
           "say the same"},
          {R"({"Type":"Action","ActionUrl":"u","Parameters":{},"HeartbeatSeconds":500,"End":true})",
           "longer than the action may take"},
          {R"({"Type":"Action","ActionUrl":"u","Parameters":{},"Retyr":[],"End":true})", "did you mean 'Retry'?"},
          {R"({"Type":"Action","ActionUrl":"u","Parameters":[],"End":true})", "must be an object, not array"},
          {R"({"Type":"Action","ActionUrl":"u","Parameters":{},"ResultPath":"$._context.x","End":true})", "read-only"},
          {R"({"Type":"Action","ActionUrl":"u","Parameters":{},"ResultPath":"$.a[*]","End":true})",
           "must name one place"},
          {R"({"Type":"Action","ActionUrl":"u","Parameters":{},"Catch":[{"ErrorEquals":[],"Next":"S"}],"End":true})",
           "at least one error"},
          {R"({"Type":"Action","ActionUrl":"u","Parameters":{},"Catch":[{"ErrorEquals":["States.All"],"Next":"S"},{"ErrorEquals":["X"],"Next":"S"}],"End":true})",
           "stands alone, in the last"},
          {R"({"Type":"Action","ActionUrl":"u","Parameters":{},"Catch":[{"ErrorEquals":["X"],"Next":"Nowhere"}],"End":true})",
           "/Catch/0/Next: there is no state 'Nowhere'"},
          {R"({"Type":"Action","ActionUrl":"u","Parameters":{},"Retry":[{"ErrorEquals":["X"],"MaxAttempts":1.5}],"End":true})",
           "1.5 must be a whole number"},
          {R"({"Type":"Pass","OutputPath":"$","End":true})", "there is no OutputPath"},
          {R"({"Type":"Pass","Result":1,"InputPath":"$","End":true})", "only one of"},
          {R"({"Type":"ExpressionEval","InputPath":"$","End":true})", "'InputPath' does not belong here"},
          {R"({"Type":"Wait","Seconds":1,"Timestamp":"2026-01-01T00:00:00Z","End":true})", "exactly one of Seconds"},
          {R"({"Type":"Wait","Timestamp":"soon","End":true})", "must be a time as"},
          {R"({"Type":"Choice","Choices":[]})", "at least one rule"},
          {R"({"Type":"Choice","Choices":[{"Variable":"$.a","IsNull":true}]})", "Next is missing"},
          {R"({"Type":"Succeed"})", "must be one of"},
          {R"({"Type":"Fail","End":true})", "'End' does not belong here"},
          {R"({"Type":"Parallel","Branches":[{"StartAt":"Y","States":{"X":{"Type":"Pass","End":true}}}],"End":true})",
           "/Branches/0/StartAt: there is no state 'Y'"},
          {R"({"Type":"Map","End":true})", "exactly one of ItemProcessor and Iterator"},
          {R"([])", "a state must be an object, not array"}})
    EXPECT_NE(of_state(c.state).find(c.found), std::string::npos) << c.state << "\n" << of_state(c.state);
  EXPECT_NE(problems("{}").find("StartAt is missing"), std::string::npos);
  EXPECT_NE(problems("[]").find("a flow must be an object"), std::string::npos);
}

TEST(Definition, ActionsNeedAProvider) {
  const auto known = [](const std::string& url) { return url.find("transfer") != std::string::npos; };
  EXPECT_EQ(problems(testing::kScanFlow, known),
            "line 7, /States/Recon/ActionUrl: no provider for 'https://api.funcx.org/automate'");
  EXPECT_THROW(parse_definition(testing::kScanFlow, known), Error);
}

TEST(Definition, LimitsAreSaid) {
  EXPECT_NE(problems(std::string_view("8\0]]", 4)).find("NUL"), std::string::npos);
  EXPECT_NE(problems(std::string(5 << 20, ' ')).find("bytes"), std::string::npos);
  EXPECT_NE(problems(std::string(1000000, '[')).find("nested"), std::string::npos);
  std::string many = R"({"StartAt":"S0","States":{)";
  for (int i = 0; i < 1001; ++i) many += fmt::format(R"({}"S{}":{{"Type":"Pass","End":true}})", i > 0 ? "," : "", i);
  EXPECT_NE(problems(many + "}}").find("more than 1000 states"), std::string::npos);
}

TEST(Definition, PrivateParametersAreNotShown) {
  EXPECT_EQ(
      testing::json(
          definition_without_private(
              R"({"P": {"a": 1, "b.$": "$.x", "c": [{"d": 1, "__Private_Parameters": ["d"]}], "__Private_Parameters": ["b"]}})")
              .c_str()),
      testing::json(R"({"P": {"a": 1, "c": [{"__Private_Parameters": ["d"]}], "__Private_Parameters": ["b"]}})"));
}

TEST(Lines, OfEveryValue) {
  const auto lines = document_lines("{\"a\": 1,\n\"b\": [1,\n {\"c/d\":\n \"x\\\"}\"}, [\n2]],\n\"e\": {}}");
  const std::map<std::string, int> expected{{"/a", 1},        {"/b", 2},   {"/b/0", 2},   {"/b/1", 3},
                                            {"/b/1/c~1d", 3}, {"/b/2", 4}, {"/b/2/0", 5}, {"/e", 6}};
  EXPECT_EQ(lines.line, expected);
  EXPECT_EQ(lines.of("/b/1/nothing/here"), 3);
  EXPECT_EQ(lines.of(""), 1);
}

TEST(InputSchema, ChecksInput) {
  const auto schema = InputSchema::parse(
      R"({"type": "object", "required": ["input"], "properties": {"input": {"type": "object", "required": ["scan"], "properties": {"scan": {"type": "integer", "minimum": 0}}}}})");
  EXPECT_NO_THROW(schema.check(testing::json(R"({"input": {"scan": 100}})")));
  for (const char* wrong : {R"({})", R"({"input": {}})", R"({"input": {"scan": "100"}})", R"({"input": {"scan": -1}})"})
    try {
      schema.check(testing::json(wrong));
      ADD_FAILURE() << wrong;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
    }
  for (const char* wrong : {"[]", "{", R"({"type": 5})", R"({"$ref": "file:///etc/passwd"})",
                            R"({"properties": {"a": {"$ref": "http://example.org/x"}}})"})
    EXPECT_THROW(InputSchema::parse(wrong), Error) << wrong;
  const auto patterns = InputSchema::parse(R"({"properties": {"a": {"type": "string", "pattern": "^(a|b)*$"}}})");
  EXPECT_NO_THROW(patterns.check({{"a", "abba"}}));
  EXPECT_THROW(patterns.check({{"a", "abc"}}), Error);
  EXPECT_THROW(patterns.check({{"a", std::string(1000000, 'a')}}), Error);
}

}  // namespace
}  // namespace farfield::services::flow
