// farfield flow ... with a local database, as a newcomer uses it.

#include <gtest/gtest.h>

#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/domain/program/process.hpp"

namespace farfield::testing_program {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class Flows : public ::testing::Test {
protected:
  void SetUp() override {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(::testing::TempDir()) / ("farfield_flow_" + std::to_string(getpid())) / test->name();
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_.parent_path()); }
  Finished flow(std::vector<std::string> arguments, const RunOptions& options = {}) {
    arguments.insert(arguments.begin(), "flow");
    RunOptions with_database = options;
    with_database.environment["FARFIELD_DATABASE"] = "sqlite:" + (folder_ / "test.db").string();
    return farfield(arguments, with_database);
  }
  std::string write(const char* name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }
  static json last_line(const std::string& out) {
    const auto end = out.find_last_not_of('\n');
    const auto start = out.rfind('\n', end);
    return json::parse(out.substr(start == std::string::npos ? 0 : start + 1));
  }
  fs::path folder_;
};

constexpr const char* kExample = "examples/flows/first.json";

TEST_F(Flows, TheExampleRuns) {
  EXPECT_EQ(flow({"validate", kExample}).exit_code, 0);
  const auto ran = flow({"run", kExample, "--input", R"({"n": 3, "name": "you"})", "--tags", "a,b"});
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  const std::string id = ran.out.substr(0, ran.out.find('\n'));
  EXPECT_NE(ran.err.find("-> Greet"), std::string::npos);
  EXPECT_EQ(last_line(flow({"list", "--tag", "b", "--json"}).out)["id"], id);
  EXPECT_EQ(flow({"list", "--tag", "c"}).out, "");
  EXPECT_EQ(last_line(flow({"show", id, "--json"}).out)["status"], "SUCCEEDED");
  EXPECT_EQ(last_line(flow({"log", id, "--json"}).out)["kind"], "RunSucceeded");
  const std::string svg = folder_ / "times.svg";
  EXPECT_EQ(flow({"report", id, "--svg", svg}).exit_code, 0);
  EXPECT_GT(fs::file_size(svg), 500U);
  EXPECT_EQ(flow({"cancel", id}).exit_code, 11);
  EXPECT_EQ(flow({"show", "nothing"}).exit_code, 10);
}

TEST_F(Flows, MistakesAreShownWithLineAndPath) {
  const auto wrong = write(
      "wrong.json", "{\"StartAt\": \"A\",\n \"States\": {\"A\": {\"Type\": \"Pass\",\n \"Next\": \"Elsewhere\"}}}");
  const auto checked = flow({"validate", wrong});
  EXPECT_EQ(checked.exit_code, 13);
  EXPECT_EQ(checked.out, wrong + ":3: /States/A/Next: there is no state 'Elsewhere'\n");
  EXPECT_EQ(last_line(flow({"validate", wrong, "--json"}).out)["line"], 3);
  EXPECT_EQ(flow({"deploy", wrong}).exit_code, 2);
  EXPECT_EQ(flow({"run", "nothing"}).exit_code, 10);
  EXPECT_EQ(flow({"run", kExample, "--input", "{"}).exit_code, 2);
}

TEST_F(Flows, ADryRunDoesNothing) {
  const auto dry = flow({"run", kExample, "--input", R"({"n": 3, "name": "you"})", "--dry-run", "--results",
                         R"({"Square": {"result": 9}})", "--json"});
  EXPECT_EQ(dry.exit_code, 0) << dry.err;
  EXPECT_EQ(last_line(dry.out)["status"], "SUCCEEDED");
  EXPECT_NE(dry.out.find("Hello, you: 9"), std::string::npos);
  EXPECT_EQ(flow({"list"}).out, "");
}

TEST_F(Flows, AFailedRunSaysWhere) {
  const auto failing =
      write("fails.json", R"({"StartAt": "A", "States": {"A": {"Type": "Fail", "Error": "Own", "Cause": "because"}}})");
  const auto ran = flow({"run", failing});
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_NE(ran.err.find("FAILED in A: Own: because"), std::string::npos) << ran.err;
}

TEST_F(Flows, AnInterruptedRunGoesOn) {
  const auto waits = write(
      "waits.json",
      R"({"StartAt": "A", "States": {"A": {"Type": "Wait", "SecondsPath": "$.s", "Next": "B"}, "B": {"Type": "Pass", "End": true}}})");
  RunOptions interrupt;
  interrupt.on_output = [sent = false](Running& process, const std::string& out, const std::string& err) mutable {
    if (!sent && !out.empty() && err.find("-> A") != std::string::npos) {
      process.send(SIGINT);
      sent = true;
    }
  };
  const auto ran = flow({"run", waits, "--input", R"({"s": 2})"}, interrupt);
  EXPECT_EQ(ran.exit_code, 130) << ran.err;
  const std::string id = ran.out.substr(0, ran.out.find('\n'));
  EXPECT_EQ(last_line(flow({"show", id, "--json"}).out)["status"], "ACTIVE");
  EXPECT_EQ(flow({"resume", id}).exit_code, 0);
  // Cancelled by another process, and resumed in the state where it stopped.
  const auto other = flow({"run", waits, "--input", R"({"s": 2})"}, interrupt);
  const std::string second = other.out.substr(0, other.out.find('\n'));
  EXPECT_EQ(flow({"cancel", second}).exit_code, 0);
  EXPECT_EQ(last_line(flow({"show", second, "--json"}).out)["status"], "CANCELLED");
  EXPECT_EQ(flow({"resume", second}).exit_code, 0);
}

}  // namespace
}  // namespace farfield::testing_program
