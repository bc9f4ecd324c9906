// farfield transfer submit and its relatives, with a service and two agents as they are shipped.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "apps/farfield/agent.hpp"
#include "apps/farfield/command_line.hpp"
#include "apps/farfield/commands.hpp"
#include "apps/farfield/credentials.hpp"
#include "apps/farfield/service.hpp"
#include "apps/farfield/settings.hpp"
#include "farfield/core/testing.hpp"
#include "farfield/services/auth/access.hpp"
#include "farfield/services/transfer/rest.hpp"

namespace farfield::apps {
namespace {
namespace auth = services::auth;
namespace fs = std::filesystem;
using core::ErrorCode;
using nlohmann::json;
using ::testing::HasSubstr;

constexpr const char* kExperiment = "2026-1-Garcia-1";

class TransferCommands : public ::testing::Test {
protected:
  TransferCommands() {
    options.folder = folder / "service";
    options.port = 0;
    options.issuer = "https://farfield.test";
    options.requests_per_s = 0;
    service = std::make_unique<Service>(options);
    auth::Issuer& issuer = service->access().issuer();
    issuer.directory().create_experiment(kExperiment, "user:admin");
    for (const auto* name : {"beamline", "cluster"}) agents.push_back(agent(name));
    ::setenv("XDG_CONFIG_HOME", (folder / "config").c_str(), 1);
    const auto device = issuer.begin_device("farfield-cli", "farfield");
    issuer.decide_device(device.user_code, "user:admin", true);
    const auto tokens = issuer.device_tokens("farfield-cli", device.device_code);
    Credentials(credentials_folder())
        .keep({service->origin(), service->made_certificate()}, tokens.access, tokens.refresh, tokens.expires_in_s);
    write("beamline/2026-1-Garcia-1/input/scan100/a.h5", "a");
    write("beamline/2026-1-Garcia-1/input/scan100/sub/b.h5", "bb");
  }
  ~TransferCommands() override { ::unsetenv("XDG_CONFIG_HOME"); }

  std::unique_ptr<Agent> agent(const std::string& name) {
    const fs::path secret = folder / (name + ".secret");
    std::ofstream(secret) << service->access().issuer().directory().add_service(name,
                                                                                {services::transfer::kAgentScope});
    fs::permissions(secret, fs::perms::owner_read | fs::perms::owner_write);
    fs::create_directories(folder / name);
    AgentOptions one;
    one.service = service->origin();
    one.authority = service->made_certificate();
    one.issuer = options.issuer;
    one.identity = name;
    one.secret_file = secret;
    one.root = folder / name;
    one.folder = folder / (name + ".state");
    one.port = 0;
    auto made = std::make_unique<Agent>(one);
    EXPECT_TRUE(made->wait_ready(20));
    return made;
  }
  void write(const std::string& path, const std::string& text) const {
    fs::create_directories((folder / path).parent_path());
    std::ofstream(folder / path) << text;
  }
  std::string read(const std::string& path) const {
    std::ostringstream text;
    text << std::ifstream(folder / path).rdbuf();
    return text.str();
  }
  /// Exit code and standard output.
  static std::pair<int, std::string> run(std::vector<std::string> words) {
    const core::SteadyClock clock;
    words.insert(words.begin(), "transfer");
    const std::vector<Command> commands{transfer_submit_command(), transfer_list_command(), transfer_show_command(),
                                        transfer_wait_command(), transfer_cancel_command()};
    const auto line = parse_command_line(commands, words);
    ::testing::internal::CaptureStdout();
    int code = 0;
    try {
      code = line.command->run(
          {line.inputs, resolve(line, [](const std::string&) { return std::optional<std::string>(); })},
          {{}, clock, {}});
    } catch (const core::Error& e) {
      code = core::traits(e.code()).exit_code;
    }
    return {code, ::testing::internal::GetCapturedStdout()};
  }

  core::testing::TemporaryFolder folder;
  ServeOptions options;
  std::unique_ptr<Service> service;
  std::vector<std::unique_ptr<Agent>> agents;
  const std::string from = std::string("beamline/") + kExperiment, to = std::string("cluster/") + kExperiment;
};

TEST_F(TransferCommands, SubmitWaitAndLook) {
  const auto [code, said] =
      run({"submit", from + "/input/scan100/", to + "/input/100/", "--wait", "--checksum", "sha256", "--json"});
  ASSERT_EQ(code, core::kExitOk) << said;
  EXPECT_EQ(read("cluster/2026-1-Garcia-1/input/100/sub/b.h5"), "bb");
  const json last = json::parse(said.substr(said.rfind('\n', said.size() - 2) + 1));
  EXPECT_EQ(last["state"], "succeeded");
  EXPECT_EQ(last["message_type"], "transfer");
  const std::string id = last["id"];
  EXPECT_THAT(run({"list"}).second, HasSubstr(id + "  succeeded  2 of 2 files"));
  EXPECT_THAT(run({"show", id}).second, HasSubstr(from + " -> " + to));
  EXPECT_EQ(run({"wait", id}).first, core::kExitOk);

  // The same key is the same transfer.
  const auto once = run({"submit", from + "/input/scan100/a.h5", to + "/a.h5", "--key", "one"});
  EXPECT_EQ(run({"submit", from + "/input/scan100/a.h5", to + "/a.h5", "--key", "one"}).second, once.second);
  std::string other = once.second;
  other.pop_back();
  EXPECT_EQ(run({"wait", other}).first, core::kExitOk);
  EXPECT_EQ(read("cluster/2026-1-Garcia-1/a.h5"), "a");
}

TEST_F(TransferCommands, FailuresAndCancellation) {
  const auto gone = run({"submit", from + "/gone", to + "/gone", "--wait"});
  EXPECT_EQ(gone.first, 1);
  EXPECT_THAT(gone.second, HasSubstr("failed"));
  auto id =
      run({"submit", from + "/input/scan100/", to + "/x/", "--follow", "--marker", "never", "--complete-after", "0"})
          .second;
  id.pop_back();
  EXPECT_EQ(run({"cancel", id}).first, core::kExitOk);
  EXPECT_EQ(run({"wait", id}).first, core::traits(ErrorCode::cancelled).exit_code);
  EXPECT_EQ(run({"show", "made-up"}).first, core::traits(ErrorCode::not_found).exit_code);
  EXPECT_EQ(run({"submit", "beamline/x", to + "/x"}).first, core::kExitUsage);
  EXPECT_EQ(run({"submit", from + "/a/", to + "/a"}).first, core::kExitUsage);
  EXPECT_EQ(run({"submit", from + "/../a", to + "/a"}).first, core::kExitUsage);
  EXPECT_EQ(run({"submit", "nowhere/" + std::string(kExperiment) + "/a", to + "/a"}).first,
            core::traits(ErrorCode::not_found).exit_code);
  EXPECT_EQ(run({"submit", "beamline/2026-1-Other-2/a", to + "/a"}).first,
            core::traits(ErrorCode::forbidden).exit_code);
  EXPECT_EQ(run({"list", "--service", "https://127.0.0.1:1"}).first,
            core::traits(ErrorCode::unauthenticated).exit_code);
}

}  // namespace
}  // namespace farfield::apps
