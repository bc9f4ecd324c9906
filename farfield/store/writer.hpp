#pragma once
// Group commit: one thread that runs the changes of many callers in one durable transaction. While a commit waits for
// the disk the next group gathers, so that N callers share its cost. Only this room includes it.

#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

#include "farfield/store/connection.hpp"
#include "farfield/store/database.hpp"

namespace farfield::store {

class Writer {
public:
  using Clock = std::chrono::steady_clock;
  using Answer = std::function<void(std::exception_ptr)>;  ///< null: durable

  /// `first` is a connection that works; `connect` makes others.
  Writer(std::unique_ptr<Connection> first, Connect connect, const DatabaseOptions& options);
  /// Finishes what was accepted; a database that is away gets the patience, no longer.
  ~Writer();

  /// Throws `unavailable` where too many changes wait.
  void add(Database::Change change, Answer answer);
  bool is_this_thread() const { return std::this_thread::get_id() == thread_.get_id(); }
  Database::Counts counts() const;

private:
  struct Job {
    Database::Change change;
    Answer answer;
    Clock::time_point deadline;
    std::exception_ptr error = nullptr;
  };
  using Group = std::vector<Job>;

  void work();
  void process(Group& group);
  bool try_group(Group& group, bool with_savepoints, std::string& committing);
  void commit_was_lost(Group& group, const std::string& transaction_id);
  void answer(Group& group);
  void expire(Group& group, const std::exception_ptr& reason);
  /// True: a connection is there. False: it could not be made, and some time was waited.
  bool connected(std::exception_ptr& reason);
  void pause();

  Connect connect_;
  DatabaseOptions options_;
  std::unique_ptr<Connection> connection_;
  double pause_s_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable_any wake_;
  std::deque<Job> waiting_;
  Database::Counts counts_;
  bool closing_ = false;
  Clock::time_point closing_deadline_{};
  std::thread thread_;
};

}  // namespace farfield::store
