#include "farfield/services/transfer/local/background_sha256.hpp"

namespace farfield::services::transfer {
namespace {
constexpr std::size_t kBuffers = 4;
}

BackgroundSha256::BackgroundSha256(std::size_t buffer_bytes, bool thread) {
  for (std::size_t i = 0; i < (thread ? kBuffers : 1); ++i) {
    buffers_.emplace_back(buffer_bytes);
    free_.push_back(i);
  }
  if (thread) thread_ = std::thread([this] { work(); });
}

BackgroundSha256::~BackgroundSha256() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

std::span<std::byte> BackgroundSha256::acquire() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !free_.empty(); });
  acquired_ = free_.back();
  free_.pop_back();
  return buffers_[acquired_];
}

void BackgroundSha256::submit(std::size_t bytes) {
  if (!thread_.joinable()) {
    sum_.update(std::span(buffers_[acquired_]).first(bytes));
    free_.push_back(acquired_);
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    filled_.push_back({acquired_, bytes});
  }
  changed_.notify_all();
}

void BackgroundSha256::wait_until_idle(std::unique_lock<std::mutex>& lock) {
  changed_.wait(lock, [this] { return filled_.empty() && !busy_; });
}

void BackgroundSha256::restart() {
  std::unique_lock lock(mutex_);
  wait_until_idle(lock);
  sum_ = codec::Sha256();
}

std::string BackgroundSha256::hex() {
  std::unique_lock lock(mutex_);
  wait_until_idle(lock);
  return sum_.hex();
}

void BackgroundSha256::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return ending_ || !filled_.empty(); });
    if (ending_) return;
    const Filled next = filled_.front();
    filled_.pop_front();
    busy_ = true;
    lock.unlock();
    sum_.update(std::span(buffers_[next.buffer]).first(next.bytes));
    lock.lock();
    busy_ = false;
    free_.push_back(next.buffer);
    changed_.notify_all();
  }
}

}  // namespace farfield::services::transfer
