#include "farfield/services/flow/path.hpp"

#include <gtest/gtest.h>

#include "farfield/services/flow/testing.hpp"

namespace farfield::services::flow {
namespace {
using testing::json;

const Json kState = json(R"({"a": {"b c": [1, {"d": 2}, [3, 4]]}, "x.y": 5, "list": [{"n": 1}, {"n": 2}, {"m": 3}]})");
const Json kContext = json(R"({"run_id": "r1"})");
const Scope kScope{kState, kContext};

Json at(const char* text) { return Path::parse(text)->get(kScope); }

TEST(Path, FindsValues) {
  EXPECT_EQ(at("$"), kState);
  EXPECT_EQ(at("$.a['b c'][0]"), 1);
  EXPECT_EQ(at("$.a[\"b c\"][1].d"), 2);
  EXPECT_EQ(at("$.a['b c'][-1][0]"), 3);
  EXPECT_EQ(at("$['x.y']"), 5);
  EXPECT_EQ(at("$._context.run_id"), "r1");
  EXPECT_EQ(at("$.list[*].n"), json("[1, 2]"));
  EXPECT_EQ(at("$.list[0].*"), json("[1]"));
  EXPECT_EQ(at("$.nothing[*]"), Json::array());
}

TEST(Path, AReferenceThatLeadsNowhereIsAnException) {
  for (const char* text : {"$.b", "$.a.b", "$.list[3]", "$.list[-4]", "$.list.n", "$.a[0]", "$._context.x"}) try {
      at(text);
      ADD_FAILURE() << text;
    } catch (const FlowException& e) {
      EXPECT_EQ(e.name, kParameterPathFailure);
      EXPECT_NE(e.cause.find(text), std::string::npos);
    }
}

TEST(Path, MistakesAreShownWithTheirPlace) {
  const auto message = [](const char* text) { return Path::parse(text).error().message(); };
  EXPECT_EQ(message("a.b"), "path 'a.b': expected $ at character 1");
  EXPECT_EQ(message("$a"), "path '$a': expected . or [ at character 2");
  EXPECT_EQ(message("$.a."), "path '$.a.': expected a name at character 5");
  EXPECT_EQ(message("$.a[1"), "path '$.a[1': expected ] at character 6");
  for (const char* text :
       {"", "$.", "$..a", "$[", "$[]", "$['a", "$[1.5]", "$.a b", "$[99999999999999999999]", "$.a[?(@.b)]"})
    EXPECT_FALSE(Path::parse(text)) << text;
}

TEST(Path, Writes) {
  Json state = kState;
  Path::parse("$.new.deep.er")->set(state, 1);
  EXPECT_EQ(state["new"]["deep"]["er"], 1);
  Path::parse("$.list[1].n")->set(state, "x");
  EXPECT_EQ(state["list"][1]["n"], "x");
  Path::parse("$")->set(state, 7);
  EXPECT_EQ(state, 7);
  for (const char* text : {"$.a", "$._context.run_id", "$.list[3]"}) {
    Json value = text == std::string("$.a") ? Json(7) : kState;
    try {
      Path::parse(text)->set(value, 1);
      ADD_FAILURE() << text;
    } catch (const FlowException& e) {
      EXPECT_EQ(e.name, kResultPathMatchFailure);
    }
  }
}

}  // namespace
}  // namespace farfield::services::flow
