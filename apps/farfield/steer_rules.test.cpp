#include "apps/farfield/steer_rules.hpp"

#include <gtest/gtest.h>

namespace farfield::apps {
namespace {

TEST(SteerRules, AreReadWithTheirTargets) {
  const auto rules = parse_rules(R"(
to = "http://127.0.0.1:8000/steer"

[[rule]]
name = "sharp enough"
when = "resolution < 12 nm or resolution not improving"
records = 3
action = "stop"

[[rule]]
name = "drifting"
when = "drift > 2 um"
release = "drift < 1 um"
action = "rescan"
to = ["tcp://beamline:5588", "pub+tcp://*:5589"]
)",
                                 "rules.toml");
  ASSERT_EQ(rules.size(), 2U);
  EXPECT_EQ(rules[0].name, "sharp enough");
  EXPECT_EQ(rules[0].records, 3);
  EXPECT_FALSE(rules[0].release);
  EXPECT_EQ(rules[0].to, std::vector<std::string>{"http://127.0.0.1:8000/steer"});
  EXPECT_EQ(rules[1].when.text(), "drift > 2 um");
  EXPECT_EQ(rules[1].release->text(), "drift < 1 um");
  EXPECT_EQ(rules[1].action, "rescan");
  EXPECT_EQ(rules[1].to, (std::vector<std::string>{"tcp://beamline:5588", "pub+tcp://*:5589"}));
}

TEST(SteerRules, ErrorsSayFileLineAndWhatIsWrong) {
  const auto why = [](const std::string& text) -> std::string {
    try {
      (void)parse_rules(text, "r.toml");
    } catch (const core::Error& e) {
      EXPECT_EQ(e.code(), core::ErrorCode::invalid_argument);
      return e.what();
    }
    return "no error";
  };
  const std::string good = "[[rule]]\nname = \"a\"\nwhen = \"x > 1\"\naction = \"stop\"\n";
  EXPECT_EQ(why(good), "no error");
  EXPECT_EQ(why(""), "no rule; each begins with a line [[rule]] (r.toml)");
  EXPECT_EQ(why("[[rule]]\nname = \"a\"\nwhen = \"x >\"\naction = \"stop\"\n"),
            "condition `x >`, character 4: a number instead of the end (r.toml, line 3)");
  EXPECT_EQ(why(good + "wen = \"y\"\n"), "unknown key wen; did you mean when? (r.toml, line 5)");
  EXPECT_EQ(why(good + "records = 0\n"), "records must be a whole number, 1 to 1000000 (r.toml, line 5)");
  EXPECT_EQ(why(good + "to = \"mailto:me\"\n").substr(0, 21), "target mailto:me must");
  EXPECT_EQ(why(good + "to = []\n"), "to must be a text or a list of texts (r.toml, line 5)");
  EXPECT_EQ(why(good + good), "a second rule of the name a (r.toml, line 5)");
  EXPECT_EQ(why("[[rule]]\nname = \"a\"\naction = \"stop\"\n"), "a rule without `when` (r.toml, line 1)");
  EXPECT_EQ(why("rule = [3]\n"), "rule must be a table, [[rule]] (r.toml, line 1)");
  EXPECT_NE(why("[[rule]\n").find("r.toml, line 1"), std::string::npos);
}

}  // namespace
}  // namespace farfield::apps
