#pragma once
// Work of action providers that may block (a database, a network): a few threads, now or after a pause.

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

namespace farfield::services::flow {

/// Thread-safe. Only this room includes it.
class WorkQueue {
public:
  using Work = std::function<void(const std::stop_token& stop)>;

  explicit WorkQueue(int threads);
  /// Asks what is at work to stop and waits for it; what waits is dropped.
  ~WorkQueue();
  WorkQueue(const WorkQueue&) = delete;
  WorkQueue& operator=(const WorkQueue&) = delete;

  /// What the destructor does, earlier; not on a thread of this.
  void close();
  /// What it throws is logged. Dropped while this is being destroyed.
  void add(Work work, double after_s = 0);

private:
  void loop(const std::stop_token& stop);

  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::multimap<std::chrono::steady_clock::time_point, Work> waiting_;
  std::vector<std::jthread> threads_;
};

}  // namespace farfield::services::flow
