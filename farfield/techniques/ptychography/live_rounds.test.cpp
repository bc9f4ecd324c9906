#include "farfield/techniques/ptychography/live_rounds.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "farfield/core/error.hpp"

namespace farfield::techniques::ptychography {
namespace {

std::vector<Index> slots(Index n) {
  std::vector<Index> out(static_cast<std::size_t>(n));
  std::iota(out.begin(), out.end(), 0);
  return out;
}

TEST(LiveRounds, AFewPatternsAreAllVisited) {
  LiveRounds rounds;
  EXPECT_EQ(rounds.choose({4, 1, 7}, 3), (std::vector<Index>{4, 1, 7}));
  EXPECT_TRUE(rounds.choose({}, 3).empty());
}

TEST(LiveRounds, ARoundIsBoundedTakesEachOnceAndTheNewestAtOnce) {
  LiveRounds rounds;
  for (Index n = 20; n <= 400; n += 20) {
    const auto ready = slots(n);
    const auto chosen = rounds.choose(ready, 64);
    EXPECT_EQ(std::ssize(chosen), std::min<Index>(n, 64));
    EXPECT_EQ(std::set(chosen.begin(), chosen.end()).size(), chosen.size());
    EXPECT_TRUE(std::is_sorted(chosen.begin(), chosen.end()));
    // Twenty new ones fit into the half that belongs to the least visited.
    for (Index slot = n - 20; slot < n; ++slot)
      EXPECT_TRUE(std::find(chosen.begin(), chosen.end(), slot) != chosen.end()) << slot << " of " << n;
    rounds.visited(chosen);
  }
}

TEST(LiveRounds, WhenNothingNewComesAllAreVisitedEquallyOften) {
  LiveRounds rounds;
  const auto ready = slots(101);
  for (int i = 0; i < 101; ++i) rounds.visited(rounds.choose(ready, 20));
  EXPECT_EQ(rounds.total(), 2020);
  for (const Index slot : ready) EXPECT_NEAR(static_cast<double>(rounds.visits(slot)), 20, 1) << slot;
}

TEST(LiveRounds, OldPatternsAreVisitedWhileNewOnesTakeAllThatIsTheirs) {
  LiveRounds rounds;
  // Ten new ones in each round use up their half of it, the way around makes ten steps, too.
  rounds.visited(rounds.choose(slots(1000), 20));
  const auto first = rounds.visits(0);
  for (Index n = 1010; n <= 2000; n += 10) rounds.visited(rounds.choose(slots(n), 20));
  for (Index slot = 0; slot < 1000; ++slot) EXPECT_GE(rounds.visits(slot), 1) << slot;
  EXPECT_EQ(rounds.visits(0), first);  // its turn comes when all had theirs
}

struct Blocks final : technique::Sink, technique::Source {
  void put(std::string_view name, std::span<const std::byte> bytes) override {
    blocks[std::string(name)].assign(bytes.begin(), bytes.end());
  }
  std::vector<std::byte> get(std::string_view name) override { return blocks.at(std::string(name)); }
  bool has(std::string_view name) const override { return blocks.contains(std::string(name)); }
  std::map<std::string, std::vector<std::byte>> blocks;
};

TEST(LiveRounds, ACheckpointGoesOnWithTheSameChoices) {
  LiveRounds rounds, later;
  const auto ready = slots(200);
  for (int i = 0; i < 7; ++i) rounds.visited(rounds.choose(ready, 32));
  Blocks blocks;
  rounds.save(blocks);
  later.restore(blocks, 200);
  EXPECT_EQ(later.total(), rounds.total());
  for (int i = 0; i < 5; ++i) {
    const auto chosen = rounds.choose(ready, 32);
    EXPECT_EQ(later.choose(ready, 32), chosen);
    rounds.visited(chosen);
    later.visited(chosen);
  }
  EXPECT_THROW(LiveRounds().restore(blocks, 3), core::Error);
}

}  // namespace
}  // namespace farfield::techniques::ptychography
