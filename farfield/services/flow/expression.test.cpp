#include "farfield/services/flow/expression.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

#include "farfield/services/flow/testing.hpp"

namespace farfield::services::flow {
namespace {
using testing::json;

const Json kState =
    json(R"({"foo": "bar", "n": 7, "x": 2.5, "list_val": [1, 2, 3], "yes": true, "none": null, "name": "Röntgen",
                             "object_val": {"sub_val1": "embedded", "k": [10, 20]}, "path": "/foo/bar/blech"})");
const Json kContext = json(R"({"run_id": "r1"})");

Json value(const std::string& text) {
  auto expression = Expression::parse(text);
  if (!expression) throw std::runtime_error(expression.error().what());
  return expression->evaluate({kState, kContext});
}
std::string failure(const std::string& text) {
  try {
    return "gave " + value(text).dump();
  } catch (const FlowException& e) {
    return e.name;
  }
}

TEST(Expression, TheExamplesOfTheLanguage) {
  EXPECT_EQ(value("foo + ' ' + object_val.sub_val1"), "bar embedded");
  EXPECT_EQ(value("'Constant string ' + `$.object_val.sub_val1`"), "Constant string embedded");
  EXPECT_EQ(value("pathsplit(\"/foo/bar/blech\")"), json(R"(["/foo/bar", "blech"])"));
  EXPECT_EQ(value("pathsplit('/~/path')"), json(R"(["/~/", "path"])"));
  EXPECT_EQ(value("n if is_present('n') else 10"), 7);
  EXPECT_EQ(value("m if is_present('m') else 10"), 10);
  EXPECT_EQ(value("getattr('n', 10)"), 7);
  EXPECT_EQ(value("getattr('m', 10)"), 10);
  EXPECT_EQ(value("getattr('missing_property')"), nullptr);
  EXPECT_EQ(value("list_val + [4]"), json("[1, 2, 3, 4]"));
}

TEST(Expression, Values) {
  struct Case {
    const char *text, *json;
  };
  for (const Case& c : std::initializer_list<Case>{{"1 + 2 * 3 - 4", "3"},
                                                   {"(1 + 2) * 3", "9"},
                                                   {"-2 ** 2", "-4"},
                                                   {"2 ** 3 ** 2", "512"},
                                                   {"2 ** -1", "0.5"},
                                                   {"7 / 2", "3.5"},
                                                   {"8 / 2", "4.0"},
                                                   {"7 // 2", "3"},
                                                   {"-7 // 2", "-4"},
                                                   {"-7 % 3", "2"},
                                                   {"7 % -3", "-2"},
                                                   {"1.5 + 1", "2.5"},
                                                   {"1e3", "1000.0"},
                                                   {".5", "0.5"},
                                                   {"x * 2", "5.0"},
                                                   {"-7.5 // 2", "-4.0"},
                                                   {"'a' < 'b'", "true"},
                                                   {"1 < 1.5", "true"},
                                                   {"1 == 1.0", "true"},
                                                   {"'1' == 1", "false"},
                                                   {"n >= 7 and n <= 7", "true"},
                                                   {"not yes or none", "null"},
                                                   {"yes and foo", "\"bar\""},
                                                   {"0 or 'x'", "\"x\""},
                                                   {"not []", "true"},
                                                   {"not not 'a'", "true"},
                                                   {"2 in list_val", "true"},
                                                   {"5 not in list_val", "true"},
                                                   {"'ar' in foo", "true"},
                                                   {"'k' in object_val", "true"},
                                                   {"list_val[0]", "1"},
                                                   {"list_val[-1]", "3"},
                                                   {"list_val[1:]", "[2, 3]"},
                                                   {"list_val[:-1]", "[1, 2]"},
                                                   {"list_val[5:]", "[]"},
                                                   {"list_val[2:1]", "[]"},
                                                   {"foo[0]", "\"b\""},
                                                   {"foo[1:3]", "\"ar\""},
                                                   {"name[1]", "\"ö\""},
                                                   {"name[:2]", "\"Rö\""},
                                                   {"len(name)", "7"},
                                                   {"object_val['k'][1]", "20"},
                                                   {"object_val.k[0]", "10"},
                                                   {"pathsplit(path)[1][0]", "\"b\""},
                                                   {"[1, 'a', [None], ]", "[1, \"a\", [null]]"},
                                                   {"pathsplit('name')", "[\"\", \"name\"]"},
                                                   {"pathsplit('/name')", "[\"/\", \"name\"]"},
                                                   {"pathsplit('a/b/')", "[\"a/b\", \"\"]"},
                                                   {"str(7) + str(True) + str(None)", "\"7TrueNone\""},
                                                   {"int('12') + int(2.9)", "14"},
                                                   {"float('1.5')", "1.5"},
                                                   {"len(list_val)", "3"},
                                                   {"1 if none else 2 if yes else 3", "2"},
                                                   {"True", "true"},
                                                   {"null", "null"},
                                                   {"_context.run_id", "\"r1\""},
                                                   {"`$._context.run_id`", "\"r1\""},
                                                   {"is_present('object_val.k[1]')", "true"},
                                                   {"is_present('object_val.k[2]')", "false"},
                                                   {"is_present('$.n')", "true"},
                                                   {"'it\\'s'", "\"it's\""}})
    EXPECT_EQ(value(c.text), json(c.json)) << c.text;
  EXPECT_TRUE(value("8 / 2").is_number_float());
}

TEST(Expression, WhatGoesWrongHasItsName) {
  for (const char* text : {"m", "object_val.m", "foo.m", "list_val[3]", "object_val['m']", "`$.m`", "foo[9]"})
    EXPECT_EQ(failure(text), kParameterPathFailure) << text;
  for (const char* text :
       {"foo + 1", "list_val - list_val", "-foo", "1 / 0", "1 // 0", "1 % 0", "1.0 / 0", "'a' * 3", "'a' < 1", "n[0]",
        "list_val['a']", "list_val[1.5]", "9223372036854775807 + 1", "10 ** 30", "1e308 * 10", "1 in 2", "10.0 ** 400"})
    EXPECT_EQ(failure(text), kRuntime) << text;
  for (const char* text :
       {"pathsplit(1)", "is_present(1)", "getattr('a b')", "int('x')", "int([])", "len(1)", "float('nan')[0]"})
    EXPECT_NE(failure(text).find("States."), std::string::npos) << text;
  EXPECT_EQ(failure("pathsplit(1)"), kIntrinsicFailure);
}

TEST(Expression, MistakesAreShownWithTheirPlace) {
  const auto message = [](const std::string& text) {
    const auto parsed = Expression::parse(text);
    return parsed ? "parsed" : parsed.error().message();
  };
  EXPECT_EQ(message("1 +"), "expression: expected a value at character 4");
  EXPECT_EQ(message("a b"), "expression: did not expect 'b' at character 3");
  EXPECT_EQ(message("open('/etc/passwd')"), "expression: there is no function open() at character 20");
  EXPECT_EQ(message("`a`"), "expression: path 'a': expected $ at character 1 at character 1");
  for (const char* text : {"",    "(",           "1)",  "[1",  "'a",  "`$.a",  "a if b",    "1 < 2 < 3", "a.",   "a[",
                           "a[]", "pathsplit()", "f(1", "1 2", "and", "a = 1", "lambda: 1", "a;b",       "1..2", "@"})
    EXPECT_NE(message(text), "parsed") << text;
  // Deep nesting is refused and not run into the end of the stack.
  EXPECT_NE(message(std::string(100000, '(')), "parsed");
  EXPECT_NE(message(std::string(100000, '-') + "1"), "parsed");
  std::string chain = "1";
  for (int i = 0; i < 100000; ++i) chain += "+1";
  EXPECT_NE(message(chain), "parsed");
}

TEST(Expression, WhatItMakesIsBounded) {
  Json state = {{"s", std::string(900000, 'x')}, {"l", std::vector<int>(60000)}};
  const Json context = Json::object();
  for (const char* grows : {"s + s", "l + l"})
    EXPECT_THROW(Expression::parse(grows)->evaluate({state, context}), FlowException) << grows;
}

// Oracle: the same arithmetic in C++, on small integers, where Python's // and % round down.
RC_GTEST_PROP(ExpressionProperty, IntegerArithmetic, ()) {
  const auto a = *rc::gen::inRange<std::int64_t>(-1000, 1000), b = *rc::gen::inRange<std::int64_t>(-1000, 1000),
             c = *rc::gen::inRange<std::int64_t>(1, 50);
  RC_ASSERT(value(fmt::format("{} + {} * {} - {}", a, b, c, a)) == b * c);
  RC_ASSERT(value(fmt::format("({} // {}) * {} + {} % {}", a, c, c, a, c)) == a);
  RC_ASSERT(value(fmt::format("{} % {}", a, c)).get<std::int64_t>() >= 0);
  RC_ASSERT(value(fmt::format("{} // {}", a, c)) ==
            static_cast<std::int64_t>(std::floor(static_cast<double>(a) / static_cast<double>(c))));
  RC_ASSERT(value(fmt::format("({} < {}) == ({} > {})", a, b, b, a)) == true);
}

// Any string survives as a constant, in any piece.
RC_GTEST_PROP(ExpressionProperty, StringsJoinAndSplit, (const std::vector<std::string>& parts)) {
  std::string text, expected;
  for (const std::string& part : parts) {
    std::string quoted;
    for (const char c : part)
      if (static_cast<unsigned char>(c) >= 0x20 && static_cast<unsigned char>(c) < 0x7f) {
        expected += c;
        if (c == '\'' || c == '\\') quoted += '\\';
        quoted += c;
      }
    text += (text.empty() ? "'" : " + '") + quoted + "'";
  }
  if (text.empty()) text = "''";
  RC_PRE(parts.size() < 200);
  RC_ASSERT(value(text) == expected);
  RC_ASSERT(value(fmt::format("({})[:3] + ({})[3:]", text, text)) == expected);
}

}  // namespace
}  // namespace farfield::services::flow
