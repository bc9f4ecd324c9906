#include "farfield/services/compute/worker/teller.hpp"

#include <algorithm>
#include <utility>

namespace farfield::services::compute {
namespace {
using std::chrono::milliseconds;
constexpr auto kHold = milliseconds(2), kProgressEvery = milliseconds(50);
constexpr std::size_t kMostLines = 1000;      ///< of a log, waiting to be sent
constexpr std::size_t kMostInMessage = 4096;  ///< tasks
constexpr std::size_t kMostBytesInMessage = std::size_t{4} << 20;
}  // namespace

// ---- the line

void Teller::restart() {
  std::shared_ptr<net::WebSocket> before;  // goes outside the lock
  const std::lock_guard lock(mutex_);
  before.swap(socket_);
  open_ = false;
  leaves_ = false;
  ended_.clear();
  begun_told_ = false;
}

bool Teller::greet(std::shared_ptr<net::WebSocket> socket, const Hello& hello, const std::vector<TaskEnd>& ends) {
  const std::lock_guard order(sending_);
  if (!say(*socket, hello) || !say_ended(*socket, ends)) return false;
  const std::lock_guard lock(mutex_);
  socket_ = std::move(socket);
  open_ = true;
  return true;
}

void Teller::hang_up() {
  std::shared_ptr<net::WebSocket> socket;
  {
    const std::lock_guard lock(mutex_);
    socket.swap(socket_);
    open_ = false;
  }
  if (socket) socket->close();
}

// ---- what is to be told

void Teller::begun(TaskBegin begin) {
  const std::lock_guard lock(mutex_);
  begun_ = std::move(begin);
  begun_told_ = false;
  begun_at_ = Clock::now();
  looked_for(begun_at_ + kHold);
}

void Teller::ended(TaskEnd end, bool more) {
  const std::lock_guard lock(mutex_);
  if (begun_ && begun_->key == end.key) begun_.reset();
  progress_.erase(end.key);
  if (ended_.empty()) ended_at_ = Clock::now();
  ended_.push_back(std::move(end));
  hold_ = more;
  if (more) looked_for(ended_at_ + kHold);
}

void Teller::progress(TaskProgress progress) {
  const std::lock_guard lock(mutex_);
  TaskKey key = progress.key;
  progress_.insert_or_assign(std::move(key), std::move(progress));
  looked_for(told_ + kProgressEvery);
}

void Teller::log(TaskLog line) {
  const std::lock_guard lock(mutex_);
  if (lines_.size() >= kMostLines) lines_.pop_front();  // the newest count
  lines_.push_back(std::move(line));
  looked_for(told_ + kProgressEvery);
}

void Teller::leaves() {
  const std::lock_guard lock(mutex_);
  leaves_ = true;
  looked_for(Clock::now());
}

void Teller::preview(const Preview& preview) {
  std::shared_ptr<net::WebSocket> socket;
  {
    const std::lock_guard lock(mutex_);
    socket = socket_;
  }
  if (socket) socket->send_latest(preview.task + "/" + preview.name, encode_preview(preview));
}

// ---- telling

Teller::Clock::time_point Teller::due() const {
  auto time = Clock::time_point::max();
  if (leaves_) return Clock::time_point::min();
  if (!ended_.empty()) {
    if (!hold_ || ended_.size() >= kMostInMessage) return Clock::time_point::min();
    time = std::min(time, ended_at_ + kHold);
  }
  if (begun_ && !begun_told_) time = std::min(time, begun_at_ + kHold);
  if (!progress_.empty() || !lines_.empty()) time = std::min(time, told_ + kProgressEvery);
  return time;
}

Teller::News Teller::take(Clock::time_point now) {
  News news;
  news.leaves = std::exchange(leaves_, false);
  news.ended.swap(ended_);
  if (now >= told_ + kProgressEvery || !news.ended.empty()) {
    if (!progress_.empty() || !lines_.empty()) told_ = now;
    for (auto& [key, p] : std::exchange(progress_, {})) news.progressed.tasks.push_back(std::move(p));
    for (TaskLog& line : std::exchange(lines_, {})) news.logged.lines.push_back(std::move(line));
  }
  const bool speaks = !news.progressed.tasks.empty() || !news.logged.lines.empty();
  if (begun_ && !begun_told_ && (speaks || now >= begun_at_ + kHold)) {
    news.begun = begun_;
    begun_told_ = true;
  }
  return news;
}

bool Teller::tell() {
  std::shared_ptr<net::WebSocket> socket;  // where it is the last one, it goes outside the lock
  const std::lock_guard order(sending_);
  News news;
  {
    const std::lock_guard lock(mutex_);
    if (!open_) return false;
    const auto now = Clock::now();
    if (due() > now) return true;
    news = take(now);
    socket = socket_;
  }
  CapacityNow none;
  const bool told = (!news.leaves || say(*socket, none)) && (!news.begun || say(*socket, Begun{{*news.begun}})) &&
                    (news.progressed.tasks.empty() || say(*socket, news.progressed)) &&
                    (news.logged.lines.empty() || say(*socket, news.logged)) && say_ended(*socket, news.ended);
  if (told) return true;
  const std::lock_guard lock(mutex_);
  open_ = false;  // a new line, where all is said again
  stirred_ = true;
  wake_.notify_all();
  return false;
}

bool Teller::say(net::WebSocket& socket, const Message& message) { return socket.send_text(encode(message)); }

bool Teller::say_ended(net::WebSocket& socket, const std::vector<TaskEnd>& ends) {
  Ended message;
  std::size_t bytes = 0;
  for (const TaskEnd& end : ends) {
    bytes += end.output.size() + end.problem.size();
    message.tasks.push_back(end);
    if (bytes < kMostBytesInMessage && message.tasks.size() < kMostInMessage) continue;
    if (!say(socket, message)) return false;
    message.tasks.clear();
    bytes = 0;
  }
  return message.tasks.empty() || say(socket, message);
}

bool Teller::empty() const {
  const std::lock_guard lock(mutex_);
  return ended_.empty() && !leaves_;
}

// ---- waiting

/// Wakes who waits, unless it looks by then anyhow.
void Teller::looked_for(Clock::time_point time) {
  if (time < looks_at_) wake_.notify_all();
}

void Teller::wait(Clock::time_point until) {
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto due = open_ ? this->due() : Clock::time_point::max();
    if (stirred_ || due <= Clock::now() || Clock::now() >= until) break;
    looks_at_ = std::min(due, until);
    wake_.wait_until(lock, looks_at_);
    looks_at_ = Clock::time_point::min();
  }
  stirred_ = false;
}

void Teller::stir() {
  const std::lock_guard lock(mutex_);
  stirred_ = true;
  wake_.notify_all();
}

}  // namespace farfield::services::compute
