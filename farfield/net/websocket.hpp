#pragma once
// WebSocket (RFC 6455): messages both ways over one connection. The same interface at server and client.

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "farfield/core/error.hpp"
#include "farfield/core/view.hpp"
#include "farfield/net/headers.hpp"
#include "farfield/net/tls.hpp"

namespace farfield::net {

struct WebSocketLimits {
  core::Index message_bytes = 16 << 20;  ///< a longer message that arrives closes the connection (1009)
  core::Index queued_bytes = 64 << 20;   ///< what may wait to be sent
  double idle_s = 30;                    ///< pings go out at half of it; a peer silent for all of it is gone
};

/// One connection. send() and close() from any thread.
class WebSocket {
public:
  struct Events {
    /// Called in order, one at a time. A slow callback slows the sender down, nothing is dropped.
    std::function<void(std::string message, bool binary)> message{};
    /// Called once, last.
    std::function<void(const std::string& reason)> closed{};
    /// Of messages up to this length the callback is short and waits for nobody: it is called by the thread that moves
    /// the connection's bytes (and those of others, at a server), which spares the change to another one.
    core::Index quick_bytes = 0;
  };

  virtual ~WebSocket() = default;
  /// Queues a message. False: the connection is closed, or too much waits already.
  virtual bool send(std::string message, bool binary) = 0;
  bool send_text(std::string message) { return send(std::move(message), false); }
  /// Queues a binary message that replaces the one of the same channel that has not gone out yet: latest wins.
  virtual bool send_latest(const std::string& channel, std::string message) = 0;
  /// Sends what is queued, then the closing handshake. 1000: normal, 1001: going away, 1008: refused.
  virtual void close(int code = 1000, std::string reason = {}) = 0;
  virtual bool closed() const = 0;
  virtual core::Index queued_bytes() const = 0;
};

struct WebSocketOptions {
  TlsTrust trust{};
  Headers headers{};  ///< e.g. Authorization
  double connect_timeout_s = 10;
  WebSocketLimits limits{};
};

/// Connects to ws://... or wss://...; callbacks come on a thread of the connection's own, which ends with it.
/// Destroying the last handle closes the connection. Throws `unavailable` (nobody there), `timeout`,
/// `forbidden` (the certificate is not trusted), and what the server answered: `unauthenticated`, `forbidden`, ...
std::shared_ptr<WebSocket> connect_websocket(const std::string& url, WebSocket::Events events,
                                             const WebSocketOptions& options = {});

}  // namespace farfield::net
