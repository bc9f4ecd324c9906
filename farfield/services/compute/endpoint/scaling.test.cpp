#include "farfield/services/compute/endpoint/scaling.hpp"

#include <gtest/gtest.h>

#include "farfield/core/error.hpp"

namespace farfield::services::compute {
namespace {

Scaling small() {
  Scaling s;
  s.max_blocks = 3;
  s.workers_per_node = 4;
  s.idle_s = 60;
  return s;
}

TEST(Scaling, GrowsWithWhatWaitsButNeverBeyondItsMaximum) {
  const Scaling s = small();
  EXPECT_EQ(decide(s, {}, 0, 0, 100).start, 0);
  EXPECT_EQ(decide(s, {}, 1, 0, 100).start, 1);
  EXPECT_EQ(decide(s, {}, 5, 0, 100).start, 2);
  EXPECT_EQ(decide(s, {}, 1000, 0, 100).start, 3);
  const std::vector<BlockLoad> one{{"a", false, false, 4, 0}};
  EXPECT_EQ(decide(s, one, 0, 0, 100).start, 0);
  EXPECT_EQ(decide(s, one, 1, 0, 100).start, 1);
  // One that starts counts: what waits is for it.
  const std::vector<BlockLoad> starting{{"a", false, false, 0, 0}};
  EXPECT_EQ(decide(s, starting, 4, 0, 100).start, 0);
  // One that leaves takes nothing, but is still there.
  const std::vector<BlockLoad> leaving{{"a", false, true, 0, 0}, {"b", false, true, 0, 0}};
  EXPECT_EQ(decide(s, leaving, 1000, 0, 100).start, 1);
}

TEST(Scaling, GivesBackIdleBlocksAndKeepsTheMinimum) {
  Scaling s = small();
  const std::vector<BlockLoad> blocks{
      {"busy", false, false, 1, 0}, {"new", false, false, 0, 90}, {"old", false, false, 0, 10}};
  EXPECT_EQ(decide(s, blocks, 0, 0, 100).leave, std::vector<std::string>{"old"});
  EXPECT_EQ(decide(s, blocks, 0, 0, 200).leave, (std::vector<std::string>{"old", "new"}));
  s.min_blocks = 2;
  EXPECT_EQ(decide(s, blocks, 0, 0, 200).leave, std::vector<std::string>{"old"});
  s.min_blocks = 3;
  EXPECT_TRUE(decide(s, blocks, 0, 0, 200).leave.empty());
  s.min_blocks = 0;
  EXPECT_TRUE(decide(s, blocks, 9, 0, 200).leave.empty()) << "they are about to be needed";
}

TEST(Scaling, UrgentTasksHaveBlocksOfTheirOwn) {
  Scaling s = small();
  const std::vector<BlockLoad> full{{"a", false, false, 4, 0}, {"b", false, false, 4, 0}, {"c", false, false, 4, 0}};
  EXPECT_EQ(decide(s, full, 2, 2, 100).start_urgent, 0);
  s.max_urgent_blocks = 1;
  EXPECT_EQ(decide(s, full, 2, 2, 100).start_urgent, 1);
  EXPECT_EQ(decide(s, full, 100, 100, 100).start_urgent, 1);
  const std::vector<BlockLoad> done{{"u", true, false, 0, 10}};
  EXPECT_EQ(decide(s, done, 0, 0, 100).leave, std::vector<std::string>{"u"});
}

TEST(Scaling, NumbersThatContradictEachOtherAreRefused) {
  const auto refused = [](auto change) {
    Scaling s = small();
    change(s);
    try {
      validate(s);
    } catch (const core::Error& e) {
      return e.code() == core::ErrorCode::invalid_argument;
    }
    return false;
  };
  EXPECT_FALSE(refused([](Scaling&) {}));
  EXPECT_TRUE(refused([](Scaling& s) { s.min_blocks = 4; }));
  EXPECT_TRUE(refused([](Scaling& s) { s.init_blocks = 4; }));
  EXPECT_TRUE(refused([](Scaling& s) { s.max_blocks = 0; }));
  EXPECT_TRUE(refused([](Scaling& s) { s.workers_per_node = 0; }));
  EXPECT_TRUE(refused([](Scaling& s) { s.walltime_s = 0; }));
}

}  // namespace
}  // namespace farfield::services::compute
