#include "farfield/net/zeromq.hpp"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>
#include <zmq.hpp>

#include "farfield/core/log.hpp"

namespace farfield::net {

using core::Error;
using core::ErrorCode;
using std::chrono::milliseconds;

namespace {

/// One for the process, made at first use. Its sockets are closed before the program ends.
zmq::context_t& context() {
  static zmq::context_t instance(1);
  return instance;
}

Error failed(const std::string& what, const std::string& endpoint, const zmq::error_t& e) {
  const ErrorCode code = e.num() == EADDRINUSE ? ErrorCode::conflict
                         : e.num() == EINVAL || e.num() == EPROTONOSUPPORT || e.num() == ENODEV
                             ? ErrorCode::invalid_argument
                         : e.num() == EMFILE ? ErrorCode::resource_exhausted
                                             : ErrorCode::io;
  return Error(code, fmt::format("{}: {}", what, e.what())).at(endpoint);
}

zmq::socket_type type_of(ZmqKind kind) {
  switch (kind) {
    case ZmqKind::pull: return zmq::socket_type::pull;
    case ZmqKind::push: return zmq::socket_type::push;
    case ZmqKind::sub: return zmq::socket_type::sub;
    case ZmqKind::pub: return zmq::socket_type::pub;
  }
  return zmq::socket_type::pull;
}

struct EventDescriptor {
  explicit EventDescriptor(bool made) : fd(made ? ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1) {}
  ~EventDescriptor() {
    if (fd >= 0) ::close(fd);
  }
  EventDescriptor(const EventDescriptor&) = delete;
  EventDescriptor& operator=(const EventDescriptor&) = delete;
  const int fd;
};

/// A descriptor that becomes readable when stop is requested, for zmq_poll.
class StopSignal {
public:
  explicit StopSignal(const std::stop_token& stop) : event_(stop.stop_possible()), callback_(stop, Wake{event_.fd}) {}
  int descriptor() const { return event_.fd; }

private:
  struct Wake {
    int fd;
    void operator()() const {
      const std::uint64_t one = 1;
      if (fd >= 0) (void)!::write(fd, &one, sizeof one);
    }
  };
  // The callback is destroyed first (declared last), which waits for one at work: it never writes to a closed
  // descriptor.
  EventDescriptor event_;
  std::stop_callback<Wake> callback_;
};

}  // namespace

struct ZmqMessage::Storage {
  std::vector<zmq::message_t> parts;
};

ZmqMessage::ZmqMessage() : storage_(std::make_unique<Storage>()) {}
ZmqMessage::~ZmqMessage() = default;
ZmqMessage::ZmqMessage(ZmqMessage&&) noexcept = default;
ZmqMessage& ZmqMessage::operator=(ZmqMessage&&) noexcept = default;

core::Index ZmqMessage::bytes() const {
  core::Index sum = 0;
  for (const auto& part : parts_) sum += std::ssize(part);
  return sum;
}

struct ZmqSocket::State {
  State(ZmqKind kind, const std::string& where, const ZmqOptions& o)
      : options(o), socket(context(), type_of(kind)), monitor(context(), zmq::socket_type::pair) {
    socket.set(zmq::sockopt::linger, static_cast<int>(o.linger.count()));
    socket.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(o.part_bytes));
    if (kind == ZmqKind::pull || kind == ZmqKind::sub) socket.set(zmq::sockopt::rcvhwm, o.high_water_mark);
    else socket.set(zmq::sockopt::sndhwm, o.high_water_mark);
    if (o.heartbeat.count() > 0) {
      socket.set(zmq::sockopt::heartbeat_ivl, static_cast<int>(o.heartbeat.count()));
      socket.set(zmq::sockopt::heartbeat_timeout, static_cast<int>(3 * o.heartbeat.count()));
    }
    socket.set(zmq::sockopt::reconnect_ivl, 100);
    socket.set(zmq::sockopt::reconnect_ivl_max, 2000);
    socket.set(zmq::sockopt::ipv6, true);
    if (kind == ZmqKind::sub) socket.set(zmq::sockopt::subscribe, o.topic);
    // Nothing is queued for a peer that is not there.
    if (kind == ZmqKind::push) socket.set(zmq::sockopt::immediate, true);

    // Watched before the first connection can be made.
    static std::atomic<std::uint64_t> number{0};
    const std::string name = fmt::format("inproc://farfield-monitor-{}", number++);
    constexpr int kEvents = ZMQ_EVENT_CONNECTED | ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CLOSED |
                            ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                            ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
    if (zmq_socket_monitor(socket.handle(), name.c_str(), kEvents) != 0) throw zmq::error_t();
    monitor.set(zmq::sockopt::linger, 0);
    monitor.connect(name);
    if (o.bind) socket.bind(where);
    else socket.connect(where);
    endpoint = socket.get(zmq::sockopt::last_endpoint);
  }

  void take_monitor_events() {
    zmq::message_t event, address;
    while (monitor.recv(event, zmq::recv_flags::dontwait)) {
      (void)monitor.recv(address, zmq::recv_flags::none);  // the second part is there with the first
      std::uint16_t what = 0;
      if (event.size() < sizeof what) continue;
      std::memcpy(&what, event.data(), sizeof what);
      const char* text = nullptr;
      if (what == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
        ++peers.connected;
        ++peers.connections;
        text = "zeromq_connected";
      } else if (what == ZMQ_EVENT_DISCONNECTED) {
        if (peers.connected == 0) continue;  // of a handshake that failed
        --peers.connected;
        ++peers.lost;
        text = "zeromq_disconnected";
      } else if (what == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL || what == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL ||
                 what == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) {
        ++peers.refused;
        text = "zeromq_handshake_failed";
      }
      if (text != nullptr)
        core::log(core::LogLevel::info, text, {{"endpoint", endpoint}, {"peer", address.to_string()}});
    }
  }

  /// Waits until the socket can do `event`.
  ZmqOutcome wait(short event, milliseconds limit, const std::stop_token& stop) {
    const auto until = std::chrono::steady_clock::now() + limit;
    const StopSignal signal(stop);
    for (;;) {
      if (stop.stop_requested()) return ZmqOutcome::stopped;
      zmq::pollitem_t items[] = {{socket.handle(), 0, event, 0},
                                 {monitor.handle(), 0, ZMQ_POLLIN, 0},
                                 {nullptr, signal.descriptor(), ZMQ_POLLIN, 0}};
      const auto left = std::chrono::ceil<milliseconds>(until - std::chrono::steady_clock::now());
      const std::size_t count = signal.descriptor() >= 0 ? 3 : 2;
      try {
        zmq::poll(items, count, std::max(left, milliseconds(0)));
      } catch (const zmq::error_t& e) {
        if (e.num() != EINTR) throw;
        continue;
      }
      if ((items[1].revents & ZMQ_POLLIN) != 0) take_monitor_events();
      if ((items[0].revents & event) != 0) return ZmqOutcome::done;
      if (std::chrono::steady_clock::now() >= until)
        return stop.stop_requested() ? ZmqOutcome::stopped : ZmqOutcome::timeout;
    }
  }

  /// Does not wait. False: the socket does not take it now.
  bool send_part(const ZmqPart& part, bool more) {
    auto message = part.owner ? shared(part) : zmq::message_t(part.bytes.data(), part.bytes.size());
    return socket.send(message, zmq::send_flags::dontwait | (more ? zmq::send_flags::sndmore : zmq::send_flags::none))
        .has_value();
  }

  static zmq::message_t shared(const ZmqPart& part) {
    auto held = std::make_unique<std::shared_ptr<const void>>(part.owner);
    zmq::message_t message(
        const_cast<std::byte*>(part.bytes.data()), part.bytes.size(),
        [](void*, void* owner) { delete static_cast<std::shared_ptr<const void>*>(owner); }, held.get());
    [[maybe_unused]] const auto* given_away = held.release();
    return message;
  }

  /// Whether the whole message went out. False after the first part: the peer went away, ZeroMQ has taken back what it
  /// had of the message, and swallows the parts up to its last one.
  bool send_message(std::span<const ZmqPart> parts) {
    bool whole = true;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (send_part(parts[i], i + 1 < parts.size())) continue;
      whole = false;
      if (i == 0) break;
    }
    return whole;
  }

  ZmqOptions options;
  zmq::socket_t socket, monitor;
  std::string endpoint;
  ZmqPeers peers;
};

ZmqSocket::ZmqSocket(ZmqKind kind, const std::string& endpoint, const ZmqOptions& options) {
  try {
    state_ = std::make_unique<State>(kind, endpoint, options);
  } catch (const zmq::error_t& e) {
    throw failed(options.bind ? "cannot listen" : "cannot connect", endpoint, e);
  }
}

ZmqSocket::~ZmqSocket() {
  if (!state_) return;
  zmq_socket_monitor(state_->socket.handle(), nullptr, 0);
}
ZmqSocket::ZmqSocket(ZmqSocket&&) noexcept = default;
ZmqSocket& ZmqSocket::operator=(ZmqSocket&& other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}

const std::string& ZmqSocket::endpoint() const { return state_->endpoint; }

ZmqPeers ZmqSocket::peers() {
  state_->take_monitor_events();
  return state_->peers;
}

ZmqOutcome ZmqSocket::receive(ZmqMessage& message, milliseconds limit, std::stop_token stop) {
  auto& s = *state_;
  message.parts_.clear();
  auto& parts = message.storage_->parts;
  parts.clear();
  try {
    zmq::message_t part;
    while (!s.socket.recv(part, zmq::recv_flags::dontwait)) {
      if (limit.count() <= 0) return stop.stop_requested() ? ZmqOutcome::stopped : ZmqOutcome::timeout;
      if (const auto outcome = s.wait(ZMQ_POLLIN, limit, stop); outcome != ZmqOutcome::done) return outcome;
    }
    // A message arrives whole: its further parts are there.
    std::size_t count = 1;
    bool more = part.more();
    parts.push_back(std::move(part));
    for (; more; ++count) {
      zmq::message_t next;
      if (!s.socket.recv(next, zmq::recv_flags::none)) break;
      more = next.more();
      if (parts.size() < s.options.parts) parts.push_back(std::move(next));
    }
    if (count > s.options.parts) {
      parts.clear();
      throw Error(ErrorCode::corrupt_data,
                  fmt::format("message of {} parts; at most {} are taken", count, s.options.parts))
          .at(s.endpoint);
    }
  } catch (const zmq::error_t& e) {
    throw failed("cannot receive", s.endpoint, e);
  }
  // Only now: small parts live inside message_t itself, which moved while the list grew.
  for (const auto& p : parts) message.parts_.emplace_back(static_cast<const std::byte*>(p.data()), p.size());
  return ZmqOutcome::done;
}

ZmqOutcome ZmqSocket::send(std::span<const ZmqPart> parts, milliseconds limit, std::stop_token stop) {
  auto& s = *state_;
  if (parts.empty()) throw Error(ErrorCode::invalid_argument, "a message needs at least one part").at(s.endpoint);
  const auto until = std::chrono::steady_clock::now() + limit;
  try {
    // Tried first: a poll costs more than a send.
    while (!s.send_message(parts)) {
      const auto left = std::chrono::ceil<milliseconds>(until - std::chrono::steady_clock::now());
      if (left.count() <= 0) return stop.stop_requested() ? ZmqOutcome::stopped : ZmqOutcome::timeout;
      if (const auto outcome = s.wait(ZMQ_POLLOUT, left, stop); outcome != ZmqOutcome::done) return outcome;
    }
  } catch (const zmq::error_t& e) {
    throw failed("cannot send", s.endpoint, e);
  }
  return ZmqOutcome::done;
}

}  // namespace farfield::net
