#include "farfield/store/writer.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "farfield/core/log.hpp"
#include "farfield/store/transaction.hpp"

namespace farfield::store {
namespace {
using core::Error;
using core::ErrorCode;

constexpr double kFirstPause_s = 0.01, kLongestPause_s = 1;

std::string text_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    return e.what();
  } catch (...) {
    return "unknown exception";
  }
}
}  // namespace

Writer::Writer(std::unique_ptr<Connection> first, Connect connect, const DatabaseOptions& options)
    : connect_(std::move(connect)), options_(options), connection_(std::move(first)), thread_([this] { work(); }) {}

Writer::~Writer() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    closing_deadline_ =
        Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options_.patience_s));
  }
  wake_.notify_all();
  thread_.join();
}

void Writer::add(Database::Change change, Answer answer) {
  const auto deadline =
      Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options_.patience_s));
  {
    const std::lock_guard lock(mutex_);
    if (std::ssize(waiting_) >= options_.max_pending)
      throw Error(ErrorCode::unavailable,
                  fmt::format("{} changes wait for the database, the most allowed", options_.max_pending));
    waiting_.push_back({std::move(change), std::move(answer), deadline});
  }
  wake_.notify_one();
}

Database::Counts Writer::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

void Writer::work() {
  while (true) {
    Group group;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return closing_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      const Index count = std::min(std::ssize(waiting_), std::max<Index>(options_.max_group, 1));
      for (Index i = 0; i < count; ++i) {
        group.push_back(std::move(waiting_.front()));
        waiting_.pop_front();
      }
    }
    process(group);
  }
}

void Writer::answer(Group& group) {
  for (Job& job : group) {
    try {
      job.answer(job.error);
    } catch (const std::exception& e) {
      core::log(core::LogLevel::error, "store.answer_failed", {{"error", e.what()}});
    }
  }
  group.clear();
}

void Writer::pause() {
  pause_s_ = std::clamp(pause_s_ * 2, kFirstPause_s, kLongestPause_s);
  std::unique_lock lock(mutex_);
  // Woken by nothing but closing: a new change does not bring the database back.
  wake_.wait_for(lock, std::chrono::duration<double>(closing_ ? kFirstPause_s : pause_s_), [&] { return closing_; });
}

bool Writer::connected(std::exception_ptr& reason) {
  if (connection_ != nullptr && connection_->usable()) return true;
  connection_.reset();
  try {
    connection_ = connect_();
    const std::lock_guard lock(mutex_);
    ++counts_.reconnections;
    return true;
  } catch (const Error& e) {
    reason = std::current_exception();
    if (pause_s_ == 0) core::log(core::LogLevel::warning, "store.unavailable", {{"error", e.what()}});
    pause();
    return false;
  }
}

void Writer::expire(Group& group, const std::exception_ptr& reason) {
  const auto now = Clock::now();
  bool all = false;
  {
    const std::lock_guard lock(mutex_);
    all = closing_ && now >= closing_deadline_;
  }
  Group late;
  for (Job& job : group)
    if (all || job.deadline <= now) {
      job.error = reason;
      late.push_back(std::move(job));
    }
  std::erase_if(group, [](const Job& job) { return !job.change; });
  answer(late);
}

// Without savepoints first: they would double the statements, and nearly all changes succeed.
bool Writer::try_group(Group& group, bool with_savepoints, std::string& committing) {
  Connection& c = *connection_;
  c.begin_write();
  for (Job& job : group) {
    if (with_savepoints) c.script("SAVEPOINT change");
    try {
      job.error = nullptr;
      run_change(c, job.change);
    } catch (...) {
      if (!c.usable() || c.must_restart() || !c.in_transaction()) throw;
      if (!with_savepoints) {
        c.rollback();
        return false;
      }
      job.error = std::current_exception();
      c.script("ROLLBACK TO SAVEPOINT change");
    }
    if (with_savepoints) c.script("RELEASE SAVEPOINT change");
  }
  committing = c.transaction_id();
  c.commit();
  return true;
}

void Writer::process(Group& group) {
  bool with_savepoints = false;
  const auto size = std::ssize(group);
  while (!group.empty()) {
    std::string committing;
    std::exception_ptr reason;
    try {
      if (!connected(reason)) {
        expire(group, reason);
        continue;
      }
      if (!try_group(group, with_savepoints, committing)) {
        with_savepoints = true;
        continue;
      }
      pause_s_ = 0;
      {
        const std::lock_guard lock(mutex_);
        ++counts_.groups;
        counts_.changes += size;
      }
      answer(group);
    } catch (...) {
      reason = std::current_exception();
      if (!connection_->usable()) {
        core::log(core::LogLevel::warning, "store.connection_lost", {{"error", text_of(reason)}});
        if (!committing.empty()) commit_was_lost(group, committing);
        expire(group, reason);
      } else if (connection_->must_restart()) {
        connection_->rollback();
        pause();
        expire(group, reason);
      } else {
        // Nobody's fault in particular (a full disk, a constraint checked at the commit): each on its own.
        connection_->rollback();
        if (group.size() == 1) {
          group.front().error = reason;
          answer(group);
        }
        for (Job& job : group) {
          Group one;
          one.push_back(std::move(job));
          process(one);
        }
        group.clear();
      }
    }
  }
}

// The connection broke between the request to commit and the answer. Only the database knows what became of it, so
// that this waits until it can be asked.
void Writer::commit_was_lost(Group& group, const std::string& transaction_id) {
  std::exception_ptr reason;
  while (true) {
    try {
      if (connected(reason)) {
        if (connection_->committed(transaction_id)) {
          pause_s_ = 0;
          answer(group);
        }
        return;
      }
    } catch (...) {
      reason = std::current_exception();
      pause();
    }
    const std::lock_guard lock(mutex_);
    if (closing_ && Clock::now() >= closing_deadline_) break;
  }
  for (Job& job : group)
    job.error = std::make_exception_ptr(
        Error(ErrorCode::unavailable, "the database went away during a commit; whether it took place is not known"));
  answer(group);
}

}  // namespace farfield::store
