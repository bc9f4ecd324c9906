#pragma once
// Hands items from one thread to another and makes the faster side wait.

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>

#include "farfield/core/view.hpp"

namespace farfield::pipeline {

/// First in, first out, bounded by the sum of the items' costs (bytes, say). An item that alone exceeds the
/// limit passes when the queue is empty, so nothing waits for ever. Any number of threads on either side.
template <class T>
class BoundedQueue {
public:
  explicit BoundedQueue(core::Index limit) : limit_(limit) {}

  /// Waits for room. False: stopped or closed, the item is not in the queue.
  bool push(T item, core::Index cost, std::stop_token stop = {}) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait(lock, stop, [&] { return closed_ || items_.empty() || held_ + cost <= limit_; }) || closed_)
      return false;
    held_ += cost;
    items_.emplace_back(std::move(item), cost);
    changed_.notify_all();
    return true;
  }

  /// Does not wait. False: there is no room, or it is closed; `item` is as it was.
  bool try_push(T& item, core::Index cost) {
    const std::lock_guard lock(mutex_);
    if (closed_ || (!items_.empty() && held_ + cost > limit_)) return false;
    held_ += cost;
    items_.emplace_back(std::move(item), cost);
    changed_.notify_all();
    return true;
  }

  /// Waits for an item. Empty: stopped, or closed and drained.
  std::optional<T> pop(std::stop_token stop = {}) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, stop, [&] { return closed_ || !items_.empty(); });
    return take();
  }
  /// Does not wait.
  std::optional<T> try_pop() {
    const std::lock_guard lock(mutex_);
    return take();
  }

  /// No item will come any more; what is inside can still be taken.
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }
  bool drained() const {
    const std::lock_guard lock(mutex_);
    return closed_ && items_.empty();
  }

private:
  std::optional<T> take() {
    if (items_.empty()) return std::nullopt;
    auto [item, cost] = std::move(items_.front());
    items_.pop_front();
    held_ -= cost;
    changed_.notify_all();
    return std::move(item);
  }

  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<std::pair<T, core::Index>> items_;
  core::Index limit_, held_ = 0;
  bool closed_ = false;
};

}  // namespace farfield::pipeline
