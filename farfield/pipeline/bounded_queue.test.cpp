#include "farfield/pipeline/bounded_queue.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

namespace farfield::pipeline {
namespace {

TEST(BoundedQueue, HandsOnInOrderAndEndsWhenClosed) {
  BoundedQueue<int> queue(100);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(queue.push(i, 1));
  queue.close();
  EXPECT_FALSE(queue.push(9, 1));
  EXPECT_FALSE(queue.drained());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(queue.pop(), i);
  EXPECT_EQ(queue.pop(), std::nullopt);
  EXPECT_TRUE(queue.drained());
}

TEST(BoundedQueue, MakesTheWriterWait) {
  BoundedQueue<int> queue(10);
  std::atomic<int> pushed{0};
  std::thread writer([&] {
    for (int i = 0; i < 50; ++i) {
      ASSERT_TRUE(queue.push(i, 4));
      ++pushed;
    }
    queue.close();
  });
  int taken = 0;
  while (const auto item = queue.pop()) {
    EXPECT_EQ(*item, taken);
    ++taken;
    // Two items of 4 fit into 10; the writer is ahead by those and one that it may have pushed since.
    EXPECT_LE(pushed.load(), taken + 3);
  }
  writer.join();
  EXPECT_EQ(taken, 50);
}

TEST(BoundedQueue, AnItemLargerThanTheLimitPassesAlone) {
  BoundedQueue<int> queue(10);
  EXPECT_TRUE(queue.push(1, 1000));
  EXPECT_EQ(queue.pop(), 1);
}

TEST(BoundedQueue, StopWakesBothSides) {
  BoundedQueue<int> queue(1);
  std::stop_source stop;
  std::thread reader([&] { EXPECT_EQ(queue.pop(stop.get_token()), std::nullopt); });
  stop.request_stop();
  reader.join();
  ASSERT_TRUE(queue.push(1, 1));
  std::stop_source stop_writer;
  std::thread writer([&] { EXPECT_FALSE(queue.push(2, 1, stop_writer.get_token())); });
  stop_writer.request_stop();
  writer.join();
  EXPECT_EQ(queue.try_pop(), 1);
  EXPECT_EQ(queue.try_pop(), std::nullopt);
}

TEST(BoundedQueue, TryPushDoesNotWaitAndKeepsWhatHasNoRoom) {
  BoundedQueue<std::string> queue(10);
  std::string first = "first", second = "second";
  EXPECT_TRUE(queue.try_push(first, 8));
  EXPECT_FALSE(queue.try_push(second, 8));
  EXPECT_EQ(second, "second");
  EXPECT_EQ(queue.pop(), "first");
  EXPECT_TRUE(queue.try_push(second, 80)) << "alone, anything fits";
  queue.close();
  EXPECT_FALSE(queue.try_push(first, 0));
}

}  // namespace
}  // namespace farfield::pipeline
