#include "tests/integration/chaos/supervisor.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <sstream>

#include "farfield/store/testing.hpp"

namespace farfield::chaos {
namespace {
using namespace std::chrono_literals;

class Supervising : public ::testing::Test {
protected:
  /// Tends until it is so, at most half a minute.
  bool becomes(const std::function<bool()>& so) {
    for (int i = 0; i < 3000; ++i) {
      if (so()) return true;
      supervisor.tend_for(10ms);
    }
    return false;
  }
  int lines(const char* log) const {
    std::ifstream in(folder.path() / log);
    int n = 0;
    for (std::string line; std::getline(in, line);) ++n;
    return n;
  }
  const store::testing::TemporaryFolder folder;
  Supervisor supervisor{folder.path()};
};

TEST_F(Supervising, StartsAgainWhatWasKilled) {
  supervisor.start({"a", {"/bin/sh", "-c", "echo $WORD; exec sleep 1000"}, {{"WORD", "here"}}});
  EXPECT_TRUE(becomes([&] { return lines("a.log") == 1; }));
  EXPECT_TRUE(supervisor.kill("a", 10ms));
  EXPECT_TRUE(becomes([&] { return lines("a.log") == 2; }));
  EXPECT_TRUE(supervisor.falls().empty());
  EXPECT_EQ(supervisor.starts(), 2);
  EXPECT_TRUE(supervisor.stop("a", 30s));
  EXPECT_FALSE(supervisor.runs("a"));
  supervisor.tend();
  EXPECT_FALSE(supervisor.runs("a"));
}

TEST_F(Supervising, TellsWhatEndedByItself) {
  supervisor.start({"a", {"/bin/sh", "-c", "echo x; exit 3"}});
  EXPECT_TRUE(becomes([&] { return lines("a.log") == 2; }));
  ASSERT_FALSE(supervisor.falls().empty());
  EXPECT_EQ(supervisor.falls()[0], "a: exit code 3");
}

TEST_F(Supervising, FindsOrphansAndEndsThem) {
  pid_t orphan = 0;
  {
    Supervisor inner(folder.path());
    inner.start({"a", {"/bin/sh", "-c", "setsid sleep 1234 & exec sleep 1235"}});
    const auto find = [&] {
      for (const auto& process : inner.offspring())
        if (process.command == "sleep 1234") orphan = process.pid;
      return orphan != 0;
    };
    EXPECT_TRUE(becomes(find));
    inner.stop("a", 30s);
    orphan = 0;
    EXPECT_TRUE(becomes(find));
  }
  EXPECT_EQ(::kill(orphan, 0), -1);
}

}  // namespace
}  // namespace farfield::chaos
