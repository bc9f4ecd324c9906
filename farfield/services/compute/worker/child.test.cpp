#include "farfield/services/compute/worker/child.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <stdexcept>

#include "farfield/core/error.hpp"

namespace farfield::services::compute {
namespace {

using namespace std::chrono_literals;
using Lines = std::vector<std::string>;

ChildEnd shell(const std::string& script, Lines& lines) {
  return run_child({{"sh", "-c", script}, {{"PATH", "/usr/bin:/bin"}, {"NAME", "value"}}, 10s},
                   [&](const std::string& line) { lines.push_back(line); }, {});
}

TEST(Child, SaysLinesAndHasOnlyItsEnvironment) {
  Lines lines;
  const ChildEnd end = shell("echo $NAME; echo bad >&2; printf 'no end'; exit 3", lines);
  EXPECT_EQ(end.exit_code, 3);
  EXPECT_FALSE(end.stopped);
  EXPECT_EQ(lines, (Lines{"value", "bad", "no end"}));
  EXPECT_EQ(end.last_line, "no end");
  lines.clear();
  shell("env", lines);
  for (const std::string& line : lines) EXPECT_EQ(line.find("HOME="), std::string::npos);
  lines.clear();
  shell("head -c 10000 /dev/zero | tr '\\0' x", lines);
  EXPECT_EQ(lines.size(), 3U) << "long lines are cut";
  EXPECT_EQ(shell("kill -9 $$", lines).exit_code, 137);
}

TEST(Child, EndsWhenAskedTo) {
  Lines lines;
  std::stop_source stop;
  const ChildEnd end = run_child(
      {{"sh", "-c", "trap 'echo term; exit 7' TERM; echo up; while :; do sleep 0.05; done"},
       {{"PATH", "/usr/bin:/bin"}},
       60s},
      [&](const std::string& line) {
        lines.push_back(line);
        stop.request_stop();
      },
      stop.get_token());
  EXPECT_TRUE(end.stopped);
  EXPECT_EQ(end.exit_code, 7);
  EXPECT_EQ(lines.front(), "up");
  EXPECT_NE(std::find(lines.begin(), lines.end(), "term"), lines.end());
}

TEST(Child, IsKilledWithItsChildrenWhenItDoesNotListen) {
  Lines lines;
  std::stop_source stop;
  const ChildEnd end = run_child(
      {{"sh", "-c", "trap '' TERM; echo deaf; sleep 600 & sleep 600"}, {{"PATH", "/usr/bin:/bin"}}, 100ms},
      [&](const std::string&) { stop.request_stop(); }, stop.get_token());
  EXPECT_EQ(end.exit_code, 137);
  // A child that it leaves behind holds nobody up.
  EXPECT_EQ(shell("sleep 600 & exit 0", lines).exit_code, 0);
}

TEST(Child, EndsWithAListenerThatThrows) {
  std::string pid;
  EXPECT_THROW(run_child({{"sh", "-c", "echo $$; exec sleep 600"}, {{"PATH", "/usr/bin:/bin"}}},
                         [&](const std::string& line) {
                           pid = line;
                           throw std::runtime_error("heard enough");
                         },
                         {}),
               std::runtime_error);
  EXPECT_NE(::kill(std::stoi(pid), 0), 0) << "it runs on, and nobody waits for it";
}

TEST(Child, ThatIsNotThere) {
  Lines lines;
  EXPECT_THROW(run_child({{"/no/such/program"}, {}}, [](const std::string&) {}, {}), core::Error);
  EXPECT_THROW(run_child({{"no-such-program"}, {{"PATH", "/usr/bin"}}}, [](const std::string&) {}, {}), core::Error);
  EXPECT_THROW(run_child({{""}, {}}, [](const std::string&) {}, {}), core::Error);
}

}  // namespace
}  // namespace farfield::services::compute
