#include "farfield/services/watch/complete.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "farfield/core/error.hpp"

namespace farfield::services::watch {
namespace {

bool closed() { return false; }
bool is_open() { return true; }

class Judge : public ::testing::Test {
protected:
  CompleteJudge judge() {
    return {rule_, "scan100", clock_, [this] { return wall_s_; }};
  }
  static std::int64_t ns(double s) { return static_cast<std::int64_t>(1e9 * s); }
  CompleteRule rule_;
  core::ManualClock clock_;
  double wall_s_ = 1.7e9;
};

TEST_F(Judge, AMarkerSaysItAtOnce) {
  rule_ = {"*.done", 0, {}};
  auto judge = this->judge();
  EXPECT_FALSE(judge.look({{"a.h5", {1, 0}}}, closed));
  EXPECT_FALSE(judge.look({{"sub/x.done", {1, 0}}}, closed));  // of something inside, not of the scan
  EXPECT_TRUE(judge.look({{"a.h5", {1, 0}}, {"scan.done", {0, 0}}}, is_open));
  EXPECT_FALSE(judge.quiet_in_s());
}

TEST_F(Judge, QuietMeansUnchangedAndClosed) {
  rule_ = {"", 5, {}};
  auto judge = this->judge();
  const Snapshot first{{"a.h5", {1, ns(1.7e9)}}};
  EXPECT_FALSE(judge.look(first, closed));
  EXPECT_DOUBLE_EQ(*judge.quiet_in_s(), 5);
  clock_.time_s = 4;
  EXPECT_FALSE(judge.look({{"a.h5", {2, ns(1.7e9)}}}, closed));  // grew
  clock_.time_s = 8.5;
  EXPECT_FALSE(judge.look({{"a.h5", {2, ns(1.7e9)}}}, closed));
  EXPECT_DOUBLE_EQ(*judge.quiet_in_s(), 0.5);
  clock_.time_s = 9;
  EXPECT_FALSE(judge.look({{"a.h5", {2, ns(1.7e9)}}}, is_open));  // a slow exposure: quiet, but open
  EXPECT_TRUE(judge.look({{"a.h5", {2, ns(1.7e9)}}}, closed));
}

TEST_F(Judge, TimesOfFilesAndDisappearanceAreChanges) {
  rule_ = {"", 5, {}};
  auto judge = this->judge();
  EXPECT_FALSE(judge.look({{"a", {1, ns(1.7e9)}}, {"b", {1, ns(1.7e9)}}}, closed));
  clock_.time_s = 4;
  EXPECT_FALSE(judge.look({{"a", {1, ns(1.7e9) + 1}}, {"b", {1, ns(1.7e9)}}}, closed));
  clock_.time_s = 8;
  EXPECT_FALSE(judge.look({{"a", {1, ns(1.7e9) + 1}}}, closed));
  clock_.time_s = 12.9;
  EXPECT_FALSE(judge.look({{"a", {1, ns(1.7e9) + 1}}}, closed));
  clock_.time_s = 13;
  EXPECT_TRUE(judge.look({{"a", {1, ns(1.7e9) + 1}}}, closed));
}

TEST_F(Judge, AnEmptyFolderIsNoScan) {
  rule_ = {"", 5, {}};
  auto judge = this->judge();
  EXPECT_FALSE(judge.look({}, closed));
  clock_.time_s = 100;
  EXPECT_FALSE(judge.look({}, closed));
}

TEST_F(Judge, WhatIsOldAtFirstSightNeedsNoWaiting) {
  rule_ = {"", 5, {}};
  auto old = judge();
  EXPECT_TRUE(old.look({{"a", {1, ns(1.7e9 - 66)}}}, closed));
  auto recent = judge();  // could be a file server whose clock is behind
  EXPECT_FALSE(recent.look({{"a", {1, ns(1.7e9 - 60)}}}, closed));
  auto future = judge();
  EXPECT_FALSE(future.look({{"a", {1, ns(1.7e9 + 1000)}}}, closed));
  clock_.time_s = 5;
  EXPECT_TRUE(future.look({{"a", {1, ns(1.7e9 + 1000)}}}, closed));
}

TEST_F(Judge, AsksTheTest) {
  int frames = 0;
  rule_ = {"", 0, [&](const std::string& path) { return path == "scan100" && frames >= 10; }};
  auto judge = this->judge();
  EXPECT_FALSE(judge.look({{"a", {1, 0}}}, closed));
  frames = 10;
  EXPECT_TRUE(judge.look({{"a", {1, 0}}}, closed));
}

TEST(CompleteRule, MustSaySomething) {
  EXPECT_THROW(check({"", 0, {}}), core::Error);
  EXPECT_THROW(check({"", std::numeric_limits<double>::quiet_NaN(), {}}), core::Error);
  EXPECT_THROW(check({"a/b", 0, {}}), core::Error);
  EXPECT_NO_THROW(check({"done", 0, {}}));
  EXPECT_NO_THROW(check({"", 1, {}}));
}

TEST(Matches, Globs) {
  EXPECT_TRUE(matches("*", ""));
  EXPECT_TRUE(matches("*.h5", ".h5"));
  EXPECT_TRUE(matches("scan*_?.h5", "scan_12_3.h5"));
  EXPECT_FALSE(matches("scan*_?.h5", "scan_12_34.h5"));
  EXPECT_TRUE(matches("a[b]", "a[b]"));
  EXPECT_FALSE(matches("", "a"));
  EXPECT_TRUE(matches("", ""));
  EXPECT_FALSE(matches("?", ""));
  // What takes backtracking matchers exponential time.
  EXPECT_FALSE(matches("*a*a*a*a*a*a*a*a*a*a*b", std::string(200, 'a')));
}

TEST(IsBeingWritten, TellsWhileAFileIsOpenForWriting) {
  const std::string path = ::testing::TempDir() + "farfield-open-" + std::to_string(::getpid());
  EXPECT_FALSE(is_being_written(path));
  {
    std::ofstream file(path);
    file << "1" << std::flush;
    EXPECT_TRUE(is_being_written(path));
  }
  EXPECT_FALSE(is_being_written(path));
  const std::ifstream reader(path);
  EXPECT_FALSE(is_being_written(path));
  std::remove(path.c_str());
}

}  // namespace
}  // namespace farfield::services::watch
