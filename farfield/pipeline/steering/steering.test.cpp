#include "farfield/pipeline/steering/steering.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace farfield::pipeline {
namespace {

QualityRecord record(std::map<std::string, double> values, std::int64_t number = 1, const char* scan = "a") {
  QualityRecord r;
  r.scan = scan;
  r.number = number;
  r.values = std::move(values);
  return r;
}

bool holds(const char* condition, std::map<std::string, double> values, std::string* why = nullptr) {
  const auto one = record(std::move(values));
  return Condition(condition).holds(std::span(&one, 1), why);
}

TEST(Quality, ARecordComesBackAsItWent) {
  auto r = record({{"cost", 0.25}, {"broken", NAN}}, 7, "scan \"x\"\n");
  r.technique = "xpcs";
  r.verb = "correlate";
  r.time_s = 1.7e9 + 0.125;
  r.last = true;
  FrameTotals totals;
  totals.expected = 10;
  totals.received = 8;
  totals.missing = 2;
  add_frames(r, totals);
  const std::string line = to_json(r);
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const auto back = core::value_or_throw(parse_quality(line));
  EXPECT_EQ(back.scan, r.scan);
  EXPECT_EQ(back.technique, "xpcs");
  EXPECT_EQ(back.verb, "correlate");
  EXPECT_EQ(back.number, 7);
  EXPECT_EQ(back.time_s, r.time_s);
  EXPECT_TRUE(back.last);
  auto without = r.values;
  without.erase("broken");  // a number that is none is not told
  EXPECT_EQ(back.values, without);
  EXPECT_EQ(back.values.at("frames.missing"), 2);
}

TEST(Quality, WhatIsNoRecordIsRefusedWithItsReason) {
  const auto why = [](std::string_view line) {
    const auto parsed = parse_quality(line);
    return parsed ? std::string() : parsed.error().message();
  };
  EXPECT_EQ(why("{"), "not JSON");
  EXPECT_NE(why("[]").find("message_type"), std::string::npos);
  EXPECT_NE(why(R"({"message_type":"summary"})").find("message_type"), std::string::npos);
  EXPECT_NE(why(R"({"message_type":"quality","values":3})").find("values"), std::string::npos);
  EXPECT_NE(why(std::string((1 << 20) + 1, ' ')).find("1048577 bytes"), std::string::npos);
  EXPECT_FALSE(parse_quality(std::string(500'000, '[')));  // no deep recursion
  EXPECT_TRUE(parse_quality(R"({"message_type":"quality","number":"x","time_s":[],"last":1,"values":{"a":"b"}})"));
}

TEST(Condition, ComparesInTheUnitOfTheRecord) {
  std::string why;
  EXPECT_TRUE(holds("resolution < 12 nm", {{"resolution_half_bit_nm", 11.2}}, &why));
  EXPECT_EQ(why, "resolution_half_bit_nm = 11.2 < 12 nm");
  EXPECT_FALSE(holds("resolution < 12 nm", {{"resolution_half_bit_nm", 12}}));
  EXPECT_TRUE(holds("resolution <= 12 nm", {{"resolution_half_bit_nm", 12}}));
  EXPECT_TRUE(holds("drift > 2 um", {{"drift_m", 2.1e-6}}));
  EXPECT_FALSE(holds("drift > 2 um", {{"drift_m", 1.9e-6}}));
  EXPECT_TRUE(holds("drift_m > 2 um", {{"drift_m", 2.1e-6}}));
  EXPECT_FALSE(holds("drift > 2 s", {{"drift_m", 2.1e-6}})) << "metres are no seconds";
  EXPECT_TRUE(holds("drift > 1.5 px", {{"drift_px", 2}}));
  EXPECT_TRUE(holds("tau_error < 5 %", {{"tau_error", 0.04}}));
  EXPECT_TRUE(holds("frames.received >= 10 and frames.received != 11", {{"frames.received", 10}}));
  EXPECT_TRUE(holds("x == -1.5e3", {{"x", -1500}}));
}

TEST(Condition, AndBindsTighterThanOrAndNotTurnsAround) {
  const std::map<std::string, double> v{{"a", 1}, {"b", 2}};
  EXPECT_TRUE(holds("a == 1 or a == 2 and b == 3", v));
  EXPECT_FALSE(holds("(a == 1 or a == 2) and b == 3", v));
  EXPECT_TRUE(holds("not b == 3", v));
  EXPECT_TRUE(holds("not (a == 2 or b == 3) and a < 2", v));
  EXPECT_TRUE(holds("not last", v));
  EXPECT_FALSE(holds("last", v));
}

TEST(Condition, WhatIsNotThereHoldsNothing) {
  EXPECT_FALSE(holds("resolution < 12 nm", {}));
  EXPECT_FALSE(holds("resolution > 12 nm", {}));
  EXPECT_FALSE(holds("x != 1", {}));
  EXPECT_FALSE(holds("x < 1", {{"x", NAN}}));
  EXPECT_FALSE(Condition("a < 1").holds({}));
}

TEST(Condition, ErrorsSayWhereAndWhatMayStandThere) {
  const auto why = [](std::string_view text) -> std::string {
    try {
      const Condition condition(text);
    } catch (const core::Error& e) {
      EXPECT_EQ(e.code(), core::ErrorCode::invalid_argument);
      return e.message();
    }
    return "no error";
  };
  EXPECT_EQ(why("resolution < 12 miles"),
            "condition `resolution < 12 miles`, character 17: a unit (m mm um nm pm A s ms us ns px %), `and`, `or` "
            "or the end instead of `miles`");
  EXPECT_NE(why("resolution <").find("character 13: a number instead of the end"), std::string::npos);
  EXPECT_NE(why("resolution is 12").find("not improving"), std::string::npos);
  EXPECT_NE(why("").find("the name of a value"), std::string::npos);
  EXPECT_NE(why("a < 1 b < 2").find("a unit"), std::string::npos);
  EXPECT_NE(why("a < 1 and").find("the end"), std::string::npos);
  EXPECT_NE(why("(a < 1").find("`)`"), std::string::npos);
  EXPECT_NE(why("a not better").find("`improving`"), std::string::npos);
  EXPECT_NE(why("a not improving by 2").find("`%`"), std::string::npos);
  EXPECT_NE(why("a not improving in 0").find("1 to 10000"), std::string::npos);
  EXPECT_NE(why("a < nan").find("a number"), std::string::npos);
  EXPECT_NE(why(std::string(5000, 'a')).find("5000 characters"), std::string::npos);
  std::string deep;
  for (int i = 0; i < 1000; ++i) deep += "(";
  EXPECT_NE(why(deep).find("deeper"), std::string::npos);
  deep.clear();
  for (int i = 0; i < 1000; ++i) deep += "not ";
  EXPECT_NE(why(deep + "a < 1").find("deeper"), std::string::npos);
}

Rule rule(const char* when, const char* release = nullptr, std::int64_t records = 1) {
  return {"r", Condition(when), records, release ? std::optional(Condition(release)) : std::nullopt, "stop", {}};
}

/// The numbers of the records that a rule fired at.
std::vector<std::int64_t> fired(Rule r, const char* name, const std::vector<double>& values) {
  std::vector<Rule> rules;
  rules.push_back(std::move(r));
  Steering steering(std::move(rules));
  std::vector<std::int64_t> out;
  for (std::size_t i = 0; i < values.size(); ++i)
    for (const auto& d : steering.take(record({{name, values[i]}}, static_cast<std::int64_t>(i + 1))))
      out.push_back(d.record);
  return out;
}

TEST(Steering, ARuleFiresOnceForAScan) {
  using Records = std::vector<std::int64_t>;
  EXPECT_EQ(fired(rule("x > 2"), "x", {1, 3, 4, 1, 5}), Records{2});
  EXPECT_EQ(fired(rule("x > 2", nullptr, 2), "x", {3, 1, 3, 4, 5}), Records{4}) << "two in a row";
  EXPECT_EQ(fired(rule("x > 2", "x < 1"), "x", {3, 1.5, 3, 0.5, 1.5, 3, 3}), (Records{1, 6})) << "hysteresis";
}

TEST(Steering, NotImprovingComparesWithTheBestBefore) {
  using Records = std::vector<std::int64_t>;
  // 8 is the best of the first; the next three are not 1 % below it.
  EXPECT_EQ(fired(rule("x not improving in 3"), "x", {10, 9, 8, 7.99, 8, 7.95, 3}), Records{6});
  EXPECT_EQ(fired(rule("x not improving by 50 % in 2"), "x", {10, 4, 3, 1}), Records{})
      << "3 is 70 % below 10, 1 is 75 % below 4";
  EXPECT_EQ(fired(rule("x not rising in 2"), "x", {1, 2, 3, 3, 3}), Records{5});
  EXPECT_TRUE(fired(rule("x not improving in 5"), "x", {1, 1, 1, 1, 1}).empty()) << "too early to tell";
  // A long scan: what is forgotten is still compared with.
  std::vector<double> long_scan(100, 5.0);
  long_scan[0] = 1;
  for (std::size_t i = 1; i < long_scan.size(); ++i) long_scan[i] = 50 - 0.4 * static_cast<double>(i);
  EXPECT_EQ(fired(rule("x not improving in 3 and x < 20"), "x", long_scan), Records{77});
}

TEST(Steering, ScansDoNotKnowOfEachOther) {
  std::vector<Rule> rules;
  rules.push_back(rule("x > 2"));
  Steering steering(std::move(rules));
  EXPECT_EQ(steering.take(record({{"x", 3}}, 1, "a")).size(), 1U);
  const auto b = steering.take(record({{"x", 3}}, 1, "b"));
  ASSERT_EQ(b.size(), 1U);
  EXPECT_EQ(b[0].scan, "b");
  EXPECT_EQ(b[0].reason, "x = 3 > 2");
  EXPECT_TRUE(steering.take(record({{"x", 3}}, 2, "a")).empty());
  // The same name from its start again is another run; so is what follows the last record.
  EXPECT_EQ(steering.take(record({{"x", 3}}, 1, "a")).size(), 1U);
  auto over = record({{"x", 3}}, 2, "a");
  over.last = true;
  EXPECT_TRUE(steering.take(over).empty());
  EXPECT_EQ(steering.take(record({{"x", 3}}, 3, "a")).size(), 1U);
  // Thousands of scans are not all remembered.
  for (int i = 0; i < 5000; ++i) EXPECT_EQ(steering.take(record({{"x", 3}}, 5, std::to_string(i).c_str())).size(), 1U);
}

}  // namespace
}  // namespace farfield::pipeline
