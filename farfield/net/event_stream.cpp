#include "farfield/net/event_stream.hpp"

#include <fmt/format.h>

#include <utility>

#include "farfield/core/error.hpp"

namespace farfield::net {
using core::Error;
using core::ErrorCode;

std::string format_event(const Event& event) {
  for (const std::string* field : {&event.name, &event.id})
    if (field->find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos)
      throw Error(ErrorCode::invalid_argument, fmt::format("event field {:?} holds a line break or NUL", *field));
  std::string out;
  out.reserve(event.data.size() + event.name.size() + event.id.size() + 32);
  if (!event.id.empty()) out += "id: " + event.id + '\n';
  if (!event.name.empty()) out += "event: " + event.name + '\n';
  // A carriage return ends a line, too, and would let data begin a field of its own.
  std::string_view rest = event.data;
  for (;;) {
    const auto end = rest.find_first_of("\r\n");
    out += "data: ";
    out += rest.substr(0, end);
    out += '\n';
    if (end == std::string_view::npos) break;
    rest.remove_prefix(end + (rest.substr(end).starts_with("\r\n") ? 2 : 1));
  }
  return out += '\n';
}

EventStream::EventStream(core::Index max_queued_bytes) : max_queued_bytes_(max_queued_bytes) {}

bool EventStream::send(const Event& event) {
  const std::string bytes = format_event(event);
  std::unique_lock lock(mutex_);
  if (closed_) return false;
  if (std::ssize(queue_) + std::ssize(bytes) > max_queued_bytes_) {
    queue_.clear();  // half a history is worse than none: the viewer asks again from its last id
    close(lock);
    return false;
  }
  const bool was_empty = queue_.empty();
  queue_ += bytes;
  if (was_empty && wake_) wake_();
  return true;
}

void EventStream::close() {
  std::unique_lock lock(mutex_);
  if (!closed_) close(lock);
}

void EventStream::close(std::unique_lock<std::mutex>& lock) {
  closed_ = true;
  if (wake_) wake_();
  const auto gone = std::exchange(gone_, nullptr);
  lock.unlock();
  if (gone) gone();
}

bool EventStream::closed() const {
  const std::lock_guard lock(mutex_);
  return closed_;
}

void EventStream::on_close(std::function<void()> callback) {
  {
    const std::lock_guard lock(mutex_);
    if (!closed_) {
      gone_ = std::move(callback);
      return;
    }
  }
  callback();
}

EventStream::Taken EventStream::take() {
  const std::lock_guard lock(mutex_);
  return {std::exchange(queue_, {}), closed_};
}

void EventStream::on_ready(std::function<void()> wake) {
  const std::lock_guard lock(mutex_);
  wake_ = std::move(wake);
  if (wake_ && (closed_ || !queue_.empty())) wake_();
}

void EventParser::write(std::string_view bytes) {
  while (!bytes.empty()) {
    if (std::exchange(after_cr_, false) && bytes.front() == '\n') {
      bytes.remove_prefix(1);
      continue;
    }
    const auto end = bytes.find_first_of("\r\n");
    buffer_ += bytes.substr(0, end);
    if (std::ssize(buffer_) + std::ssize(event_.data) > max_event_bytes_)
      throw Error(ErrorCode::resource_exhausted,
                  fmt::format("a server-sent event of more than {} bytes", max_event_bytes_));
    if (end == std::string_view::npos) return;
    after_cr_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    line(std::exchange(buffer_, {}));
  }
}

void EventParser::line(std::string_view text) {
  if (text.empty()) {
    if (std::exchange(has_data_, false)) {
      if (event_.data.ends_with('\n')) event_.data.pop_back();
      event_.id = last_id_;
      on_event_(event_);
    }
    event_ = {};
    return;
  }
  const auto colon = text.find(':');
  const std::string_view field = text.substr(0, colon);
  std::string_view value = colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (field == "data") {
    event_.data.append(value).push_back('\n');
    has_data_ = true;
  } else if (field == "event") {
    event_.name = value;
  } else if (field == "id" && value.find('\0') == std::string_view::npos) {
    last_id_ = value;
  }
}

}  // namespace farfield::net
