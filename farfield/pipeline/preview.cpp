#include "farfield/pipeline/preview.hpp"

#include "farfield/core/log.hpp"

namespace farfield::pipeline {

PreviewThread::PreviewThread(PreviewSink& sink) : sink_(sink), thread_([this](std::stop_token stop) { run(stop); }) {}

PreviewThread::~PreviewThread() = default;  // jthread: request_stop, join

bool PreviewThread::idle() const {
  const std::lock_guard lock(mutex_);
  return !busy_ && !next_ && sink_.wanted();
}

void PreviewThread::offer(model::Product product, std::int64_t iteration) {
  const std::lock_guard lock(mutex_);
  if (busy_ || next_) return;
  next_.emplace(std::move(product), iteration);
  changed_.notify_one();
}

void PreviewThread::run(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  while (changed_.wait(lock, stop, [&] { return next_.has_value(); })) {
    const auto [product, iteration] = std::move(*next_);
    next_.reset();
    busy_ = true;
    lock.unlock();
    try {
      sink_.show(product, iteration);
    } catch (const std::exception& e) {
      core::log(core::LogLevel::warning, "preview_failed", {{"reason", e.what()}});
    }
    lock.lock();
    busy_ = false;
  }
}

}  // namespace farfield::pipeline
