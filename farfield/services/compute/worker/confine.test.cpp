#include "farfield/services/compute/worker/confine.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
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

/// A Unix socket that accepts; with a zero byte first, an abstract one.
class Listening {
public:
  explicit Listening(const std::string& name) : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    address_.sun_family = AF_UNIX;
    name.copy(address_.sun_path, sizeof address_.sun_path - 1);
    length_ = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    EXPECT_EQ(::bind(socket_, reinterpret_cast<const sockaddr*>(&address_), length_), 0);
    EXPECT_EQ(::listen(socket_, 4), 0);
  }
  ~Listening() { ::close(socket_); }
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;
  bool can_be_reached() const {
    const int client = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client < 0) return false;
    const bool good = ::connect(client, reinterpret_cast<const sockaddr*>(&address_), length_) == 0;
    ::close(client);
    return good;
  }

private:
  int socket_;
  sockaddr_un address_{};
  socklen_t length_ = 0;
};

TEST_P(Confined, ProgramsReachNoDaemonByAUnixSocket) {
  const std::string path = (folder / "daemon").string();
  const Listening daemon(path), hidden(std::string("\0farfield-", 10) + std::to_string(::getpid()));
  EXPECT_TRUE(daemon.can_be_reached() && hidden.can_be_reached());
  const std::string by_python =
      "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\nprint('reached')\n";
  const auto python = [&] { return run_command({"python3", "-c", by_python, path}, {}, std::chrono::seconds(60)); };
  if (python().out != "reached\n") FARFIELD_SKIP("there is no Python");
  reach.unix_sockets = false;
  within([&] {
    EXPECT_FALSE(daemon.can_be_reached());
    EXPECT_FALSE(hidden.can_be_reached());
    EXPECT_NE(python().exit_code, 0) << "nor by what it starts";
    EXPECT_EQ(::syscall(SYS_io_uring_setup, 1, nullptr), -1);
    EXPECT_EQ(errno, ENOSYS);
    // What they talk to each other by, and the network, stay.
    std::array<int, 2> pair{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair.data()), 0);
    for (const int end : pair) ::close(end);
    for (const int kind : std::array<int, 3>{SOCK_DGRAM, SOCK_RAW, SOCK_DGRAM | SOCK_CLOEXEC}) {
      std::array<int, 2> loose{};
      EXPECT_EQ(::socketpair(AF_UNIX, kind, 0, loose.data()), -1) << "it could be connected to a daemon";
      EXPECT_EQ(errno, EACCES);
    }
    const int network = ::socket(AF_INET, SOCK_STREAM, 0);
    EXPECT_GE(network, 0);
    ::close(network);
    EXPECT_EQ(run_command({"sh", "-c", "id > /dev/null && echo good"}, {}, std::chrono::seconds(60)).out, "good\n");
  });
  EXPECT_TRUE(daemon.can_be_reached()) << "the others are as free as before";
}

TEST_P(Confined, ProgramsSignalTheirOwnAndNobodyElse) {
  if (GetParam() != ConfinedBy::landlock) GTEST_SKIP() << "only Landlock keeps signals in";
  if (::syscall(SYS_landlock_create_ruleset, nullptr, 0, 1U) < 6) FARFIELD_SKIP("only Linux 6.12 and later");
  const int other = ::fork();
  if (other == 0) {
    ::pause();
    ::_exit(0);
  }
  within([&] {
    const auto kill = [&](const std::string& what) {
      return run_command({"sh", "-c", what}, {}, std::chrono::seconds(60)).exit_code;
    };
    EXPECT_NE(kill("kill -0 " + std::to_string(other)), 0);
    EXPECT_NE(kill("kill -0 " + std::to_string(::getpid())), 0) << "the worker itself";
    EXPECT_EQ(kill("sleep 100 & kill $!; wait $!; test $? = 143"), 0) << "their own";
  });
  EXPECT_EQ(::kill(other, SIGKILL), 0) << "it lives";
  ::waitpid(other, nullptr, 0);
}

TEST_P(Confined, MpiProgramsRunWithoutUnixSockets) {
  if (run_command({"sh", "-c", "command -v mpirun"}, {}, std::chrono::seconds(60)).exit_code != 0)
    FARFIELD_SKIP("there is no mpirun");
  reach.unix_sockets = false;
  within([&] {
    const std::string own = (folder / "mine").string();
    // The last line of the program's output: two ranks that know each other.
    const auto result =
        run_command({"mpirun", "--allow-run-as-root", "--oversubscribe", "-np", "2", "sh", "-c",
                     "echo $OMPI_COMM_WORLD_RANK of $OMPI_COMM_WORLD_SIZE"},
                    {{"TMPDIR", own}, {"HOME", own}, {"OMPI_MCA_orte_tmpdir_base", own}}, std::chrono::seconds(60));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_NE(result.out.find("0 of 2"), std::string::npos) << result.out;
    EXPECT_NE(result.out.find("1 of 2"), std::string::npos) << result.out;
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
