#include "farfield/techniques/ptychography/batches.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "farfield/math/random.hpp"

namespace farfield::techniques::ptychography {
namespace {

/// Windows of 16 x 16 at random places of an object of `side` x `side`.
State scattered(Index patterns, Index side, std::uint64_t seed) {
  math::Random random(seed);
  State state;
  state.shape = {16, 16};
  state.object = core::Array<cfloat, 2>({side, side});
  for (Index i = 0; i < patterns; ++i) {
    state.y.push_back(random.uniform(0, static_cast<double>(side - 16)));
    state.x.push_back(random.uniform(0, static_cast<double>(side - 16)));
    Placement place;
    place.oy = static_cast<Index>(state.y.back());
    place.ox = static_cast<Index>(state.x.back());
    state.placements.push_back(place);
  }
  return state;
}

std::vector<Index> all_slots(Index n) {
  std::vector<Index> slots(static_cast<std::size_t>(n));
  std::iota(slots.begin(), slots.end(), Index{0});
  return slots;
}

TEST(Batches, EachPatternIsInOneBatchOfAboutTheSize) {
  const State state = scattered(101, 200, 1);
  for (const auto choice : {BatchChoice::sequential, BatchChoice::random, BatchChoice::compact})
    for (const Index size : {1, 4, 7, 101, 500}) {
      math::Random random(2);
      Batch together;
      for (const Batch& batch : make_batches(all_slots(101), state, size, choice, random)) {
        EXPECT_LE(static_cast<Index>(batch.size()), size);
        EXPECT_GE(static_cast<Index>(batch.size()), std::min<Index>(size, 101) / 2);
        together.insert(together.end(), batch.begin(), batch.end());
      }
      std::sort(together.begin(), together.end());
      EXPECT_EQ(together, all_slots(101));
    }
}

TEST(Rounds, LanesDoNotMeetAndEveryBatchIsThereOnce) {
  for (const Index side : {20, 60, 300})  // always in each other's way, mostly, seldom
    for (const Index lanes : {1, 2, 5})
      for (const Index each : {1, 3}) {
        const State state = scattered(120, side, static_cast<std::uint64_t>(side + lanes));
        math::Random random(4);
        auto batches = make_batches(all_slots(120), state, 4, BatchChoice::compact, random);
        const std::size_t count = batches.size();
        const auto rounds = make_rounds(std::move(batches), state, lanes, each);
        Batch together;
        std::size_t seen = 0, shared = 0;
        for (const Round& round : rounds) {
          ASSERT_TRUE(round.lanes.size() == 1 || static_cast<Index>(round.lanes.size()) == lanes);
          if (round.lanes.size() == 1 && lanes > 1) shared += round.lanes[0].size();
          for (std::size_t a = 0; a < round.lanes.size(); ++a) {
            EXPECT_EQ(round.lanes[a].size(), round.lanes[0].size());
            EXPECT_LE(static_cast<Index>(round.lanes[a].size()), each);
            for (const Batch& batch : round.lanes[a]) {
              ++seen;
              together.insert(together.end(), batch.begin(), batch.end());
              for (std::size_t b = a + 1; b < round.lanes.size(); ++b)
                for (const Batch& other : round.lanes[b])
                  EXPECT_FALSE(box_of(batch, state).meets(box_of(other, state)));
            }
          }
        }
        EXPECT_EQ(seen, count);
        std::sort(together.begin(), together.end());
        EXPECT_EQ(together, all_slots(120));
        if (side == 20 && lanes > 1) {
          EXPECT_EQ(shared, count);
        }
        // A wide scan leaves at most the last few batches without a partner.
        if (side == 300 && lanes == 2) {
          EXPECT_LE(shared, 2U);
        }
      }
}

TEST(Rounds, OneLaneKeepsTheOrder) {
  const State state = scattered(40, 100, 3);
  math::Random random(4);
  const auto batches = make_batches(all_slots(40), state, 4, BatchChoice::compact, random);
  std::vector<Batch> dealt;
  for (const Round& round : make_rounds(batches, state, 1, 3))
    dealt.insert(dealt.end(), round.lanes[0].begin(), round.lanes[0].end());
  EXPECT_EQ(dealt, batches);
}

}  // namespace
}  // namespace farfield::techniques::ptychography
