#include "farfield/core/thread_pool.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "farfield/core/error.hpp"

namespace farfield::core {
namespace {

class Pools : public testing::TestWithParam<int> {
protected:
  ThreadPool pool_{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Threads, Pools, testing::Values(1, 2, 3, 8));

TEST_P(Pools, RunCallsEachThreadOnce) {
  std::vector<int> calls(static_cast<std::size_t>(pool_.size()), 0);
  pool_.run([&](int thread) { ++calls[static_cast<std::size_t>(thread)]; });
  EXPECT_EQ(calls, std::vector<int>(calls.size(), 1));
}

TEST_P(Pools, ForEachVisitsEachIndexOnce) {
  for (const Index count : {0, 1, 5, 1000}) {
    std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
    std::atomic<bool> thread_in_range = true;
    pool_.for_each(count, [&](Index i, int thread) {
      ++visits[static_cast<std::size_t>(i)];
      if (thread < 0 || thread >= pool_.size()) thread_in_range = false;
    });
    for (const auto& n : visits) EXPECT_EQ(n, 1);
    EXPECT_TRUE(thread_in_range);
  }
}

TEST_P(Pools, SplitCoversTheRangeInOrderWithoutOverlap) {
  for (const Index count : {0, 1, 7, 1000}) {
    std::vector<std::pair<Index, Index>> pieces(static_cast<std::size_t>(pool_.size()), {0, 0});
    pool_.split(count,
                [&](Index begin, Index end, int thread) { pieces[static_cast<std::size_t>(thread)] = {begin, end}; });
    Index at = 0;
    for (const auto& [begin, end] : pieces) {
      if (begin == end) continue;
      EXPECT_EQ(begin, at);
      // No piece is larger than the smallest by more than one.
      EXPECT_LE(end - begin, count / pool_.size() + 1);
      at = end;
    }
    EXPECT_EQ(at, count);
  }
}

TEST_P(Pools, AnExceptionOfAnyThreadArrivesAndThePoolGoesOn) {
  for (int culprit = 0; culprit < pool_.size(); ++culprit) {
    std::atomic<int> others = 0;
    try {
      pool_.run([&](int thread) {
        if (thread == culprit) throw std::runtime_error(std::to_string(thread));
        ++others;
      });
      FAIL() << "thread " << culprit;
    } catch (const std::runtime_error& e) {
      EXPECT_EQ(e.what(), std::to_string(culprit));
    }
    EXPECT_EQ(others, pool_.size() - 1);
  }
  int sum = 0;
  pool_.run([&](int thread) {
    if (thread == 0) sum = 1;
  });
  EXPECT_EQ(sum, 1);
}

TEST_P(Pools, ATaskThatUsesItsOwnPoolIsRefused) {
  EXPECT_THROW(pool_.run([&](int) { pool_.run([](int) {}); }), Error);
}

// Writes of one round must be seen by every thread in the next; the thread sanitizer looks on.
TEST_P(Pools, RoundsAreOrdered) {
  const int rounds = std::getenv("FARFIELD_LONG") != nullptr ? 100000 : 300;
  std::vector<long> values(static_cast<std::size_t>(pool_.size()), 0);
  for (int round = 0; round < rounds; ++round) {
    std::vector<long> next(values.size());
    pool_.run([&](int thread) {
      long sum = 1;
      for (const long v : values) sum = (sum + v) % 1000003;
      next[static_cast<std::size_t>(thread)] = sum;
    });
    values = next;
  }
  long expected = 0;
  for (int round = 0; round < rounds; ++round) {
    long sum = 1;
    for (int t = 0; t < pool_.size(); ++t) sum = (sum + expected) % 1000003;
    expected = sum;
  }
  for (const long v : values) EXPECT_EQ(v, expected);
}

TEST(ThreadPool, RefusesLessThanOneThread) {
  EXPECT_THROW(ThreadPool(0), Error);
  EXPECT_THROW(ThreadPool(-2), Error);
}

TEST(ThreadPool, ComesAndGoesWithoutWork) {
  for (int i = 0; i < 50; ++i) ThreadPool pool(4);
}

TEST(ThreadPool, KnowsTheHardware) { EXPECT_GE(hardware_threads(), 1); }

}  // namespace
}  // namespace farfield::core
