#include "apps/farfield/transfer_copy.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "apps/farfield/command_line.hpp"
#include "apps/farfield/commands.hpp"
#include "apps/farfield/settings.hpp"
#include "farfield/net/server.hpp"
#include "farfield/services/transfer/agent/agent.hpp"
#include "farfield/services/transfer/local/local.hpp"

namespace farfield::apps {
namespace {

namespace fs = std::filesystem;
using core::ErrorCode;

class TransferCopy : public ::testing::Test {
protected:
  TransferCopy() {
    std::string name = ::testing::TempDir() + "farfield_copy_XXXXXX";
    folder_ = fs::canonical(::mkdtemp(name.data()));
    write("from/scan100/a.h5", "a");
    write("from/scan100/sub/b.h5", "bb");
    write("from/scan100/sub/log.txt", "log");
  }
  ~TransferCopy() override { fs::remove_all(folder_); }
  void write(const std::string& path, const std::string& text) const {
    fs::create_directories((folder_ / path).parent_path());
    std::ofstream(folder_ / path) << text;
  }
  std::string read(const std::string& path) const {
    std::ifstream file(folder_ / path);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  int run(std::vector<std::string> words) const {
    const core::SteadyClock clock;
    const std::vector<Command> commands{transfer_copy_command()};
    words.insert(words.begin(), {"transfer", "copy", "--quiet"});
    const auto line = parse_command_line(commands, words);
    return line.command->run(
        {line.inputs, resolve(line, [](const std::string&) { return std::optional<std::string>(); })}, {{}, clock, {}});
  }
  fs::path folder_;
};

TEST_F(TransferCopy, AFolderAndAFile) {
  EXPECT_EQ(run({folder_ / "from/scan100/", folder_ / "to/deep/scan100"}), core::kExitOk);
  EXPECT_EQ(read("to/deep/scan100/sub/b.h5"), "bb");
  EXPECT_EQ(run({folder_ / "from/scan100/a.h5", folder_ / "to/one.h5", "--checksum", "sha256"}), core::kExitOk);
  EXPECT_EQ(read("to/one.h5"), "a");
  EXPECT_EQ(run({folder_ / "from/scan100", folder_ / "to/some", "--include", "*.h5", "--exclude", "sub"}),
            core::kExitOk);
  EXPECT_TRUE(fs::exists(folder_ / "to/some/a.h5"));
  EXPECT_FALSE(fs::exists(folder_ / "to/some/sub"));
}

TEST_F(TransferCopy, ExitCodesSayWhatHappened) {
  EXPECT_EQ(run({folder_ / "gone", folder_ / "to"}), core::traits(ErrorCode::not_found).exit_code);
  EXPECT_EQ(run({folder_ / "from", folder_ / "from/scan100/x"}), core::kExitUsage);  // into itself
  EXPECT_EQ(run({"https://127.0.0.1:1/", folder_ / "to"}), core::kExitUsage);       // no experiment
  write(std::string("from/scan100/bad\xff"), "x");
  EXPECT_EQ(run({folder_ / "from/scan100", folder_ / "to"}), core::kExitPartial);
  EXPECT_EQ(read("to/a.h5"), "a");
}

TEST_F(TransferCopy, FollowsUntilTheMarker) {
  write("from/scan100/complete", "");
  EXPECT_EQ(
      run({folder_ / "from/scan100", folder_ / "to", "--follow", "--marker", "complete", "--complete-after", "0"}),
      core::kExitOk);
  EXPECT_EQ(read("to/sub/log.txt"), "log");
}

TEST_F(TransferCopy, ThroughAnAgentWithATokenFromAFile) {
  fs::create_directories(folder_ / "agent");
  net::Router router;
  services::transfer::add_agent_routes(
      router, {{"2026-1-Garcia-1234", services::transfer::local_provider(folder_ / "agent")}},
      [](const net::Request& request, services::transfer::Right, const std::string&, const std::string&) {
        const std::string* token = request.headers.find("Authorization");
        if (token == nullptr || *token != "Bearer secret") throw core::Error(ErrorCode::unauthenticated, "no token");
      });
  const net::Server server({}, std::move(router));
  const std::string place = server.origin() + "/2026-1-Garcia-1234/scans/scan%20100";
  EXPECT_EQ(run({folder_ / "from/scan100", place}), core::traits(ErrorCode::unauthenticated).exit_code);
  EXPECT_EQ(run({folder_ / "from/scan100", place, "--token-file", folder_ / "none"}),
            core::traits(ErrorCode::unauthenticated).exit_code);
  write("token", "secret\n");
  EXPECT_EQ(run({folder_ / "from/scan100", place, "--token-file", folder_ / "token"}), core::kExitOk);
  EXPECT_EQ(read("agent/scans/scan 100/sub/b.h5"), "bb");
  EXPECT_EQ(run({place + "/a.h5", folder_ / "back.h5", "--token-file", folder_ / "token"}), core::kExitOk);
  EXPECT_EQ(read("back.h5"), "a");
}

}  // namespace
}  // namespace farfield::apps
