#include "apps/farfield/command_line.hpp"

#include <gtest/gtest.h>

#include "apps/farfield/commands.hpp"
#include "apps/farfield/registry.hpp"
#include "apps/farfield/run_options.hpp"
#include "apps/farfield/settings.hpp"

namespace farfield::apps {
namespace {

struct Options {
  std::int64_t probe_modes = 1;
  bool refine_positions = false, orthogonalise = true;
  double alpha = 0.05;
  std::vector<double> powers;
  std::string note;
};

struct CommandLineTest : testing::Test {
  CommandLineTest() {
    core::BoundSchema<Options> s;
    s.add("probe-modes", &Options::probe_modes, "modes", {.min = 1, .max = 64, .group = "Probe"})
        .add("refine-positions", &Options::refine_positions, "refine", {.group = "Positions"})
        .add("orthogonalise", &Options::orthogonalise, "orthogonalise")
        .add("alpha", &Options::alpha, "step", {.min = -1, .max = 1})
        .add("powers", &Options::powers, "of the modes")
        .add("note", &Options::note, "free text");
    commands.push_back({{"ptychography", "reconstruct"}, "an image", {"SCAN"}, {s}, {}});
    commands.push_back({{"ptychography", "compare"}, "two", {"A", "B"}, {}, {}});
    commands.push_back({{"help"}, "help", {"[COMMAND]"}, {}, {}});
  }
  CommandLine parse(std::vector<std::string> words) { return parse_command_line(commands, words); }
  std::string message(const std::vector<std::string>& words) {
    try {
      parse(words);
    } catch (const core::Error& e) {
      EXPECT_EQ(e.code(), core::ErrorCode::invalid_argument);
      return e.message();
    }
    return "no error";
  }
  core::OptionValues resolved(const std::vector<std::string>& words,
                              const std::map<std::string, std::string>& environment) {
    return resolve(parse(words), [&](const std::string& name) -> std::optional<std::string> {
      const auto it = environment.find(name);
      return it == environment.end() ? std::nullopt : std::optional(it->second);
    });
  }
  std::vector<Command> commands;
};

TEST_F(CommandLineTest, FlagsOfEveryKind) {
  const auto line = parse({"ptychography", "reconstruct", "scan.cxi", "--probe-modes", "3", "--refine-positions",
                           "--no-orthogonalise", "--alpha=-0.5", "--powers", "1,0.5", "--note", "a b"});
  EXPECT_EQ(line.command, &commands[0]);
  EXPECT_EQ(line.inputs, std::vector<std::string>{"scan.cxi"});
  EXPECT_EQ(line.flags, (std::map<std::string, std::string>{{"probe-modes", "3"},
                                                            {"refine-positions", "true"},
                                                            {"orthogonalise", "false"},
                                                            {"alpha", "-0.5"},
                                                            {"powers", "1,0.5"},
                                                            {"note", "a b"}}));
}

TEST_F(CommandLineTest, NegativeNumbersAreValues) {
  EXPECT_EQ(parse({"ptychography", "reconstruct", "s", "--alpha", "-0.25"}).flags.at("alpha"), "-0.25");
}

TEST_F(CommandLineTest, AFileMayHaveTheNameOfACommand) {
  EXPECT_EQ(parse({"ptychography", "compare", "help", "ptychography"}).inputs,
            (std::vector<std::string>{"help", "ptychography"}));
}

TEST_F(CommandLineTest, AWrongNameSuggestsTheNearest) {
  EXPECT_EQ(message({"ptychography", "reconstruct", "s", "--probe-mode", "3"}),
            "unknown option --probe-mode of `farfield ptychography reconstruct`; did you mean --probe-modes?");
  EXPECT_EQ(message({"ptychography", "reconstruct", "s", "--no-refine-position"}),
            "unknown option --no-refine-position of `farfield ptychography reconstruct`; did you mean "
            "--no-refine-positions?");
  EXPECT_EQ(message({"ptychography", "recontruct"}), "unknown command recontruct; did you mean reconstruct?");
  EXPECT_EQ(message({"ptycho"}), "unknown command ptycho; there are: ptychography, help");
}

TEST_F(CommandLineTest, TheNumberOfInputsIsChecked) {
  EXPECT_EQ(message({"ptychography", "reconstruct"}), "`farfield ptychography reconstruct` takes SCAN; none given");
  EXPECT_EQ(message({"ptychography", "compare", "a"}), "`farfield ptychography compare` takes A B; a given");
  EXPECT_EQ(message({"ptychography", "reconstruct", "a", "b"}),
            "unexpected argument b; `farfield ptychography reconstruct` takes SCAN");
  EXPECT_EQ(message({"ptychography"}), "farfield ptychography what? `farfield ptychography --help` lists the commands");
  EXPECT_EQ(message({}), "farfield what? `farfield --help` lists the commands");
  EXPECT_EQ(parse({"help"}).inputs.size(), 0U);
  EXPECT_EQ(parse({"help", "ptychography"}).inputs.size(), 1U);
}

TEST_F(CommandLineTest, HelpIsGroupedAndNamesDefaults) {
  const auto text = parse({"ptychography", "reconstruct", "--help"}).text;
  for (const char* part : {"Usage: farfield ptychography reconstruct", "SCAN", "\nProbe\n", "\nPositions\n",
                           "--probe-modes", "modes [1]", "--[no-]refine-positions", "orthogonalise [on]"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  EXPECT_EQ(help_text(commands, {"ptychography", "reconstruct"}), text);
  EXPECT_NE(help_text(commands, {}).find("ptychography"), std::string::npos);
  EXPECT_THROW(help_text(commands, {"nothing"}), core::Error);
}

TEST_F(CommandLineTest, FlagBeforeEnvironmentBeforeFileBeforeDefault) {
  const std::string path = testing::TempDir() + "farfield_config.toml";
  std::FILE* file = std::fopen(path.c_str(), "w");
  std::fputs("probe-modes = 5\nalpha = 1\nrefine-positions = true\npowers = [1, 0.5]\n", file);
  std::fclose(file);
  const auto values = resolved({"ptychography", "reconstruct", "s", "--config", path, "--probe-modes", "2"},
                               {{"FARFIELD_PROBE_MODES", "3"}, {"FARFIELD_ALPHA", "0.5"}, {"FARFIELD_NOTE", ""}});
  EXPECT_EQ(values.at("probe-modes"), core::OptionValue(std::int64_t{2}));
  EXPECT_EQ(values.at("alpha"), core::OptionValue(0.5));
  EXPECT_EQ(values.at("refine-positions"), core::OptionValue(true));
  EXPECT_EQ(values.at("powers"), core::OptionValue(std::vector<double>{1, 0.5}));
  EXPECT_FALSE(values.contains("orthogonalise")) << "defaults are not given values";
  EXPECT_FALSE(values.contains("note"));
}

TEST_F(CommandLineTest, AWrongValueNamesThePlaceItCameFrom) {
  try {
    resolved({"ptychography", "reconstruct", "s"}, {{"FARFIELD_PROBE_MODES", "0"}});
    FAIL();
  } catch (const core::Error& e) {
    EXPECT_STREQ(
        e.what(),
        "option probe-modes = 0 must be a whole number from 1 to 64 (environment variable FARFIELD_PROBE_MODES)");
  }
  const std::string path = testing::TempDir() + "farfield_wrong.toml";
  const auto config = [&](const char* text) -> std::string {
    std::FILE* file = std::fopen(path.c_str(), "w");
    std::fputs(text, file);
    std::fclose(file);
    try {
      resolved({"ptychography", "reconstruct", "s", "--config", path}, {});
    } catch (const core::Error& e) {
      return e.what();
    }
    return "no error";
  };
  EXPECT_EQ(config("alpha = 0\nprobe-mode = 3\n"),
            "unknown option probe-mode; did you mean probe-modes? (" + path + ":2)");
  EXPECT_EQ(config("alpha = 7\n"), "option alpha = 7 must be a number from -1 to 1 (" + path + ":1)");
  EXPECT_EQ(config("[table]\n"), "unknown option table (" + path + ":1)");
  EXPECT_EQ(config("alpha = \n").substr(0, 8), "not TOML");
  EXPECT_EQ(config("alpha = [1, }\n").substr(0, 8), "not TOML");  // toml++ alone would go on after its assertion
  EXPECT_NE(config("out = \"\xc3\xa9\"\n").find("ASCII"), std::string::npos);
}

TEST_F(CommandLineTest, PrintedOptionsCanBeReadBack) {
  const core::OptionValues given{{"probe-modes", std::int64_t{4}},
                                 {"note", std::string("a \"b\" \\ \n \xc2\xb5m \xe2\x82\xac \xf0\x9f\x94\xac")},
                                 {"powers", std::vector<double>{1, 2.5}},
                                 {"refine-positions", true},
                                 {"alpha", 1.0}};
  const std::string path = testing::TempDir() + "farfield_printed.toml";
  std::FILE* file = std::fopen(path.c_str(), "w");
  std::fputs(to_toml(commands[0], given).c_str(), file);
  std::fclose(file);
  EXPECT_EQ(resolved({"ptychography", "reconstruct", "s", "--config", path}, {}), given);
}

TEST(Commands, NoOptionOfATechniqueHasTheNameOfOneOfTheProgram) {
  for (const auto& command : verb_commands()) {
    auto names = command.option_names();
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    EXPECT_EQ(twice, names.end()) << command.name() << " has two options " << *twice;
    for (const auto& name : names) {
      EXPECT_FALSE(name.starts_with("no-")) << command.name() << ": --" << name << " reads like a denial";
      EXPECT_NE(name, "help");
      EXPECT_NE(name, "config");
    }
  }
}

TEST(Commands, EveryVerbDoesOneThing) {
  for (const auto* technique : techniques())
    for (const auto& verb : technique->verbs) {
      EXPECT_EQ((verb.analyse ? 1 : 0) + (verb.combine ? 1 : 0) + (verb.simulate ? 1 : 0), 1)
          << technique->name << " " << verb.name;
      EXPECT_FALSE(verb.summary.empty() || verb.summary.ends_with("."));
    }
}

}  // namespace
}  // namespace farfield::apps
