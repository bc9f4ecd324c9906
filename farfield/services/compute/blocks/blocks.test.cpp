#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "farfield/core/error.hpp"
#include "farfield/core/testing.hpp"
#include "farfield/services/compute/blocks/block.hpp"
#include "farfield/services/compute/blocks/testing_slurm.hpp"
#include "farfield/services/compute/command.hpp"

namespace farfield::services::compute {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using core::Error;
using core::ErrorCode;

std::string content(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

template <class F>
ErrorCode code_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.code();
  }
  return ErrorCode::internal;
}

TEST(Command, GivesOutputAndExitCode) {
  const auto r =
      run_command({"sh", "-c", "echo \"$1-$NAME\"; echo bad >&2; exit 3", "sh", "a b;'c'"}, {{"NAME", "v"}}, 60s);
  EXPECT_EQ(r.exit_code, 3);
  EXPECT_EQ(r.out, "a b;'c'-v\n");
  EXPECT_EQ(r.err, "bad\n");
  EXPECT_EQ(run_command({"sh", "-c", "kill -9 $$"}, {}, 60s).exit_code, 137);
  // More than a pipe holds, on both.
  const auto much = run_command({"sh", "-c", "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2"}, {}, 60s);
  EXPECT_EQ(much.out.size(), 300000U);
  EXPECT_EQ(much.err.size(), 300000U);
}

TEST(Command, EndsWhatTakesTooLongWithItsChildren) {
  EXPECT_EQ(code_of([] { run_command({"sh", "-c", "sleep 600 & wait"}, {}, 100ms); }), ErrorCode::timeout);
  EXPECT_EQ(code_of([] { run_command({"/no/such/program"}, {}, 1s); }), ErrorCode::not_found);
}

TEST(Command, QuotedArgumentsComeThroughAShell) {
  for (const std::string argument : {"plain", "", "a b", "it's", "$HOME `x` \"y\" \\ !", "-n", "line\nbreak", "*"}) {
    const auto r = run_command({"sh", "-c", "printf %s " + shell_quoted(argument)}, {}, 60s);
    EXPECT_EQ(r.out, argument);
  }
}

/// One kind of provider, to be put through what all must do.
struct Kind {
  std::string name;
  /// The provider, or nothing and why.
  std::unique_ptr<BlockProvider> (*make)(const fs::path& folder, std::string& why);
};

class Blocks : public ::testing::TestWithParam<Kind> {
protected:
  void SetUp() override {
    folder = fs::temp_directory_path() / ("farfield-blocks-" + std::to_string(::getpid()));
    fs::remove_all(folder);
    fs::create_directories(folder);
    std::string why;
    provider = GetParam().make(folder, why);
    if (provider) return;
    FARFIELD_SKIP(why);
  }
  void TearDown() override {
    if (!provider) return;
    for (const std::string& id : started) {
      provider->cancel(id);
      until(id, [](const BlockStatus& s) { return has_ended(s.state); });
    }
    provider.reset();
    fs::remove_all(folder);
  }

  BlockRequest request(const std::string& name, const std::string& shell) const {
    BlockRequest r;
    r.name = name;
    r.command = {"sh", "-c", shell};
    r.folder = folder.string();
    return r;
  }
  std::string submit(const BlockRequest& r) {
    started.push_back(provider->submit(r));
    return started.back();
  }
  BlockStatus status(const std::string& id) { return provider->query({&id, 1}).at(id); }
  /// The status once `done` says so, or after two minutes as it is.
  template <class Done>
  BlockStatus until(const std::string& id, Done done) {
    BlockStatus s;
    for (int i = 0; i < 1200; ++i) {
      s = status(id);
      if (done(s)) break;
      std::this_thread::sleep_for(100ms);
    }
    return s;
  }
  BlockStatus ended(const std::string& id) {
    return until(id, [](const BlockStatus& s) { return has_ended(s.state); });
  }
  BlockStatus writes(const std::string& id, const std::string& file) {
    return until(id, [&](const BlockStatus& s) { return fs::exists(folder / file) || has_ended(s.state); });
  }

  fs::path folder;
  std::unique_ptr<BlockProvider> provider;
  std::vector<std::string> started;
};

TEST_P(Blocks, RunTheirCommandInTheirFolderWithTheirEnvironment) {
  auto r = request("first", "pwd > where; printf %s \"$GREETING\" > greeting; echo said");
  r.environment = {{"GREETING", "it's $HOME & \"more\"\nlines"}};
  const std::string id = submit(r);
  EXPECT_EQ(ended(id).state, BlockState::done);
  EXPECT_EQ(content(folder / "where"), fs::canonical(folder).string() + "\n");
  EXPECT_EQ(content(folder / "greeting"), "it's $HOME & \"more\"\nlines");
  EXPECT_EQ(content(folder / "first.out"), "said\n");
  EXPECT_TRUE(fs::exists(folder / "first.sh"));
}

TEST_P(Blocks, TellThatTheyFailed) {
  const auto s = ended(submit(request("bad", "exit 7")));
  EXPECT_EQ(s.state, BlockState::failed);
  EXPECT_FALSE(s.reason.empty());
}

TEST_P(Blocks, EndWhenCancelledAndHearTermFirst) {
  const std::string id =
      submit(request("long", "trap 'echo term > heard; exit 0' TERM; touch up; while :; do sleep 0.1; done"));
  ASSERT_EQ(writes(id, "up").state, BlockState::running);
  provider->cancel(id);
  EXPECT_EQ(ended(id).state, BlockState::cancelled);
  EXPECT_EQ(content(folder / "heard"), "term\n");
  provider->cancel(id);  // once more changes nothing
  EXPECT_EQ(status(id).state, BlockState::cancelled);
}

TEST_P(Blocks, AreKnownToAnotherProviderByIdAndByName) {
  const std::string id = submit(request("known", "touch up; sleep 600"));
  ASSERT_EQ(writes(id, "up").state, BlockState::running);
  std::string why;
  const auto other = GetParam().make(folder, why);
  EXPECT_EQ(other->query({&id, 1}).at(id).state, BlockState::running);
  EXPECT_EQ(other->find(folder.string(), "known"), id);
  EXPECT_EQ(other->find(folder.string(), "unknown"), "");
  other->cancel(id);
  EXPECT_EQ(ended(id).state, BlockState::cancelled);
}

TEST_P(Blocks, HaveNamesOfTheirOwn) {
  submit(request("one", "sleep 600"));
  EXPECT_EQ(code_of([&] { provider->submit(request("one", "true")); }), ErrorCode::conflict);
}

TEST_P(Blocks, OfAnotherIdAreLost) {
  const std::string id = (folder / "never").string(), unknown = "99999999:" + id, local = "99999999-1:" + id;
  const std::string& asked = GetParam().name == "local" ? local : unknown;
  EXPECT_EQ(status(asked).state, BlockState::lost);
  // A folder whose provider was another one before: its blocks are in nobody's way.
  const std::string own = submit(request("own", "touch up; sleep 600"));
  writes(own, "up");
  const std::vector<std::string> ids{GetParam().name == "local" ? unknown : local, "nonsense", own};
  const auto all = provider->query(ids);
  EXPECT_EQ(all.at(ids[0]).state, BlockState::lost);
  EXPECT_EQ(all.at(ids[1]).state, BlockState::lost);
  EXPECT_EQ(all.at(own).state, BlockState::running);
}

TEST_P(Blocks, RefuseWhatCouldEscapeTheirScript) {
  const auto refused = [&](auto change) {
    BlockRequest r = request("r", "true");
    change(r);
    return code_of([&] { provider->submit(r); });
  };
  using R = BlockRequest;
  EXPECT_EQ(refused([](R& r) { r.name = "../up"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](R& r) { r.name = ""; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](R& r) { r.command.clear(); }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](R& r) { r.environment["A;rm"] = "x"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](R& r) { r.partition = "p\n#SBATCH --uid=0"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](R& r) { r.account = "a b"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](R& r) { r.extra = {"rm -rf /"}; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](R& r) { r.extra = {"#SBATCH --x\nrm"}; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](R& r) { r.walltime_s = 0; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](R& r) { r.folder = "relative"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](R& r) { r.nodes = 0; }), ErrorCode::invalid_argument);
  EXPECT_FALSE(fs::exists(folder / "r.sh"));
}

std::unique_ptr<BlockProvider> local(const fs::path&, std::string&) { return make_local_blocks({1}); }

std::unique_ptr<BlockProvider> slurm(const fs::path&, std::string& why) {
  const testing::SlurmCluster* cluster = testing::SlurmCluster::get(why);
  if (cluster == nullptr) return nullptr;
  return make_slurm_blocks({"", cluster->environment(), 60});
}

INSTANTIATE_TEST_SUITE_P(Kinds, Blocks, ::testing::Values(Kind{"local", local}, Kind{"slurm", slurm}),
                         [](const auto& kind) { return kind.param.name; });

class LocalBlocks : public Blocks {};

TEST_P(LocalBlocks, EndWithTheirWalltime) {
  auto r = request("short", "sleep 600");
  r.walltime_s = 1;
  EXPECT_EQ(ended(submit(r)).state, BlockState::timed_out);
}

TEST_P(LocalBlocks, ThatIgnoreTermAreKilledWithTheirChildren) {
  const std::string id =
      submit(request("deaf", "trap '' TERM; (trap '' TERM; echo $$ > child; touch up; while :; do sleep 0.1; done)"));
  ASSERT_EQ(writes(id, "up").state, BlockState::running);
  provider->cancel(id);
  EXPECT_EQ(ended(id).state, BlockState::cancelled);
}

TEST_P(LocalBlocks, LeaveNothingRunningWhenTheirProgramIsKilled) {
  const std::string id = submit(request("orphans",
                                        "sh -c 'echo $$ > child; touch up; exec sleep 1000' & "
                                        "while [ ! -e up ]; do sleep 0.05; done; kill -9 $$"));
  EXPECT_EQ(ended(id).state, BlockState::failed);
  const int child = std::stoi(content(folder / "child"));
  for (int i = 0; i < 1000 && ::kill(child, 0) == 0; ++i) std::this_thread::sleep_for(10ms);  // init buries it
  EXPECT_NE(::kill(child, 0), 0) << "it runs on";
}

TEST_P(LocalBlocks, HearTermThoughTheirStarterHasBlockedIt) {
  sigset_t term, before;
  ::sigemptyset(&term);
  ::sigaddset(&term, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &term, &before);
  const std::string id =
      submit(request("hears", "trap 'echo term > heard; exit 0' TERM; touch up; while :; do sleep 0.1; done"));
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ASSERT_EQ(writes(id, "up").state, BlockState::running);
  provider->cancel(id);
  EXPECT_EQ(ended(id).state, BlockState::cancelled);
  EXPECT_EQ(content(folder / "heard"), "term\n");
}

TEST_P(LocalBlocks, WhoseScriptWasKilledHaveFailed) {
  const std::string id =
      submit(request("killed", "touch up; kill -9 $PPID; kill -9 -$PPID; kill -9 $(cat killed.pid)"));
  const auto s = ended(id);
  EXPECT_EQ(s.state, BlockState::failed);
}

INSTANTIATE_TEST_SUITE_P(Kinds, LocalBlocks, ::testing::Values(Kind{"local", local}),
                         [](const auto& kind) { return kind.param.name; });

class SlurmBlocks : public Blocks {};

TEST_P(SlurmBlocks, ThatWerePreemptedStartAgainWithoutTheLongHold) {
  auto r = request("patient", "echo start >> starts; sleep 600");
  r.nodes = 2;
  r.cores = 4;
  const std::string id = submit(r);
  ASSERT_EQ(writes(id, "starts").state, BlockState::running);
  auto urgent = request("urgent", "true");
  urgent.nodes = 2;
  urgent.cores = 4;
  urgent.partition = "realtime";
  EXPECT_EQ(ended(submit(urgent)).state, BlockState::done);
  // Asked again and again, as an endpoint does: it comes back long before the two minutes are over.
  bool waited = false;
  const auto s = until(id, [&](const BlockStatus& now) {
    waited |= now.state == BlockState::queued;
    return waited && now.state == BlockState::running;
  });
  EXPECT_EQ(s.state, BlockState::running);
  EXPECT_NE(content(folder / "starts").find("start\nstart"), std::string::npos);
}

TEST_P(SlurmBlocks, RunOnEachNodeAndSeeTheirGpus) {
  auto r = request("wide", "echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES >> nodes; sleep 0.2");
  r.nodes = 2;
  r.gpus = 2;
  EXPECT_EQ(ended(submit(r)).state, BlockState::done);
  const std::string nodes = content(folder / "nodes");
  EXPECT_NE(nodes.find("n1 0,1"), std::string::npos) << nodes;
  EXPECT_NE(nodes.find("n2 0,1"), std::string::npos) << nodes;
}

TEST_P(SlurmBlocks, OfNoPartitionAreRefusedWithSlurmsWords) {
  auto r = request("nowhere", "true");
  r.partition = "no-such";
  try {
    provider->submit(r);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
    EXPECT_NE(std::string(e.what()).find("partition"), std::string::npos) << e.what();
  }
  EXPECT_FALSE(fs::exists(folder / "nowhere.sh"));
}

TEST_P(SlurmBlocks, AreNotLostWhenTheControllerIsAway) {
  const std::string id = submit(request("unseen", "true"));
  EXPECT_EQ(ended(id).state, BlockState::done);
  const auto blind = make_slurm_blocks({"", {{"SLURM_CONF", "/nonexistent/slurm.conf"}}, 1});
  EXPECT_EQ(code_of([&] { blind->query({&id, 1}); }), ErrorCode::unavailable);
  // Nobody knows whether it arrived; sent again it does, once.
  EXPECT_EQ(code_of([&] { blind->submit(request("again", "echo x >> runs")); }), ErrorCode::unavailable);
  EXPECT_EQ(provider->find(folder.string(), "again"), "");
  EXPECT_EQ(ended(submit(request("again", "echo x >> runs"))).state, BlockState::done);
  EXPECT_EQ(content(folder / "runs"), "x\n");
}

INSTANTIATE_TEST_SUITE_P(Kinds, SlurmBlocks, ::testing::Values(Kind{"slurm", slurm}),
                         [](const auto& kind) { return kind.param.name; });

}  // namespace
}  // namespace farfield::services::compute
