#include "farfield/services/flow/choice.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <regex>

#include "farfield/services/flow/testing.hpp"
#include "farfield/services/flow/timestamp.hpp"

namespace farfield::services::flow {
namespace {
using testing::json;

const Json kState = json(
    R"({"s": "mango", "n": 5, "x": 2.5, "t": true, "z": null, "time": "2026-03-14T01:59:00Z", "later": "2026-03-14T03:59:01+02:00",
                             "other": {"s": "apple", "n": 5.0, "t": false}, "list": [1, 2]})");
const Json kContext = json(R"({"username": "u"})");

std::vector<std::string> mistakes(const std::string& rule) {
  std::vector<std::string> out;
  ChoiceRule::compile(Json::parse(rule), "/C",
                      [&](const std::string& at, const std::string& what) { out.push_back(at + ": " + what); });
  return out;
}
bool holds(const std::string& rule) {
  EXPECT_EQ(mistakes(rule), std::vector<std::string>{}) << rule;
  return ChoiceRule::compile(Json::parse(rule), "", [](const std::string&, const std::string&) {})
      .holds({kState, kContext});
}
bool holds(const char* variable, const char* comparison, const char* right) {
  return holds(fmt::format(R"({{"Variable": "{}", "{}": {}, "Next": "N"}})", variable, comparison, right));
}

// Each ordering operator against one value below, one equal and one above; and its ...Path form.
TEST(Choice, EveryOrderOfEveryType) {
  struct Type {
    const char *name, *variable, *below, *equal, *above, *equal_path;
  };
  for (const Type& type : {Type{"String", "$.s", "\"apple\"", "\"mango\"", "\"zebra\"", "$.s"},
                           Type{"Numeric", "$.n", "4.5", "5", "6", "$.other.n"},
                           Type{"Timestamp", "$.time", "\"2026-03-14T01:58:59.9Z\"", "\"2026-03-14T02:59:00+01:00\"",
                                "\"2026-03-14T01:59:00.1Z\"", "$.time"}}) {
    struct Order {
      const char* name;
      bool than_below, than_equal, than_above;
    };
    for (const Order& order : {Order{"Equals", false, true, false}, Order{"LessThan", false, false, true},
                               Order{"GreaterThan", true, false, false}, Order{"LessThanEquals", false, true, true},
                               Order{"GreaterThanEquals", true, true, false}}) {
      const std::string name = std::string(type.name) + order.name;
      EXPECT_EQ(holds(type.variable, name.c_str(), type.below), order.than_below) << name;
      EXPECT_EQ(holds(type.variable, name.c_str(), type.equal), order.than_equal) << name;
      EXPECT_EQ(holds(type.variable, name.c_str(), type.above), order.than_above) << name;
      EXPECT_EQ(holds(type.variable, (name + "Path").c_str(), fmt::format("\"{}\"", type.equal_path).c_str()),
                order.than_equal)
          << name;
      // Values of another type never compare.
      EXPECT_FALSE(holds("$.z", name.c_str(), type.equal)) << name;
      EXPECT_FALSE(holds("$.list", (name + "Path").c_str(), "\"$.list\"")) << name;
    }
  }
}

TEST(Choice, TheOthers) {
  EXPECT_TRUE(holds("$.t", "BooleanEquals", "true"));
  EXPECT_FALSE(holds("$.t", "BooleanEquals", "false"));
  EXPECT_FALSE(holds("$.n", "BooleanEquals", "true"));
  EXPECT_FALSE(holds("$.t", "BooleanEqualsPath", "\"$.other.t\""));
  EXPECT_TRUE(holds("$.later", "TimestampGreaterThanPath", "\"$.time\""));
  EXPECT_TRUE(holds("$.s", "StringMatches", "\"m*g*\""));
  EXPECT_TRUE(holds("$._context.username", "StringEquals", "\"u\""));
  struct Kind {
    const char *name, *yes, *no;
  };
  for (const Kind& kind :
       {Kind{"IsNull", "$.z", "$.s"}, Kind{"IsPresent", "$.z", "$.nothing"}, Kind{"IsNumeric", "$.x", "$.s"},
        Kind{"IsString", "$.s", "$.n"}, Kind{"IsBoolean", "$.t", "$.n"}, Kind{"IsTimestamp", "$.time", "$.s"}}) {
    EXPECT_TRUE(holds(kind.yes, kind.name, "true")) << kind.name;
    EXPECT_FALSE(holds(kind.yes, kind.name, "false")) << kind.name;
    EXPECT_FALSE(holds(kind.no, kind.name, "true")) << kind.name;
    EXPECT_TRUE(holds(kind.no, kind.name, "false")) << kind.name;
  }
  EXPECT_THROW(holds("$.nothing", "IsNull", "true"), FlowException);
  EXPECT_THROW(holds("$.nothing", "NumericEquals", "1"), FlowException);
}

TEST(Choice, Logic) {
  const std::string yes = R"({"Variable": "$.t", "BooleanEquals": true})", no = R"({"Not": )" + yes + "}";
  EXPECT_TRUE(holds(R"({"And": [)" + yes + "," + yes + R"(], "Next": "N"})"));
  EXPECT_FALSE(holds(R"({"And": [)" + yes + "," + no + "]}"));
  EXPECT_TRUE(holds(R"({"Or": [)" + no + "," + yes + "]}"));
  EXPECT_FALSE(holds(R"({"Or": [)" + no + "," + no + "]}"));
  EXPECT_TRUE(holds(R"({"Not": {"And": [)" + yes + R"(, {"Or": [)" + no + "]}]}}"));
  // Left to right, and no further than needed.
  EXPECT_FALSE(
      holds(R"({"And": [{"Variable": "$.gone", "IsPresent": true}, {"Variable": "$.gone", "NumericEquals": 1}]})"));
}

TEST(Choice, MistakesHaveTheirPlace) {
  EXPECT_EQ(mistakes(R"({"Variable": "$.a", "StringEquals": 5})"),
            std::vector<std::string>{"/C/StringEquals: expected a string"});
  EXPECT_EQ(mistakes(R"({"Variable": "$.a", "StringEqual": "b"})"),
            std::vector<std::string>{"/C/StringEqual: 'StringEqual' is not a comparison"});
  EXPECT_EQ(mistakes(R"({"StringEquals": "b"})"), std::vector<std::string>{"/C: Variable is missing"});
  EXPECT_EQ(mistakes(R"({"And": [{"Variable": "$.a", "IsNull": 1}]})"),
            std::vector<std::string>{"/C/And/0/IsNull: expected true or false"});
  EXPECT_EQ(mistakes(R"({"Variable": "$.a[*]", "IsNull": true})").size(), 1U);
  EXPECT_EQ(mistakes(R"({"Variable": "$.a", "TimestampEquals": "today"})").size(), 1U);
  EXPECT_EQ(mistakes(R"({"Variable": "$.a", "IsNull": true, "IsPresent": true})").size(), 1U);
  EXPECT_EQ(mistakes("5").size(), 1U);
}

TEST(Pattern, Examples) {
  EXPECT_TRUE(matches_pattern("", ""));
  EXPECT_TRUE(matches_pattern("", "**"));
  EXPECT_TRUE(matches_pattern("log-2026.txt", "log-*.txt"));
  EXPECT_FALSE(matches_pattern("log-2026.txt", "log-*.tx"));
  EXPECT_TRUE(matches_pattern("a*b", "a\\*b"));
  EXPECT_FALSE(matches_pattern("axb", "a\\*b"));
  EXPECT_FALSE(matches_pattern("ab", "a"));
  EXPECT_FALSE(matches_pattern("a", "ab"));
}

// Oracle: std::regex on a small alphabet.
RC_GTEST_PROP(PatternProperty, AgreesWithRegularExpressions, ()) {
  const auto text = *rc::gen::container<std::string>(rc::gen::element('a', 'b')),
             pattern = *rc::gen::container<std::string>(rc::gen::element('a', 'b', '*'));
  RC_PRE(text.size() < 40 && pattern.size() < 12);
  std::string regex;
  for (const char c : pattern) regex += c == '*' ? ".*" : std::string(1, c);
  RC_ASSERT(matches_pattern(text, pattern) == std::regex_match(text, std::regex(regex)));
}

TEST(Timestamp, KnownTimes) {
  EXPECT_EQ(parse_timestamp("1970-01-01T00:00:00Z"), 0.0);
  EXPECT_EQ(parse_timestamp("2000-02-29T12:00:00.25Z"), 951825600.25);
  EXPECT_EQ(parse_timestamp("2000-02-29T13:30:00+01:30"), 951825600.0);
  EXPECT_EQ(parse_timestamp("2000-02-29T04:00:00-08:00"), 951825600.0);
  for (const char* text : {"", "2000-02-30T12:00:00Z", "2000-13-01T12:00:00Z", "2000-02-29", "2000-02-29T12:00:00",
                           "2000-02-29T24:00:00Z", "2000-02-29T12:60:00Z", "2000-02-29T12:00:00.Z",
                           "2000-02-29T12:00:00Zx", "2000-02-29T12:00:00+25:00", "x000-02-29T12:00:00Z"})
    EXPECT_FALSE(parse_timestamp(text)) << text;
  EXPECT_EQ(format_timestamp(951825600.25), "2000-02-29T12:00:00.250000Z");
}
RC_GTEST_PROP(TimestampProperty, RoundTrip, ()) {
  const auto micros = *rc::gen::inRange<std::int64_t>(0, 4000000000000000);
  const double seconds = static_cast<double>(micros) * 1e-6;
  // A double of this size resolves half a microsecond.
  RC_ASSERT(std::abs(*parse_timestamp(format_timestamp(seconds)) - seconds) < 1.5e-6);
}

}  // namespace
}  // namespace farfield::services::flow
