#pragma once
// A fixed team of threads for loops. The calling thread takes part as thread 0.

#include <functional>
#include <memory>

#include "farfield/core/view.hpp"

namespace farfield::core {

class ThreadPool {
public:
  /// threads >= 1; one thread means that everything runs on the caller. Throws `invalid_argument` for fewer and
  /// `resource_exhausted` where the system does not give as many.
  explicit ThreadPool(int threads = 1);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }

  /// Runs task(thread) once on each thread, 0 <= thread < size(), and waits. The first exception is
  /// rethrown here, when all have ended. Not reentrant: a task that uses the pool that runs it gets an
  /// `internal` error; one thread at a time calls run().
  void run(const std::function<void(int)>& task);

  /// task(i, thread) for 0 <= i < count, handed out in order, one at a time (dynamic).
  void for_each(Index count, const std::function<void(Index, int)>& task);

  /// task(begin, end, thread): one contiguous piece of [0, count) per thread (static).
  void split(Index count, const std::function<void(Index, Index, int)>& task);

private:
  struct State;
  int size_;
  std::unique_ptr<State> state_;
};

/// Number of hardware threads this process may use.
int hardware_threads();

}  // namespace farfield::core
