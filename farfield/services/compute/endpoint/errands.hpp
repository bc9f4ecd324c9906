#pragma once
// A thread that does one thing after the other: what takes long, for a thread that must not wait.

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace farfield::services::compute {

class Errands {
public:
  Errands() : thread_([this] { serve(); }) {}
  /// Finishes the one at hand; the others are dropped.
  ~Errands() { stop(); }
  Errands(const Errands&) = delete;
  Errands& operator=(const Errands&) = delete;

  /// `errand` does not throw.
  void add(std::function<void()> errand) {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(errand));
    wake_.notify_one();
  }
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      closing_ = true;
      wake_.notify_one();
    }
    if (thread_.joinable()) thread_.join();
  }

private:
  void serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return closing_ || !waiting_.empty(); });
      if (closing_) return;
      const auto errand = std::move(waiting_.front());
      waiting_.pop_front();
      lock.unlock();
      errand();
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> waiting_;
  bool closing_ = false;
  std::thread thread_;
};

}  // namespace farfield::services::compute
