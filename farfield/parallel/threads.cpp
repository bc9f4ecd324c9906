#include "farfield/parallel/threads.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "farfield/core/error.hpp"
#include "farfield/parallel/mailbox.hpp"

namespace farfield::parallel {
namespace {

using core::Error;
using core::ErrorCode;

/// Where the ranks meet: each posts what it brings, all wait, all read, all wait.
class MeetingPoint {
public:
  explicit MeetingPoint(int size)
      : posts_(static_cast<std::size_t>(size)), mail_(static_cast<std::size_t>(size)), size_(size) {}
  int size() const { return size_; }

  void post(int rank, const void* what) { posts_[static_cast<std::size_t>(rank)] = what; }
  template <class T>
  const T& posted(int rank) const {
    return *static_cast<const T*>(posts_[static_cast<std::size_t>(rank)]);
  }
  void wait() {
    std::unique_lock lock(mutex_);
    const auto round = round_;
    if (++arrived_ == size_) {
      arrived_ = 0;
      ++round_;
      all_here_.notify_all();
    }
    all_here_.wait(lock, [&] { return round_ != round || broken_; });
    if (broken_) throw Error(ErrorCode::cancelled, "another rank failed");
  }
  void fail() {
    const std::lock_guard lock(mutex_);
    broken_ = true;
    all_here_.notify_all();
    new_mail_.notify_all();
  }

  void deliver(int to, Mail mail) {
    const std::lock_guard lock(mutex_);
    mail_.at(static_cast<std::size_t>(to)).push_back(std::move(mail));
    new_mail_.notify_all();
  }
  std::optional<Mail> collect(int rank, double limit_s) {
    auto& mine = mail_[static_cast<std::size_t>(rank)];
    std::unique_lock lock(mutex_);
    new_mail_.wait_for(lock, std::chrono::duration<double>(limit_s), [&] { return !mine.empty() || broken_; });
    if (broken_) throw Error(ErrorCode::cancelled, "another rank failed");
    if (mine.empty()) return std::nullopt;
    std::optional<Mail> first(std::move(mine.front()));
    mine.pop_front();
    return first;
  }

private:
  std::mutex mutex_;
  std::condition_variable all_here_, new_mail_;
  std::vector<const void*> posts_;
  std::vector<std::deque<Mail>> mail_;
  int size_, arrived_ = 0;
  std::uint64_t round_ = 0;
  bool broken_ = false;
};

class ThreadRank final : public Communicator, public Mailbox {
public:
  ThreadRank(MeetingPoint& meeting, int rank) : meeting_(meeting), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return meeting_.size(); }

  void all_reduce(std::span<float> values, Reduce op) override { reduce(values, op); }
  void all_reduce(std::span<double> values, Reduce op) override { reduce(values, op); }

  void broadcast(std::span<std::byte> bytes, int root) override {
    meet(&bytes, [&] {
      const auto& from = meeting_.posted<std::span<std::byte>>(root);
      require(from.size() == bytes.size(), from.size(), bytes.size());
      if (rank_ != root && !bytes.empty()) std::memcpy(bytes.data(), from.data(), bytes.size());
    });
    if (rank_ == root) sent_ += bytes.size() * static_cast<std::size_t>(size() - 1);
  }

  void exchange(std::span<const Message> messages) override {
    meet(&messages, [&] {
      std::vector<std::size_t> next(static_cast<std::size_t>(size()), 0);  // messages of a pair match in their order
      for (const Message& mine : messages) {
        const auto& theirs = meeting_.posted<std::span<const Message>>(mine.peer);
        std::size_t& at = next[static_cast<std::size_t>(mine.peer)];
        while (at < theirs.size() && theirs[at].peer != rank_) ++at;
        if (at == theirs.size())
          throw Error(ErrorCode::internal, fmt::format("rank {} has no message for rank {}", mine.peer, rank_));
        const auto& from = theirs[at++].send;
        require(from.size() == mine.receive.size(), from.size(), mine.receive.size());
        if (!from.empty()) std::memcpy(mine.receive.data(), from.data(), from.size());
      }
    });
    for (const Message& m : messages)
      if (m.peer != rank_) sent_ += m.send.size();
  }

  void barrier() override { meeting_.wait(); }
  std::size_t bytes_sent() const override { return sent_; }
  void abort(int) override { throw Error(ErrorCode::cancelled, "aborted"); }

  void send(int to, std::vector<std::byte> bytes) override {
    if (to != rank_) sent_ += bytes.size();
    meeting_.deliver(to, {rank_, std::move(bytes)});
  }
  std::optional<Mail> receive(double limit_s) override { return meeting_.collect(rank_, limit_s); }
  void flush() override {}

private:
  template <class F>
  void meet(const void* brought, F&& read) {
    meeting_.post(rank_, brought);
    meeting_.wait();
    read();
    meeting_.wait();
  }
  static void require(bool equal, std::size_t sent, std::size_t expected) {
    if (!equal)
      throw Error(ErrorCode::internal, fmt::format("{} bytes were sent where {} were expected", sent, expected));
  }
  template <class T>
  void reduce(std::span<T> values, Reduce op) {
    std::vector<T> result;
    meet(&values, [&] {
      for (int r = 0; r < size(); ++r) {
        const auto& other = meeting_.posted<std::span<T>>(r);
        require(other.size() == values.size(), other.size_bytes(), values.size_bytes());
        if (r == 0) {
          result.assign(other.begin(), other.end());
          continue;
        }
        for (std::size_t i = 0; i < result.size(); ++i)
          result[i] = op == Reduce::sum   ? result[i] + other[i]
                      : op == Reduce::min ? std::min(result[i], other[i])
                                          : std::max(result[i], other[i]);
      }
    });
    std::copy(result.begin(), result.end(), values.begin());
    if (size() > 1) sent_ += values.size_bytes();
  }

  MeetingPoint& meeting_;
  int rank_;
  std::size_t sent_ = 0;
};

}  // namespace

void run_as_ranks(int size, const std::function<void(Communicator&)>& work) {
  if (size < 1) throw Error(ErrorCode::invalid_argument, fmt::format("number of ranks {} must be >= 1", size));
  MeetingPoint meeting(size);
  std::mutex mutex;
  std::exception_ptr first;
  std::vector<std::thread> threads;
  for (int r = 0; r < size; ++r)
    threads.emplace_back([&, r] {
      ThreadRank rank(meeting, r);
      try {
        work(rank);
      } catch (...) {
        {
          const std::lock_guard lock(mutex);
          if (!first) first = std::current_exception();
        }
        meeting.fail();
      }
    });
  for (auto& t : threads) t.join();
  if (first) std::rethrow_exception(first);
}

}  // namespace farfield::parallel
