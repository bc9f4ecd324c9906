#pragma once
// An endpoint without workers, for tests: what the broker sends is kept, what it says is said by hand.

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <variant>

#include "farfield/services/compute/broker/broker.hpp"

namespace farfield::services::compute::testing {

/// Keeps the messages that come down.
class KeepingLine final : public Line {
public:
  bool send(std::string text) override {
    const std::lock_guard lock(mutex_);
    if (closed_) return false;
    messages_.push_back(decode(text));
    changed_.notify_all();
    return true;
  }
  void close(const std::string& reason) override {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    reason_ = reason;
    changed_.notify_all();
  }
  bool wait_closed(double seconds = 10) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return closed_; });
  }
  bool closed() const {
    const std::lock_guard lock(mutex_);
    return closed_;
  }
  std::string reason() const {
    const std::lock_guard lock(mutex_);
    return reason_;
  }
  /// All that is there.
  std::deque<Message> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(messages_, {});
  }
  /// The next message of a kind; others are passed over. Fails the test where none comes.
  template <class M>
  M next(double seconds = 10) {
    std::unique_lock lock(mutex_);
    const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    while (true) {
      while (!messages_.empty()) {
        const Message message = std::move(messages_.front());
        messages_.pop_front();
        if (const auto* wanted = std::get_if<M>(&message)) return *wanted;
      }
      if (changed_.wait_until(lock, until) == std::cv_status::timeout && messages_.empty()) {
        ADD_FAILURE() << "no such message came";
        return {};
      }
    }
  }

private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Message> messages_;
  bool closed_ = false;
  std::string reason_;
};

class HandEndpoint {
public:
  HandEndpoint(Broker& broker, std::string name) : broker_(broker), name_(std::move(name)) {}
  ~HandEndpoint() { leave(); }
  HandEndpoint(const HandEndpoint&) = delete;
  HandEndpoint& operator=(const HandEndpoint&) = delete;

  static Capacity capacity(int workers) {
    return {.workers = workers,
            .idle = workers,
            .most = workers,
            .gpu_slots = 2,
            .nodes_per_block = 2,
            .longest_s = 3600,
            .confines = true};
  }
  static Hello hello(int workers, std::vector<TaskKey> known) {
    Hello out;
    out.program = "test";
    out.known = std::move(known);
    FunctionRecord verb;
    verb.name = "farfield.test.nothing";
    verb.kind = FunctionKind::verb;
    out.verbs = {verb};
    out.capacity = capacity(workers);
    return out;
  }
  /// A new line, and Hello on it.
  void join(int workers = 4, std::vector<TaskKey> known = {}) {
    open();
    say(hello(workers, std::move(known)));
  }
  void open() {
    line_ = std::make_shared<KeepingLine>();
    broker_.connected(name_, line_);
  }
  void leave() {
    if (line_) broker_.disconnected(name_, line_.get());
    line_.reset();
  }
  void say(const Message& message) { broker_.received(name_, line_.get(), encode(message), false); }
  void say_text(const std::string& text, bool binary = false) { broker_.received(name_, line_.get(), text, binary); }
  void begin(const TaskKey& key) { say(Begun{{{key, {.assigned_s = 1, .started_s = 1}, "block", "node", "worker"}}}); }
  void end(const TaskKey& key, Ending ending, const std::string& output = "null", const std::string& problem = "") {
    say(Ended{{{key, ending, output, problem, {.started_s = 1, .ended_s = 2}, "block", "node", "worker"}}});
  }
  KeepingLine& line() { return *line_; }
  /// Keys of the next assignment.
  std::vector<TaskKey> assigned() {
    std::vector<TaskKey> out;
    for (const auto& a : line_->next<Assign>().tasks) out.push_back(a.key);
    return out;
  }

private:
  Broker& broker_;
  std::string name_;
  std::shared_ptr<KeepingLine> line_;
};

}  // namespace farfield::services::compute::testing
