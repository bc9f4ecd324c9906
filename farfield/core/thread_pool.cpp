#include "farfield/core/thread_pool.hpp"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "farfield/core/error.hpp"

namespace farfield::core {
namespace {
// A mini-batch takes milliseconds; spinning this long (some 100 us: a pause is about 40 cycles on AMD, 140 on
// Intel) before sleeping hides the wake-up latency between batches without burning a core while idle.
constexpr int kSpins = 4000;

inline void pause_cpu() { __builtin_ia32_pause(); }

void await_change(const std::atomic<std::uint64_t>& value, std::uint64_t old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause_cpu();
  }
  while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
}
}  // namespace

struct ThreadPool::State {
  std::vector<std::thread> threads;
  std::atomic<std::uint64_t> round{0};
  std::atomic<std::uint64_t> finished{0};
  std::atomic<bool> quit{false};
  const std::function<void(int)>* task = nullptr;
  std::mutex mutex;
  std::exception_ptr error;

  ~State() {
    quit.store(true, std::memory_order_release);
    round.fetch_add(1, std::memory_order_acq_rel);
    round.notify_all();
    for (auto& thread : threads) thread.join();
  }

  /// What each thread but the caller's does: a task a round, until it is told to quit.
  void work(int thread) {
    for (std::uint64_t seen = 0;; ++seen) {
      await_change(round, seen);
      if (quit.load(std::memory_order_acquire)) return;
      call(thread);
      finished.fetch_add(1, std::memory_order_acq_rel);
      finished.notify_one();
    }
  }

  void call(int thread) {
    try {
      (*task)(thread);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
    }
  }
};

ThreadPool::ThreadPool(int threads) : size_(threads), state_(std::make_unique<State>()) {
  if (threads < 1) throw Error(ErrorCode::invalid_argument, "threads " + std::to_string(threads) + " must be >= 1");
  try {
    for (int t = 1; t < threads; ++t) state_->threads.emplace_back([s = state_.get(), t] { s->work(t); });
  } catch (const std::system_error&) {
    throw Error(ErrorCode::resource_exhausted, "the system gave only " + std::to_string(state_->threads.size() + 1) +
                                                   " of " + std::to_string(threads) + " threads");
  }
}

ThreadPool::~ThreadPool() = default;

void ThreadPool::run(const std::function<void(int)>& task) {
  State& s = *state_;
  if (s.task != nullptr) throw Error(ErrorCode::internal, "a task must not use the thread pool that runs it");
  s.task = &task;
  s.error = nullptr;
  const std::uint64_t others = s.threads.size();
  s.finished.store(0, std::memory_order_relaxed);
  if (others > 0) {
    s.round.fetch_add(1, std::memory_order_acq_rel);
    s.round.notify_all();
  }
  s.call(0);
  for (std::uint64_t done = s.finished.load(std::memory_order_acquire); done < others;
       done = s.finished.load(std::memory_order_acquire))
    await_change(s.finished, done);
  s.task = nullptr;
  if (s.error) std::rethrow_exception(s.error);
}

void ThreadPool::for_each(Index count, const std::function<void(Index, int)>& task) {
  std::atomic<Index> next{0};
  run([&](int thread) {
    for (Index i = next.fetch_add(1); i < count; i = next.fetch_add(1)) task(i, thread);
  });
}

void ThreadPool::split(Index count, const std::function<void(Index, Index, int)>& task) {
  run([&](int thread) {
    const Index begin = count * thread / size_, end = count * (thread + 1) / size_;
    if (begin < end) task(begin, end, thread);
  });
}

int hardware_threads() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1U, std::thread::hardware_concurrency());
}

}  // namespace farfield::core
