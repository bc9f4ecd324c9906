#pragma once
// Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html): one-way messages to a
// viewer over a plain HTTP response.

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "farfield/core/view.hpp"

namespace farfield::net {

struct Event {
  std::string data;  ///< any text; line breaks are kept
  std::string name;  ///< event type; empty: "message"
  std::string id;    ///< what a reconnecting viewer sends as Last-Event-ID
};

/// The bytes of one event. Throws `invalid_argument` for a name or id with line breaks or NUL.
std::string format_event(const Event& event);

/// The sending side: made by a handler, handed to the server in Response::event_stream, fed from any thread for as
/// long as the viewer stays. A viewer that does not keep up is cut off when `max_queued_bytes` wait for it; it
/// reconnects with its Last-Event-ID.
class EventStream {
public:
  explicit EventStream(core::Index max_queued_bytes = 1 << 20);

  /// False: nobody listens any more.
  bool send(const Event& event);
  /// Ends the response after what is queued.
  void close();
  bool closed() const;
  /// Called once, from any thread, when the viewer has gone or close() was called. At once if that was before.
  void on_close(std::function<void()> callback);

  /// For the server: takes all that is queued. `wake` is called, from any thread and with a lock held, when there is
  /// more or it closed; not after another one has taken its place.
  struct Taken {
    std::string bytes;
    bool closed = false;
  };
  Taken take();
  void on_ready(std::function<void()> wake);

private:
  void close(std::unique_lock<std::mutex>& lock);

  mutable std::mutex mutex_;
  std::string queue_;
  core::Index max_queued_bytes_;
  bool closed_ = false;
  std::function<void()> wake_, gone_;
};

/// The receiving side: bytes in any pieces -> events. Comments and retry times are passed over.
class EventParser {
public:
  explicit EventParser(std::function<void(const Event&)> on_event, core::Index max_event_bytes = 16 << 20)
      : on_event_(std::move(on_event)), max_event_bytes_(max_event_bytes) {}

  /// Throws `resource_exhausted` for an event longer than the limit.
  void write(std::string_view bytes);
  /// Of the last event that had one.
  const std::string& last_id() const { return last_id_; }

private:
  void line(std::string_view text);

  std::function<void(const Event&)> on_event_;
  core::Index max_event_bytes_;
  std::string buffer_, last_id_;
  Event event_;
  bool has_data_ = false, after_cr_ = false;
};

}  // namespace farfield::net
