#include "farfield/services/compute/broker/lines.hpp"

#include <chrono>

#include "farfield/core/log.hpp"
#include "farfield/net/event_stream.hpp"
#include "farfield/services/compute/json.hpp"
#include "farfield/services/compute/protocol.hpp"

namespace farfield::services::compute {
namespace {
using Steady = std::chrono::steady_clock;
constexpr int kGoingAway = 1001, kRefused = 1008;

class SocketLine final : public Line {
public:
  void open(std::shared_ptr<net::WebSocket> socket) { socket_ = std::move(socket); }
  bool send(std::string text) override { return socket_->send_text(std::move(text)); }
  void close(const std::string& reason) override { socket_->close(kGoingAway, reason); }

private:
  std::shared_ptr<net::WebSocket> socket_;  // before anybody else has this line
};
}  // namespace

Lines::Lines(auth::Access& access, Broker& broker) : access_(access), broker_(broker) {}

void Lines::begin() {
  revocations_ = access_.issuer().verifier().revocations().listen(
      [weak = weak_from_this()](const auth::RevocationList::Entry& entry) {
        if (const auto self = weak.lock()) self->drop(entry.id);
      });
}

bool Lines::keep(const auth::Principal& who, const std::shared_ptr<const void>& what, const Close& close) {
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(by_id_, [](const auto& entry) { return entry.second.what.expired(); });
    for (const std::string& id : {who.token, who.grant})
      if (!id.empty()) by_id_.emplace(id, Open{what, close});
  }
  // Looked at after it was put down: a revocation in between is heard here or there.
  const auto& revoked = access_.issuer().verifier().revocations();
  if (!revoked.contains(who.token) && !revoked.contains(who.grant)) return true;
  close();
  return false;
}

bool Lines::keep(const auth::Principal& who, const Socket& socket) {
  return keep(who, socket, [weak = std::weak_ptr(socket)] {
    if (const auto open = weak.lock()) open->close(kRefused, "the token was revoked");
  });
}

void Lines::drop(const std::string& revoked) {
  std::vector<Close> ending;
  {
    const std::lock_guard lock(mutex_);
    const auto [first, last] = by_id_.equal_range(revoked);
    for (auto entry = first; entry != last; ++entry)
      if (!entry->second.what.expired()) ending.push_back(std::move(entry->second.close));
    by_id_.erase(first, last);
  }
  for (const Close& close : ending) {
    core::log(core::LogLevel::info, "line_revoked", {{"id", revoked}});
    close();
  }
}

net::WebSocketSession Lines::endpoint(const std::string& name, const auth::Principal& who) {
  auto line = std::make_shared<SocketLine>();
  net::WebSocketSession session;
  session.events.message = [this, self = shared_from_this(), name, line](const std::string& message, bool binary) {
    broker_.received(name, line.get(), message, binary);
  };
  session.events.quick_bytes = kQuickBytes;
  session.events.closed = [this, self = shared_from_this(), name, line](const std::string&) {
    broker_.disconnected(name, line.get());
  };
  session.open = [this, self = shared_from_this(), name, line, who](const Socket& socket) {
    line->open(socket);
    if (keep(who, socket)) broker_.connected(name, line);
  };
  return session;
}

net::WebSocketSession Lines::view(const std::string& task, const auth::Principal& who) {
  net::WebSocketSession session;
  const auto watching = std::make_shared<std::shared_ptr<void>>();
  session.events.closed = [watching](const std::string&) { watching->reset(); };
  session.open = [this, self = shared_from_this(), task, who, watching](const Socket& socket) {
    if (!keep(who, socket)) return;
    const auto until = Steady::now() + std::chrono::seconds(auth::kLongestLife_s);
    *watching = broker_.watch(
        task, [weak = std::weak_ptr(socket), until](const std::string& channel, std::string message, bool binary) {
          const auto to = weak.lock();
          if (!to) return;
          if (Steady::now() > until) return to->close(kGoingAway, "the token is over");
          if (binary) {
            to->send_latest(channel, std::move(message));
            return;
          }
          const bool last = Json::parse(message).value("event", "") == "ended";
          to->send_text(std::move(message));
          if (last) to->close();
        });
  };
  return session;
}

net::Response Lines::events(const std::string& task, const auth::Principal& who) {
  auto stream = std::make_shared<net::EventStream>();
  const std::weak_ptr weak(stream);
  const auto until = Steady::now() + std::chrono::seconds(auth::kLongestLife_s);
  auto watching = broker_.watch(task, [weak, until](const std::string&, const std::string& message, bool binary) {
    const auto to = weak.lock();
    if (!to || binary) return;
    if (Steady::now() > until) return to->close();
    const std::string kind = Json::parse(message).value("event", "");
    to->send({message, kind, ""});
    if (kind == "ended") to->close();
  });
  stream->on_close([watching]() mutable { watching.reset(); });
  keep(who, stream, [weak] {
    if (const auto open = weak.lock()) open->close();
  });
  return net::Response::event_stream(stream);
}

}  // namespace farfield::services::compute
