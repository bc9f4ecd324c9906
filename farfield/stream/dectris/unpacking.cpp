#include "farfield/stream/dectris/unpacking.hpp"

namespace farfield::stream::dectris {

std::shared_ptr<std::byte> Buffers::get(Index bytes) {
  core::Array<std::byte, 1> memory;
  {
    const std::lock_guard lock(mutex_);
    for (auto spare = spare_.rbegin(); spare != spare_.rend(); ++spare)
      if (spare->size() >= bytes) {
        memory = std::move(*spare);
        spare_.erase(std::next(spare).base());
        break;
      }
    // Those that are too small for the images of this series.
    if (memory.empty()) spare_.clear();
  }
  if (memory.empty()) memory = core::Array<std::byte, 1>({bytes});
  auto held = std::make_shared<core::Array<std::byte, 1>>(std::move(memory));
  std::byte* data = held->data();
  return {data, [held, self = weak_from_this()](std::byte*) {
            if (const auto pool = self.lock()) pool->give_back(std::move(*held));
          }};
}

void Buffers::give_back(core::Array<std::byte, 1> memory) {
  const std::lock_guard lock(mutex_);
  if (spare_.size() < most_) spare_.push_back(std::move(memory));
}

namespace {
void unpack_all(UnpackingGroup& group) {
  for (auto& one : group.work) {
    if (one.pixels == nullptr) continue;
    try {
      if (const auto done =
              unpack(*one.pixels, std::span(one.out, static_cast<std::size_t>(one.pixels->pixels_bytes())));
          !done)
        one.wrong = done.error().what();
    } catch (const std::exception& e) {
      one.wrong = e.what();
    }
  }
}
}  // namespace

Unpacker::Unpacker(int threads) {
  if (threads < 2) return;
  for (int t = 0; t < threads; ++t) team_.emplace_back([this](std::stop_token stop) { work(std::move(stop)); });
}

Unpacker::~Unpacker() {
  for (auto& thread : team_) thread.request_stop();
}

void Unpacker::begin(std::shared_ptr<UnpackingGroup> group) {
  if (team_.empty()) {
    unpack_all(*group);
    group->done_ = true;
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(group));
  }
  came_.notify_one();
}

bool Unpacker::done(const UnpackingGroup& group) {
  const std::lock_guard lock(mutex_);
  return group.done_;
}

void Unpacker::wait(const UnpackingGroup& group) {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return group.done_; });
}

void Unpacker::work(std::stop_token stop) {
  for (std::unique_lock lock(mutex_); came_.wait(lock, stop, [&] { return !waiting_.empty(); });) {
    const auto group = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    unpack_all(*group);
    lock.lock();
    group->done_ = true;
    done_.notify_all();
  }
}

}  // namespace farfield::stream::dectris
