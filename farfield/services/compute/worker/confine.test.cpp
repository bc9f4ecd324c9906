#include "farfield/services/compute/worker/confine.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <thread>

#include "farfield/core/error.hpp"
#include "farfield/core/testing.hpp"
#include "farfield/services/compute/command.hpp"
#include "farfield/services/compute/worker/bench.hpp"

namespace farfield::services::compute {
namespace {

namespace fs = std::filesystem;

bool can_read(const fs::path& path) { return std::ifstream(path).good(); }
bool can_write(const fs::path& path) { return (std::ofstream(path) << "x" << std::flush).good(); }

class Confined : public ::testing::TestWithParam<ConfinedBy> {
protected:
  void SetUp() override {
    if (GetParam() > confinement()) FARFIELD_SKIP("this system has no " + std::string(name_of(GetParam())));
    if (GetParam() == ConfinedBy::mount_namespace && ::geteuid() != 0) FARFIELD_SKIP("mount namespaces need root");
    for (const char* part : {"mine", "program", "theirs"}) {
      fs::create_directories(folder / part);
      std::ofstream(folder / part / "file") << part;
    }
    fs::create_symlink(folder / "theirs/file", folder / "mine/link");
    reach.write = {(folder / "mine").string()};
    reach.read = {(folder / "program").string(), (folder / "not there").string()};
  }
  template <class F>
  void within(F&& work) {
    std::thread([&] {
      confine_this_thread(reach, GetParam());
      work();
    }).join();
  }
  core::testing::TemporaryFolder folder;
  Reach reach;
};

TEST_P(Confined, ThreadsReachWhatTheyMayAndNothingElse) {
  within([&] {
    EXPECT_TRUE(can_read(folder / "mine/file"));
    EXPECT_TRUE(can_write(folder / "mine/new"));
    EXPECT_TRUE(can_read(folder / "program/file"));
    EXPECT_FALSE(can_write(folder / "program/new"));
    EXPECT_FALSE(can_read(folder / "theirs/file"));
    EXPECT_FALSE(can_write(folder / "theirs/new"));
    EXPECT_FALSE(can_read(folder / "mine/link"));
    std::error_code error;
    fs::create_hard_link(folder / "theirs/file", folder / "mine/hard", error);
    EXPECT_TRUE(error);
    std::thread([&] { EXPECT_FALSE(can_read(folder / "theirs/file")) << "a thread that it starts"; }).join();
  });
  EXPECT_TRUE(can_read(folder / "theirs/file")) << "the others are as free as before";
}

TEST_P(Confined, ProgramsTheyStartAreConfinedToo) {
  within([&] {
    const auto read = [&](const char* path) {
      return run_command({"cat", (folder / path).string()}, {}, std::chrono::seconds(60));
    };
    EXPECT_EQ(read("mine/file").out, "mine");
    EXPECT_NE(read("theirs/file").exit_code, 0);
    EXPECT_NE(read("mine/link").exit_code, 0);
    // Nor by way of the processes that are not confined.
    for (const int pid : {::getpid(), 1}) {
      const std::string way = "/proc/" + std::to_string(pid) + "/root" + (folder / "theirs/file").string();
      EXPECT_NE(run_command({"cat", way}, {}, std::chrono::seconds(60)).exit_code, 0) << way;
    }
    EXPECT_NE(run_command({"mount", "-t", "tmpfs", "none", (folder / "mine").string()}, {}, std::chrono::seconds(60))
                  .exit_code,
              0);
    // Programs that want to know the system still run.
    EXPECT_EQ(run_command({"sh", "-c", "date > /dev/null && id > /dev/null"}, {}, std::chrono::seconds(60)).exit_code,
              0);
  });
}

INSTANTIATE_TEST_SUITE_P(By, Confined, ::testing::Values(ConfinedBy::landlock, ConfinedBy::mount_namespace),
                         [](const auto& by) { return by.param == ConfinedBy::landlock ? "landlock" : "mounts"; });

TEST(Bench, EveryExperimentHasAThreadOfItsOwn) {
  if (confinement() == ConfinedBy::nothing) FARFIELD_SKIP("this system can confine nobody");
  const core::testing::TemporaryFolder folder;
  for (const char* part : {"a", "b"}) {
    fs::create_directories(folder / part);
    std::ofstream(folder / part / "file") << part;
  }
  Bench bench(confinement());
  const auto reads = [&](const char* own, const char* wanted) {
    Reach reach;
    reach.write = {(folder / own).string()};
    bool good = false;
    bench.run(reach, [&] { good = can_read(folder / wanted / "file"); });
    return good;
  };
  EXPECT_TRUE(reads("a", "a"));
  EXPECT_FALSE(reads("a", "b"));
  EXPECT_TRUE(reads("b", "b"));
  EXPECT_FALSE(reads("b", "a"));
  EXPECT_TRUE(reads("a", "a"));
  EXPECT_THROW(bench.run(Reach{}, [] { throw core::Error(core::ErrorCode::not_found, "x"); }), core::Error);
  // Where nothing can confine, nothing runs that asks for it.
  Bench none(ConfinedBy::nothing);
  bool ran = false;
  EXPECT_THROW(none.run(Reach{}, [&] { ran = true; }), core::Error);
  EXPECT_FALSE(ran);
}

}  // namespace
}  // namespace farfield::services::compute
