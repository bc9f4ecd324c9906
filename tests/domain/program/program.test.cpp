#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "farfield/io/product_file.hpp"
#include "tests/domain/program/process.hpp"

namespace farfield::testing_program {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string text_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::set<std::string> files_in(const fs::path& folder) {
  std::set<std::string> names;
  if (fs::exists(folder))
    for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename().string());
  return names;
}

std::vector<json> lines_of(const std::string& out) {
  std::vector<json> objects;
  std::istringstream lines(out);
  for (std::string line; std::getline(lines, line);) objects.push_back(json::parse(line));
  return objects;
}

/// A folder of its own for each test.
struct Program : testing::Test {
  Program() {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    folder = fs::path(testing::TempDir()) / ("farfield_program_" + std::to_string(getpid())) / info->name();
    fs::create_directories(folder);
  }
  ~Program() override {
    std::error_code ignored;
    fs::permissions(folder, fs::perms::owner_all, ignored);
    fs::remove_all(folder, ignored);
  }
  std::string path(const std::string& name) const { return (folder / name).string(); }

  /// A scan of 40 frames 24 x 24.
  std::string scan() const {
    const auto made = farfield({"statistics", "simulate", "--frames", "40", "--shape", "24", "--dead-pixels", "5",
                                "--seed", "7", "--out", path("scan.cxi")});
    EXPECT_EQ(made.exit_code, 0) << made.err;
    return path("scan.cxi");
  }
  fs::path folder;
};

TEST_F(Program, SimulatesAnalysesAndWritesEverythingItPromises) {
  const auto input = scan();
  EXPECT_EQ(files_in(folder), (std::set<std::string>{"scan.cxi", "scan.truth.cxi"}));
  const auto run = farfield({"statistics", "mean", input, "--out", path("out"), "--threads", "2"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(files_in(folder / "out"),
            (std::set<std::string>{"result.cxi", "metrics.json", "frames.json", "mean.png", "variance.png"}));
  EXPECT_NE(run.out.find("result.cxi"), std::string::npos);
  EXPECT_NE(run.err.find("40 frames received: 40 processed, 0 dropped"), std::string::npos) << run.err;

  const auto metrics = json::parse(text_of(folder / "out/metrics.json"));
  EXPECT_EQ(metrics.at("metrics").at("frames"), 40);
  // Mean of 571 pixels and 40 frames of Poisson counts of mean 10: sigma = sqrt(10 / 571 / 40) = 0.021.
  EXPECT_NEAR(metrics.at("metrics").at("mean_counts").get<double>(), 10, 0.11 + 0.1);
  const auto& provenance = metrics.at("provenance");
  for (const char* name : {"version", "revision", "instruction_set", "seed", "input", "checksum", "options", "created",
                           "command", "state"})
    EXPECT_TRUE(provenance.contains(name)) << name;
  EXPECT_EQ(provenance.at("options").at("ddof"), 1);

  const auto product = io::read_product(folder / "out/result.cxi");
  EXPECT_EQ(product.find("mean")->data.shape(), (std::vector<core::Index>{24, 24}));
  EXPECT_EQ(json::parse(text_of(folder / "out/frames.json")).at("processed"), 40);
}

TEST_F(Program, TheSameSeedGivesTheSameResultWhateverTheThreads) {
  const auto input = scan();
  ASSERT_EQ(farfield({"statistics", "mean", input, "--out", path("one"), "--threads", "1"}).exit_code, 0);
  ASSERT_EQ(farfield({"statistics", "mean", input, "--out", path("live"), "--threads", "3", "--iterate-while-reading"})
                .exit_code,
            0);
  const auto one = io::read_product(folder / "one/result.cxi"), live = io::read_product(folder / "live/result.cxi");
  for (const char* name : {"mean", "variance"}) {
    const auto a = one.find(name)->data.to<double, 2>(), b = live.find(name)->data.to<double, 2>();
    EXPECT_EQ(std::memcmp(a.data(), b.data(), 24 * 24 * sizeof(double)), 0) << name;
  }
}

TEST_F(Program, JsonOnStdoutAndNothingElse) {
  const auto input = scan();
  const auto run = farfield({"statistics", "mean", input, "--out", path("out"), "--json"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const auto lines = lines_of(run.out);
  ASSERT_GE(lines.size(), 2U);
  EXPECT_EQ(lines.front().at("message_type"), "iteration");
  EXPECT_EQ(lines.front().at("iteration"), 40);
  EXPECT_TRUE(lines.front().contains("seconds"));
  EXPECT_EQ(lines.back().at("message_type"), "summary");
  EXPECT_EQ(lines.back().at("state"), "finished");
  EXPECT_EQ(lines.back().at("frames").at("received"), 40);
  EXPECT_EQ(lines.back().at("files").size(), 5U);

  const auto failed = farfield({"statistics", "mean", path("nothing.cxi"), "--out", path("out2"), "--json"});
  EXPECT_EQ(failed.exit_code, 10);
  EXPECT_EQ(lines_of(failed.out).back().at("message_type"), "error");
  EXPECT_EQ(lines_of(failed.out).back().at("code"), "not_found");
}

TEST_F(Program, OptionsFromFlagEnvironmentAndFile) {
  std::ofstream(path("options.toml")) << "frames = 9\nshape = 9\nmean-counts = 2.5\n";
  const auto printed =
      farfield({"statistics", "simulate", "--config", path("options.toml"), "--shape", "7", "--print-config"},
               {.environment = {{"FARFIELD_SHAPE", "8"}, {"FARFIELD_FRAMES", "8"}}});
  ASSERT_EQ(printed.exit_code, 0) << printed.err;
  for (const char* line : {"\nshape = 7\n", "\nframes = 8\n", "\nmean-counts = 2.5\n", "\n# dead-pixels = 0\n"})
    EXPECT_NE(printed.out.find(line), std::string::npos) << line << printed.out;
}

struct Wrong {
  const char* name;
  std::vector<std::string> arguments;  // "%" is the test's folder
  int exit_code;
  std::string message;
};

TEST_F(Program, EveryMistakeHasItsMessageAndExitCode) {
  std::ofstream(path("text.cxi")) << "this is no HDF5 file";
  const auto whole = text_of(scan());
  std::ofstream(path("cut.cxi"), std::ios::binary) << whole.substr(0, whole.size() / 2);
  const std::string good = path("scan.cxi");
  const std::vector<Wrong> wrongs{
      {"nothing", {}, 2, "farfield --help"},
      {"command", {"statistic", "mean"}, 2, "did you mean statistics?"},
      {"verb", {"statistics", "meen"}, 2, "did you mean mean?"},
      {"option",
       {"statistics", "mean", good, "--ddoff", "1"},
       2,
       "unknown option --ddoff of `farfield statistics mean`; did you mean --ddof?"},
      {"value",
       {"statistics", "mean", good, "--out", "%/o", "--ddof", "2"},
       2,
       "option ddof = 2 must be a whole number from 0 to 1"},
      {"word",
       {"statistics", "mean", good, "--out", "%/o", "--threads", "many"},
       2,
       "option threads = many must be a whole number"},
      {"no value", {"statistics", "mean", good, "--out"}, 2, "--out"},
      {"no out", {"statistics", "mean", good}, 2, "needs --out DIR"},
      {"no input", {"statistics", "mean", "--out", "%/o"}, 2, "takes SCAN"},
      {"two inputs", {"statistics", "mean", good, good, "--out", "%/o"}, 2, "unexpected argument"},
      {"no file", {"statistics", "mean", "%/none.cxi", "--out", "%/o"}, 10, "none.cxi"},
      {"foreign file", {"statistics", "mean", "%/text.cxi", "--out", "%/o"}, 1, "text.cxi"},
      {"truncated file", {"statistics", "mean", "%/cut.cxi", "--out", "%/o"}, 13, "cut.cxi"},
      {"no technique", {"technique", "schema", "ptycography"}, 10, "no technique ptycography"},
      {"no such verb", {"technique", "schema", "statistics.meen"}, 10, "did you mean mean?"},
      {"config", {"statistics", "mean", good, "--config", "%/none.toml"}, 10, "none.toml"},
      {"checkpoint", {"statistics", "mean", good, "--out", "%/o", "--resume", "%/none.ffc"}, 10, "none.ffc"},
      {"foreign checkpoint", {"statistics", "mean", good, "--out", "%/o", "--resume", "%/text.cxi"}, 13, "text.cxi"},
      {"simulation nowhere", {"statistics", "simulate", "--out", "%/no/such/folder/scan.cxi"}, 1, "no/such/folder"},
      {"too many dead pixels",
       {"statistics", "simulate", "--shape", "2", "--dead-pixels", "5", "--out", "%/s.cxi"},
       2,
       "dead-pixels = 5"},
  };
  for (const auto& wrong : wrongs) {
    SCOPED_TRACE(wrong.name);
    auto arguments = wrong.arguments;
    for (auto& a : arguments)
      if (a.starts_with("%")) a = folder.string() + a.substr(1);
    const auto run = farfield(arguments);
    EXPECT_EQ(run.exit_code, wrong.exit_code) << run.err;
    EXPECT_NE(run.err.find(wrong.message), std::string::npos) << run.err;
    EXPECT_EQ(run.out, "") << "an error says nothing on stdout";
    EXPECT_TRUE(run.err.starts_with("farfield: ")) << run.err;
    const auto left = files_in(folder / "o");
    EXPECT_TRUE(left.empty()) << "left behind: " << *left.begin();
  }
}

TEST_F(Program, AFolderThatCannotBeWrittenIsFoundBeforeTheWork) {
  const auto input = scan();
  std::ofstream(path("file")) << "in the way";
  const auto run = farfield({"statistics", "mean", input, "--out", path("file/out")});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_NE(run.err.find("file/out"), std::string::npos) << run.err;
  if (geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  fs::create_directory(folder / "locked");
  fs::permissions(folder / "locked", fs::perms::owner_read | fs::perms::owner_exec);
  const auto locked = farfield({"statistics", "mean", input, "--out", path("locked")});
  EXPECT_EQ(locked.exit_code, 1);
  EXPECT_NE(locked.err.find("locked"), std::string::npos) << locked.err;
}

TEST_F(Program, AFullDiskLeavesNoPartOfAFile) {
  // A limit on the size of files stands for the end of the disk: write() fails in the same place.
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{64 * 1024, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto run = farfield({"statistics", "simulate", "--frames", "200", "--shape", "128", "--out", path("scan.cxi")});
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(run.exit_code, 1) << run.err;
  EXPECT_NE(run.err.find("scan.cxi"), std::string::npos) << run.err;
  EXPECT_EQ(files_in(folder), std::set<std::string>{});
}

TEST_F(Program, CtrlCInASimulationLeavesNothing) {
  bool sent = false;
  const auto run =
      farfield({"statistics", "simulate", "--frames", "100000000", "--shape", "64", "--out", path("scan.cxi")},
               {.on_output = [&](Running& running, const std::string&, const std::string& err) {
                 if (!sent && err.find("frames read") != std::string::npos) running.send(SIGINT);
                 sent = sent || err.find("frames read") != std::string::npos;
               }});
  EXPECT_EQ(run.exit_code, 130) << run.err;
  EXPECT_NE(run.err.find("interrupted"), std::string::npos);
  EXPECT_EQ(files_in(folder), std::set<std::string>{});
}

TEST_F(Program, HelpVersionAndSchema) {
  const auto version = farfield({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  for (const char* part : {"farfield ", "revision", "x86-64-v", "Apache-2.0"})
    EXPECT_NE(version.out.find(part), std::string::npos) << part;
  const auto lower = farfield({"--version"}, {.environment = {{"FARFIELD_ISA", "v2"}}});
  EXPECT_NE(lower.out.find("x86-64-v2"), std::string::npos);
  EXPECT_EQ(farfield({"--version"}, {.environment = {{"FARFIELD_ISA", "v9"}}}).exit_code, 2);
  for (const std::vector<std::string>& ask : {std::vector<std::string>{"--help"},
                                              {"help"},
                                              {"statistics", "--help"},
                                              {"help", "statistics", "mean"},
                                              {"statistics", "mean", "--help"}}) {
    const auto help = farfield(ask);
    EXPECT_EQ(help.exit_code, 0) << help.err;
    EXPECT_NE(help.out.find("Usage: farfield"), std::string::npos) << help.out;
  }
  const auto schema = json::parse(farfield({"technique", "schema", "statistics.mean"}).out);
  EXPECT_EQ(schema.at("properties").at("ddof").at("maximum"), 1);
  EXPECT_EQ(json::parse(farfield({"technique", "schema", "statistics"}).out).size(), 2U);
}

}  // namespace
}  // namespace farfield::testing_program
