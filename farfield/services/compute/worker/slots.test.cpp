#include "farfield/services/compute/worker/slots.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "farfield/core/error.hpp"

namespace farfield::services::compute {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using core::Error;
using core::ErrorCode;

class Slots : public testing::Test {
protected:
  void SetUp() override {
    path = (fs::temp_directory_path() / ("farfield-slots-" + std::to_string(::getpid()) + "-" +
                                         testing::UnitTest::GetInstance()->current_test_info()->name()))
               .string();
    fs::remove(path);
  }
  void TearDown() override { fs::remove(path); }
  /// Far later than any of this takes: what must come comes, what must not is asked for with now().
  static Clock::time_point late() { return Clock::now() + std::chrono::minutes(2); }

  /// A child that calls `work`, tells through a pipe, and then sleeps until it is killed.
  template <class Work>
  pid_t child(Work work) {
    std::array<int, 2> pipe{};
    EXPECT_EQ(::pipe(pipe.data()), 0);
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::close(pipe[0]);
      auto kept = work([&] { EXPECT_EQ(::write(pipe[1], "x", 1), 1); });
      for (;;) ::pause();
    }
    ::close(pipe[1]);
    char told = 0;
    EXPECT_EQ(::read(pipe[0], &told, 1), 1);
    ::close(pipe[0]);
    return pid;
  }
  static void kill(pid_t pid) {
    ::kill(pid, SIGKILL);
    int status = 0;
    ::waitpid(pid, &status, 0);
  }

  std::string path;
};

template <class F>
ErrorCode code_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.code();
  }
  return ErrorCode::internal;
}

TEST_F(Slots, AreGivenOnceAndComeBack) {
  const SlotFile file(path, 2);
  auto a = file.acquire(1, "a", late()), b = file.acquire(1, "b", late());
  ASSERT_TRUE(a && b);
  EXPECT_NE(a->slots(), b->slots());
  EXPECT_FALSE(file.acquire(1, "c", Clock::now()));
  const auto held = file.list();
  ASSERT_EQ(held.size(), 2U);
  EXPECT_EQ(held[0].owner, "a");
  EXPECT_EQ(held[1].pid, ::getpid());
  const auto first = a->slots();
  a.reset();
  const auto c = file.acquire(1, "c", late());
  ASSERT_TRUE(c);
  EXPECT_EQ(c->slots(), first);
  EXPECT_EQ((fs::status(path).permissions() & fs::perms::all), fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(Slots, OfAKilledOwnerAreFree) {
  const SlotFile file(path, 2);
  const pid_t pid = child([&](auto told) {
    auto lease = SlotFile(path, 2).acquire(2, "dies", late());
    told();
    return lease;
  });
  EXPECT_EQ(file.list().size(), 2U);
  EXPECT_FALSE(file.acquire(1, "early", Clock::now()));
  kill(pid);
  EXPECT_EQ(file.list().size(), 0U);
  EXPECT_TRUE(file.acquire(2, "heir", late()));
}

TEST_F(Slots, AWaiterNoticesThatTheOwnerDied) {
  const SlotFile file(path, 1);
  const pid_t pid = child([&](auto told) {
    auto lease = SlotFile(path, 1).acquire(1, "dies", late());
    told();
    return lease;
  });
  std::atomic<bool> got = false;
  std::thread waiter([&] { got = file.acquire(1, "waits", late()).has_value(); });
  kill(pid);
  waiter.join();
  EXPECT_TRUE(got);
}

TEST_F(Slots, AKilledWaiterIsNotWaitedFor) {
  const SlotFile file(path, 1);
  auto held = file.acquire(1, "first", late());
  const pid_t pid = child([&](auto told) {
    std::thread tell([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));  // by then the other waits, most likely
      told();
    });
    auto lease = SlotFile(path, 1).acquire(1, "dies", late());
    tell.join();
    return lease;
  });
  kill(pid);
  std::atomic<bool> got = false;
  std::thread waiter([&] { got = file.acquire(1, "next", late()).has_value(); });
  held.reset();
  waiter.join();
  EXPECT_TRUE(got);
}

TEST_F(Slots, WhoCameFirstIsServedFirst) {
  const SlotFile file(path, 2);
  auto one = file.acquire(1, "one", late());
  std::mutex mutex;
  std::vector<int> order;
  std::vector<std::thread> waiters;
  // The first wants both slots, so that it waits though one is free; nobody overtakes it.
  for (int i = 0; i < 4; ++i) {
    waiters.emplace_back([&, i] {
      const auto lease = file.acquire(i == 0 ? 2 : 1, "w" + std::to_string(i), late());
      const std::lock_guard lock(mutex);
      order.push_back(i);
    });
    // It stands in the queue once it is asleep; a look shows that nobody was served meanwhile.
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    EXPECT_EQ(file.list().size(), 1U);
  }
  EXPECT_FALSE(file.acquire(1, "no", Clock::now()));
  one.reset();
  for (auto& t : waiters) t.join();
  ASSERT_EQ(order.size(), 4U);
  EXPECT_EQ(order[0], 0);
}

TEST_F(Slots, AStopEndsTheWait) {
  const SlotFile file(path, 1);
  const auto held = file.acquire(1, "holds", late());
  std::stop_source source;
  std::thread stopper([&] { source.request_stop(); });
  EXPECT_FALSE(file.acquire(1, "stopped", late(), source.get_token()));
  stopper.join();
}

TEST_F(Slots, NoSlotHasTwoOwnersHoweverManyAsk) {
  constexpr int kSlots = 3, kThreads = 12, kTimes = 40;
  const SlotFile file(path, kSlots);
  std::array<std::atomic<int>, kSlots> owners{};
  std::atomic<int> served = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      for (int k = 0; k < kTimes; ++k) {
        const auto lease = file.acquire(1 + (t + k) % kSlots, "t", late());
        ASSERT_TRUE(lease);
        for (const int s : lease->slots()) EXPECT_EQ(++owners[static_cast<std::size_t>(s)], 1);
        for (const int s : lease->slots()) --owners[static_cast<std::size_t>(s)];
        ++served;
      }
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(served, kThreads * kTimes);
  EXPECT_TRUE(file.list().empty());
}

TEST_F(Slots, RefusesWhatItCannotUse) {
  const SlotFile file(path, 2);
  EXPECT_EQ(code_of([&] { SlotFile(path, 3); }), ErrorCode::conflict);
  EXPECT_EQ(code_of([&] { SlotFile(path, 0); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { static_cast<void>(file.acquire(3, "x", late())); }), ErrorCode::invalid_argument);
  const std::string other = path + ".other";
  std::ofstream(other) << "something else";
  EXPECT_EQ(code_of([&] { SlotFile(other, 2); }), ErrorCode::corrupt_data);
  fs::remove(other);
  fs::create_symlink(path, other);
  EXPECT_EQ(code_of([&] { SlotFile(other, 2); }), ErrorCode::io);
  fs::remove(other);
}

TEST(VisibleDevices, NamesEachDeviceOnce) {
  const std::vector<std::string> devices{"0", "GPU-7a", "3"};
  EXPECT_EQ(visible_devices(std::vector<int>{0, 1, 4}, devices, 2), "0,3");
  EXPECT_EQ(visible_devices(std::vector<int>{2}, devices, 1), "3");
  EXPECT_EQ(visible_devices(std::vector<int>{}, devices, 1), "");
  EXPECT_EQ(code_of([&] { visible_devices(std::vector<int>{3}, devices, 1); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { visible_devices(std::vector<int>{-1}, devices, 1); }), ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace farfield::services::compute
