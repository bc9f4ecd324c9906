#include "farfield/services/flow/work_queue.hpp"

#include "farfield/core/log.hpp"

namespace farfield::services::flow {
using Steady = std::chrono::steady_clock;

WorkQueue::WorkQueue(int threads) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this](const std::stop_token& stop) { loop(stop); });
}

WorkQueue::~WorkQueue() { close(); }

void WorkQueue::close() {
  for (auto& thread : threads_) thread.request_stop();
  threads_.clear();
}

void WorkQueue::add(Work work, double after_s) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.emplace(
        Steady::now() + std::chrono::duration_cast<Steady::duration>(std::chrono::duration<double>(after_s)),
        std::move(work));
  }
  wake_.notify_one();
}

void WorkQueue::loop(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    if (waiting_.empty()) {
      wake_.wait(lock, stop, [&] { return !waiting_.empty(); });
      continue;
    }
    const auto due = waiting_.begin()->first;
    if (due > Steady::now()) {
      // Until then, or until something comes that is due before.
      wake_.wait_until(lock, stop, due, [&] { return waiting_.empty() || waiting_.begin()->first < due; });
      continue;
    }
    const Work work = std::move(waiting_.extract(waiting_.begin()).mapped());
    lock.unlock();
    try {
      work(stop);
    } catch (const std::exception& e) {
      core::log(core::LogLevel::error, "flow.work_failed", {{"error", e.what()}});
    }
    lock.lock();
  }
}

}  // namespace farfield::services::flow
