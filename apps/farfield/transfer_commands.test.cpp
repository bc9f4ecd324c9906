// farfield transfer submit and its relatives, with a service and two agents as they are shipped.

#include <gmock/gmock.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "apps/farfield/agent.hpp"
#include "apps/farfield/testing_service.hpp"
#include "farfield/services/transfer/rest.hpp"

namespace farfield::apps {
namespace {
namespace fs = std::filesystem;
using core::ErrorCode;
using nlohmann::json;
using ::testing::HasSubstr;

class TransferCommands : public testing::ServiceTest {
protected:
  TransferCommands() {
    for (const auto* name : {"beamline", "cluster"}) agents.push_back(agent(name));
    write("beamline/2026-1-Garcia-1/input/scan100/a.h5", "a");
    write("beamline/2026-1-Garcia-1/input/scan100/sub/b.h5", "bb");
  }

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
  static Outcome run(std::vector<std::string> words) {
    words.insert(words.begin(), "transfer");
    return ServiceTest::run(words);
  }

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
  EXPECT_THAT(run({"list"}).out, HasSubstr(id + "  succeeded  2 of 2 files"));
  EXPECT_THAT(run({"show", id}).out, HasSubstr(from + " -> " + to));
  EXPECT_EQ(run({"wait", id}).code, core::kExitOk);

  // The same key is the same transfer.
  const auto once = run({"submit", from + "/input/scan100/a.h5", to + "/a.h5", "--key", "one"});
  EXPECT_EQ(run({"submit", from + "/input/scan100/a.h5", to + "/a.h5", "--key", "one"}).out, once.out);
  std::string other = once.out;
  other.pop_back();
  EXPECT_EQ(run({"wait", other}).code, core::kExitOk);
  EXPECT_EQ(read("cluster/2026-1-Garcia-1/a.h5"), "a");
}

TEST_F(TransferCommands, FailuresAndCancellation) {
  const auto gone = run({"submit", from + "/gone", to + "/gone", "--wait"});
  EXPECT_EQ(gone.code, 1);
  EXPECT_THAT(gone.out, HasSubstr("failed"));
  auto id =
      run({"submit", from + "/input/scan100/", to + "/x/", "--follow", "--marker", "never", "--complete-after", "0"})
          .out;
  id.pop_back();
  EXPECT_EQ(run({"cancel", id}).code, core::kExitOk);
  EXPECT_EQ(run({"wait", id}).code, exit_code(ErrorCode::cancelled));
  EXPECT_EQ(run({"show", "made-up"}).code, exit_code(ErrorCode::not_found));
  EXPECT_EQ(run({"submit", "beamline/x", to + "/x"}).code, core::kExitUsage);
  EXPECT_EQ(run({"submit", from + "/a/", to + "/a"}).code, core::kExitUsage);
  EXPECT_EQ(run({"submit", from + "/../a", to + "/a"}).code, core::kExitUsage);
  EXPECT_EQ(run({"submit", "nowhere/" + std::string(kExperiment) + "/a", to + "/a"}).code,
            exit_code(ErrorCode::not_found));
  EXPECT_EQ(run({"submit", "beamline/2026-1-Other-2/a", to + "/a"}).code, exit_code(ErrorCode::forbidden));
  EXPECT_EQ(run({"list", "--service", "https://127.0.0.1:1"}).code, exit_code(ErrorCode::unauthenticated));
}

}  // namespace
}  // namespace farfield::apps
