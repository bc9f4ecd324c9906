#include "farfield/services/flow/template.hpp"

#include <gtest/gtest.h>

#include "farfield/services/flow/testing.hpp"

namespace farfield::services::flow {
namespace {
using testing::json;

std::vector<std::string> mistakes(const char* parameters) {
  std::vector<std::string> out;
  Template::compile(json(parameters), "/P",
                    [&](const std::string& at, const std::string& what) { out.push_back(at + ": " + what); });
  return out;
}
Template compiled(const char* parameters) {
  EXPECT_EQ(mistakes(parameters), std::vector<std::string>{});
  return Template::compile(json(parameters), "", [](const std::string&, const std::string&) {});
}

const char* const kExample = R"json({
  "constant_val": 10, "reference_value.$": "$.Path.To.Value", "expression_value.=": "'Constant string ' + `$.Path.To.SuffixString`",
  "nested_value": {"child_const_val": true, "child_ref_val.$": "$.Child", "list": [{"a.=": "1 + 1"}, "b", null]},
  "secret_value": "MyPassword", "server": {"user": "u", "password.$": "$._private.pw", "__Private_Parameters": ["password"]},
  "__Private_Parameters": ["secret_value"]})json";

TEST(Template, Evaluates) {
  const Json state =
                 json(R"({"Path": {"To": {"Value": [1], "SuffixString": "!"}}, "Child": 5, "_private": {"pw": "x"}})"),
             context = Json::object();
  const auto parameters = compiled(kExample);
  const Json value = parameters.evaluate({state, context});
  EXPECT_EQ(value, json(R"({"constant_val": 10, "reference_value": [1], "expression_value": "Constant string !",
    "nested_value": {"child_const_val": true, "child_ref_val": 5, "list": [{"a": 2}, "b", null]}, "secret_value": "MyPassword",
    "server": {"user": "u", "password": "x"}})"));
  EXPECT_EQ(parameters.without_private(value),
            json(R"({"constant_val": 10, "reference_value": [1], "expression_value": "Constant string !",
    "nested_value": {"child_const_val": true, "child_ref_val": 5, "list": [{"a": 2}, "b", null]}, "server": {"user": "u"}})"));
  EXPECT_EQ(parameters.constants()["constant_val"], 10);
  EXPECT_EQ(parameters.constants()["reference_value"], nullptr);
}

TEST(Template, MissingValuesAreExceptions) {
  const Json nothing = Json::object();
  EXPECT_THROW(compiled(R"({"a.$": "$.b"})").evaluate({nothing, nothing}), FlowException);
  EXPECT_THROW(compiled(R"({"a": [{"b.=": "c"}]})").evaluate({nothing, nothing}), FlowException);
}

TEST(Template, MistakesHaveTheirPlace) {
  EXPECT_EQ(mistakes(R"({"a": {"b.$": 5}})"),
            std::vector<std::string>{"/P/a/b.$: a path must be a string, not number"});
  EXPECT_EQ(mistakes(R"({"a": [1, {"b/c.$": "x"}]})"),
            std::vector<std::string>{"/P/a/1/b~1c.$: path 'x': expected $ at character 1"});
  EXPECT_EQ(mistakes(R"({"a.=": "1 +"})").size(), 1U);
  EXPECT_EQ(mistakes(R"({"a.=": "1", "a": 2})"), std::vector<std::string>{"/P/a.=: 'a' is given twice"});
  EXPECT_EQ(mistakes(R"({"__Private_Parameters": ["a"]})"),
            std::vector<std::string>{"/P/__Private_Parameters: there is no parameter 'a' here"});
  EXPECT_EQ(mistakes(R"({"__Private_Parameters": "a"})").size(), 1U);
}

TEST(PrivateState, IsLeftOut) {
  EXPECT_EQ(without_private_state(json(R"({"a": [{"_private_x": 1, "b": 2}], "_private": {"c": 3}, "private": 4})")),
            json(R"({"a": [{"b": 2}], "private": 4})"));
}

}  // namespace
}  // namespace farfield::services::flow
