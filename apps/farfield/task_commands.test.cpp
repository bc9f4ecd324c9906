// farfield task and farfield function, with a service as it is shipped and an endpoint that does not come.

#include <gmock/gmock.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "apps/farfield/compute_options.hpp"
#include "apps/farfield/testing_service.hpp"

namespace farfield::apps {
namespace {
using core::ErrorCode;
using nlohmann::json;
using ::testing::HasSubstr;

class TaskCommands : public testing::ServiceTest {
protected:
  TaskCommands() { compute_service({}).call("POST", "/api/v1/endpoints", R"({"name":"cluster"})"); }
};

TEST_F(TaskCommands, FromRegistrationToCancellation) {
  const std::string file = (folder / "copy.json").string();
  std::ofstream(file) << R"({"name":"copy","kind":"command","experiment":"2026-1-Garcia-1",
    "command":["cp","{in:from}","{out:to}"],"input_schema":{"type":"object","required":["from","to"]}})";
  EXPECT_EQ(run({"function", "register", file}).out, "copy@1\n");
  EXPECT_EQ(run({"function", "register", file}).out, "copy@1\n");
  EXPECT_THAT(run({"function", "list"}).out, HasSubstr("copy@1"));
  EXPECT_EQ(json::parse(run({"function", "show", "copy@1", "--json"}).out)["command"][1], "{in:from}");

  const std::vector<std::string> place{"--endpoint=cluster", "--experiment=2026-1-Garcia-1", "--key=mine"};
  const auto submit = [&](const std::string& arguments) {
    std::vector<std::string> words{"task", "submit", "copy", "--arguments=" + arguments};
    words.insert(words.end(), place.begin(), place.end());
    return run(words);
  };
  EXPECT_EQ(submit("{}").code, exit_code(ErrorCode::invalid_argument));
  EXPECT_EQ(submit("[]").code, exit_code(ErrorCode::invalid_argument));
  std::ofstream(folder / "arguments.json") << R"({"from":"a","to":"b"})";
  const std::string id = submit("@" + (folder / "arguments.json").string()).out;
  EXPECT_EQ(submit(R"({"to":"b","from":"a"})").out, id);
  EXPECT_EQ(submit(R"({"to":"c","from":"a"})").code, exit_code(ErrorCode::conflict));
  const std::string task = id.substr(0, id.size() - 1);
  EXPECT_THAT(run({"task", "list"}).out, HasSubstr(task + "  queued"));
  EXPECT_THAT(run({"task", "list", "--experiment=2026-1-Garcia-1", "--json"}).out, HasSubstr(task));
  EXPECT_THAT(run({"task", "show", task}).out, HasSubstr("which is not connected"));
  EXPECT_EQ(run({"task", "output", task}).code, exit_code(ErrorCode::conflict));
  EXPECT_EQ(run({"task", "log", task}).out, "");
  EXPECT_EQ(run({"task", "cancel", task}).out, "cancelled\n");
  EXPECT_EQ(json::parse(run({"task", "show", task, "--json"}).out)["state"], "cancelled");
  EXPECT_EQ(run({"task", "show", "nobody"}).code, exit_code(ErrorCode::not_found));
}

}  // namespace
}  // namespace farfield::apps
