#include "farfield/core/options.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <rapidcheck/gtest.h>
#include <cmath>
#include <nlohmann/json.hpp>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>

namespace farfield::core {
namespace {

using testing::HasSubstr;

enum class Algorithm { lsqml, rpie };

struct Options {
  bool refine = false;
  int modes = 1;
  std::int64_t seed = 0;
  double step = 0.5;
  float alpha = 0.25F;
  std::string title = "scan";
  Algorithm algorithm = Algorithm::lsqml;
  std::vector<double> centre{1, 2};
};

const BoundSchema<Options>& schema() {
  static const BoundSchema<Options> bound = [] {
    BoundSchema<Options> s;
    s.add("refine-positions", &Options::refine, "Refine positions")
        .add("probe-modes", &Options::modes, "Incoherent probe modes", {.min = 1, .max = 64})
        .add("seed", &Options::seed, "Seed")
        .add("step", &Options::step, "Step length", {.min = 0, .max = 1, .unit = "px"})
        .add("alpha", &Options::alpha, "Regularisation", {.min = 0})
        .add("title", &Options::title, "Title")
        .add("algorithm", &Options::algorithm, "Algorithm", {.choices = {"lsqml", "rpie"}, .group = "Algorithm"})
        .add("centre", &Options::centre, "Centre (y, x)", {.min = -10, .max = 10, .unit = "px"});
    return s;
  }();
  return bound;
}

OptionValue parse(const std::string& name, const std::string& text) { return parse_option(*schema().find(name), text); }

std::string refusal(const std::string& name, const std::string& text) {
  try {
    parse(name, text);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
    return e.what();
  }
  return "accepted";
}

TEST(Options, ParseWhatTheCommandLineSays) {
  EXPECT_EQ(parse("refine-positions", "yes"), OptionValue(true));
  EXPECT_EQ(parse("refine-positions", "off"), OptionValue(false));
  EXPECT_EQ(parse("probe-modes", "3"), OptionValue(std::int64_t{3}));
  EXPECT_EQ(parse("step", "1e-1"), OptionValue(0.1));
  EXPECT_EQ(parse("step", "1"), OptionValue(1.0));
  EXPECT_EQ(parse("title", "a, b"), OptionValue(std::string("a, b")));
  EXPECT_EQ(parse("centre", "1,-2.5"), OptionValue(std::vector<double>{1, -2.5}));
  EXPECT_EQ(parse("centre", ""), OptionValue(std::vector<double>{}));
}

TEST(Options, RefusalsSayOptionValueAndWhatIsAllowed) {
  EXPECT_EQ(refusal("probe-modes", "0"), "option probe-modes = 0 must be a whole number from 1 to 64");
  EXPECT_EQ(refusal("probe-modes", "2.5"), "option probe-modes = 2.5 must be a whole number from 1 to 64");
  EXPECT_EQ(refusal("alpha", "-1"), "option alpha = -1.0 must be a number >= 0");
  EXPECT_EQ(refusal("step", "2"), "option step = 2.0 must be a number from 0 to 1 px");
  EXPECT_EQ(refusal("algorithm", "lsqmI"), "option algorithm = lsqmI must be one of lsqml, rpie; did you mean lsqml?");
  EXPECT_EQ(refusal("refine-positions", "maybe"), "option refine-positions = maybe must be true or false");
}

TEST(Options, RefuseWhatIsNotQuiteANumber) {
  for (const char* text : {"", "abc", "1x", " 1", "0x10", "1,2", "--1"})
    EXPECT_THAT(refusal("step", text), HasSubstr("must be"));
  for (const char* text : {"nan", "inf", "-inf", "1e999"}) {
    EXPECT_THAT(refusal("step", text), HasSubstr("must be")) << text;
    EXPECT_THAT(refusal("probe-modes", text), HasSubstr("must be")) << text;
  }
  for (const char* text : {"1,", ",1", "1,,2", "1;2", "nan", "11"})
    EXPECT_THAT(refusal("centre", text), HasSubstr("must be"));
}

// A seed has 63 bits; a double on the way would keep 53 of them.
TEST(Options, IntegersAreExact) {
  EXPECT_EQ(parse("seed", "9223372036854775807"), OptionValue(std::int64_t{9223372036854775807}));
  EXPECT_EQ(parse("seed", "9007199254740993"), OptionValue(std::int64_t{9007199254740993}));
  EXPECT_EQ(parse("seed", "1e6"), OptionValue(std::int64_t{1000000}));
  EXPECT_THAT(refusal("seed", "9223372036854775808"), HasSubstr("whole number"));
}

TEST(Options, AMemberIsNeverGivenMoreThanItHolds) {
  struct Narrow {
    std::uint16_t count = 0;
    unsigned long long total = 0;
  };
  BoundSchema<Narrow> s;
  s.add("count", &Narrow::count, "Count").add("total", &Narrow::total, "Total");
  EXPECT_EQ(s.make({{"count", std::int64_t{65535}}}).count, 65535);
  EXPECT_THROW(s.make({{"count", std::int64_t{65536}}}), Error);
  EXPECT_THROW(s.make({{"count", std::int64_t{-1}}}), Error);
  EXPECT_THROW(s.make({{"total", std::int64_t{-1}}}), Error);
}

TEST(Options, ANameIsDeclaredOnce) {
  BoundSchema<Options> s;
  s.add("seed", &Options::seed, "Seed");
  EXPECT_THROW(s.add("seed", &Options::modes, "Again"), Error);
}

TEST(Options, FillTheStructAndLeaveTheRestAtItsDefault) {
  const Options o =
      schema().make({{"algorithm", std::string("rpie")}, {"probe-modes", 4.0}, {"step", std::int64_t{1}}});
  EXPECT_EQ(o.algorithm, Algorithm::rpie);
  EXPECT_EQ(o.modes, 4);
  EXPECT_EQ(o.step, 1.0);
  EXPECT_EQ(o.title, "scan");
  EXPECT_EQ(o.centre, (std::vector<double>{1, 2}));
}

TEST(Options, AnUnknownNameIsRefusedWithTheNearestKnownOne) {
  try {
    schema().check({{"probe-mode", std::int64_t{2}}});
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "unknown option probe-mode; did you mean probe-modes?");
  }
  try {
    schema().check({{"wavelength", 1.0}});
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "unknown option wavelength");
  }
}

TEST(NearestName, SuggestsOnlySlips) {
  const std::vector<std::string> known{"iterations", "probe-modes", "seed", "y"};
  EXPECT_EQ(nearest_name("iteration", known), "iterations");
  EXPECT_EQ(nearest_name("probes-mode", known), "probe-modes");
  EXPECT_EQ(nearest_name("sede", known), "seed");
  EXPECT_EQ(nearest_name("energy", known), std::nullopt);
  EXPECT_EQ(nearest_name("ab", known), std::nullopt);  // two letters, both wrong: not a slip for "y"
  EXPECT_EQ(nearest_name("x", {}), std::nullopt);
}

TEST(Options, JsonRoundTrips) {
  const Options o = schema().make({{"centre", std::vector<double>{3, 4.5}}, {"refine-positions", true}});
  const auto values = schema().values(o);
  EXPECT_EQ(schema().complete(options_from_json(options_to_json(values))), values);
}

TEST(Options, TextThatIsNotUtf8DoesNotBreakJson) {
  EXPECT_EQ(nlohmann::json::parse(options_to_json({{"title", std::string("a\xff")}}))["title"], "a\xEF\xBF\xBD");
}

RC_GTEST_PROP(Options, AnyAllowedValueSurvivesTextAndJson, ()) {
  const auto modes = *rc::gen::inRange<std::int64_t>(1, 65);
  const auto seed = *rc::gen::arbitrary<std::int64_t>();
  const double step = *rc::gen::inRange(0, 1 << 30) / static_cast<double>(1 << 30);
  const OptionValues values{{"probe-modes", modes}, {"seed", seed}, {"step", step}};
  for (const auto& [name, value] : values) RC_ASSERT(parse(name, to_text(value)) == value);
  RC_ASSERT(schema().check(options_from_json(options_to_json(values))) == values);
}

RC_GTEST_PROP(Options, NoTextCrashesTheParsers, (const std::string& text)) {
  for (const auto& info : schema().options()) try {
      parse_option(info, text);
    } catch (const Error&) {}
  try {
    options_from_json(text);
  } catch (const Error&) {}
}

TEST(Options, JsonThatIsNotAFlatObjectIsRefused) {
  for (const char* json :
       {"", "[1]", "3", "{\"a\": {}}", "{\"a\": null}", "{\"a\": [\"x\"]}", "{\"a\": 1", "{\"a\" 1}"})
    EXPECT_THROW(options_from_json(json), Error) << json;
}

TEST(Options, JsonNumberBeyond63BitsIsNotWrapped) {
  const auto values = options_from_json("{\"seed\": 18446744073709551615}");
  EXPECT_THROW(schema().check(values), Error);
}

/// Does `json` fit the schema, as an independent validator reads it?
bool valid(const std::string& json) {
  const auto schema_document = nlohmann::json::parse(schema().json_schema("Options"));
  const auto document = nlohmann::json::parse(json);
  valijson::Schema parsed;
  valijson::SchemaParser().populateSchema(valijson::adapters::NlohmannJsonAdapter(schema_document), parsed);
  return valijson::Validator(valijson::Validator::kStrongTypes)
      .validate(parsed, valijson::adapters::NlohmannJsonAdapter(document), nullptr);
}

TEST(OptionsSchema, AcceptsTheDefaults) { EXPECT_TRUE(valid(options_to_json(schema().complete({})))); }

// The JSON Schema and check() are two readings of the same rules: what one refuses the other must, too.
TEST(OptionsSchema, AgreesWithTheChecks) {
  for (const char* json :
       {"{}", R"({"probe-modes": 64})", R"({"probe-modes": 65})", R"({"probe-modes": 0})", R"({"probe-modes": "2"})",
        R"({"step": 1})", R"({"step": 1.5})", R"({"step": -0.1})", R"({"alpha": 1e9})", R"({"title": 3})",
        R"({"algorithm": "rpie"})", R"({"algorithm": "dm"})", R"({"centre": [1, 2, 3]})", R"({"centre": [11]})",
        R"({"centre": []})", R"({"refine-positions": true})", R"({"refine-positions": 1})", R"({"unknown": 1})"}) {
    bool accepted = true;
    try {
      schema().check(options_from_json(json));
    } catch (const Error&) {
      accepted = false;
    }
    EXPECT_EQ(valid(json), accepted) << json;
  }
}

TEST(OptionsSchema, CarriesHelpUnitGroupAndWholeNumbers) {
  const auto json = nlohmann::json::parse(schema().json_schema("Options"));
  const auto& p = json["properties"];
  EXPECT_EQ(json["title"], "Options");
  EXPECT_EQ(p["step"]["x-unit"], "px");
  EXPECT_EQ(p["step"]["description"], "Step length");
  EXPECT_EQ(p["algorithm"]["x-group"], "Algorithm");
  EXPECT_EQ(p["algorithm"]["enum"], (nlohmann::json{"lsqml", "rpie"}));
  EXPECT_EQ(p["probe-modes"]["maximum"].dump(), "64");
  EXPECT_EQ(p["centre"]["items"]["minimum"], -10);
}

}  // namespace
}  // namespace farfield::core
