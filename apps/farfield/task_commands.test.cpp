// farfield task and farfield function, with a service as it is shipped and an endpoint that does not come.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "apps/farfield/command_line.hpp"
#include "apps/farfield/commands.hpp"
#include "apps/farfield/compute_options.hpp"
#include "apps/farfield/credentials.hpp"
#include "apps/farfield/service.hpp"
#include "apps/farfield/settings.hpp"
#include "farfield/core/testing.hpp"
#include "farfield/services/auth/access.hpp"

namespace farfield::apps {
namespace {
namespace auth = services::auth;
using core::ErrorCode;
using nlohmann::json;
using ::testing::HasSubstr;

class TaskCommands : public ::testing::Test {
protected:
  TaskCommands() {
    ServeOptions options;
    options.folder = folder / "service";
    options.port = 0;
    options.issuer = "https://farfield.test";
    options.requests_per_s = 0;
    service = std::make_unique<Service>(options);
    auth::Issuer& issuer = service->access().issuer();
    issuer.directory().create_experiment("2026-1-Garcia-1", "user:admin");
    ::setenv("XDG_CONFIG_HOME", (folder / "config").c_str(), 1);
    const auto device = issuer.begin_device("farfield-cli", "farfield");
    issuer.decide_device(device.user_code, "user:admin", true);
    const auto tokens = issuer.device_tokens("farfield-cli", device.device_code);
    Credentials(credentials_folder())
        .keep({service->origin(), service->made_certificate()}, tokens.access, tokens.refresh, tokens.expires_in_s);
    compute_service({}).call("POST", "/api/v1/endpoints", R"({"name":"cluster"})");
  }
  ~TaskCommands() override { ::unsetenv("XDG_CONFIG_HOME"); }

  struct Outcome {
    int code = 0;
    std::string out;
  };
  static Outcome run(const std::vector<std::string>& words) {
    const core::SteadyClock clock;
    const std::vector<Command> commands = all_commands();
    const auto line = parse_command_line(commands, words);
    Outcome outcome;
    ::testing::internal::CaptureStdout();
    try {
      outcome.code = line.command->run(
          {line.inputs, resolve(line, [](const std::string&) { return std::optional<std::string>(); })},
          {{}, clock, {}});
    } catch (const core::Error& e) {
      outcome.code = core::traits(e.code()).exit_code;
    }
    outcome.out = ::testing::internal::GetCapturedStdout();
    return outcome;
  }

  core::testing::TemporaryFolder folder;
  std::unique_ptr<Service> service;
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
  EXPECT_EQ(submit("{}").code, core::traits(ErrorCode::invalid_argument).exit_code);
  EXPECT_EQ(submit("[]").code, core::traits(ErrorCode::invalid_argument).exit_code);
  std::ofstream(folder / "arguments.json") << R"({"from":"a","to":"b"})";
  const std::string id = submit("@" + (folder / "arguments.json").string()).out;
  EXPECT_EQ(submit(R"({"to":"b","from":"a"})").out, id);
  EXPECT_EQ(submit(R"({"to":"c","from":"a"})").code, core::traits(ErrorCode::conflict).exit_code);
  const std::string task = id.substr(0, id.size() - 1);
  EXPECT_THAT(run({"task", "list"}).out, HasSubstr(task + "  queued"));
  EXPECT_THAT(run({"task", "list", "--experiment=2026-1-Garcia-1", "--json"}).out, HasSubstr(task));
  EXPECT_THAT(run({"task", "show", task}).out, HasSubstr("which is not connected"));
  EXPECT_EQ(run({"task", "output", task}).code, core::traits(ErrorCode::conflict).exit_code);
  EXPECT_EQ(run({"task", "log", task}).out, "");
  EXPECT_EQ(run({"task", "cancel", task}).out, "cancelled\n");
  EXPECT_EQ(json::parse(run({"task", "show", task, "--json"}).out)["state"], "cancelled");
  EXPECT_EQ(run({"task", "show", "nobody"}).code, core::traits(ErrorCode::not_found).exit_code);
}

}  // namespace
}  // namespace farfield::apps
