#pragma once
// Where an endpoint's workers connect: a WebSocket inside the cluster, by TLS with a certificate of the endpoint's own
// unless it stays on this machine. Who has the secret of a block is a worker of that block.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "farfield/net/server.hpp"
#include "farfield/services/compute/endpoint/dispatcher.hpp"
#include "farfield/services/compute/protocol.hpp"

namespace farfield::services::compute {

/// A worker's connection.
struct WorkerLine {
  std::string block;
  std::shared_ptr<net::WebSocket> socket{};  ///< set once, before anything is told
  std::optional<WorkerId> id{};              ///< the listener's: once it has greeted
};

class WorkerServer {
public:
  /// Called from several threads; for one line in order.
  struct Events {
    /// Of the workers of a block; empty for a block that is not there.
    std::function<std::string(const std::string& block)> secret{};
    std::function<void(const std::shared_ptr<WorkerLine>&, const Message&)> message{};
    std::function<void(std::string message)> preview{};
    std::function<void(const std::shared_ptr<WorkerLine>&)> closed{};
  };

  /// Listens at once; `address` is numeric, or a name: then at all addresses. The port, where it is 0, is the one of
  /// the last time if it is free, since workers look there; it is kept in `folder`, as are certificate and key. Throws
  /// what net::Server does.
  WorkerServer(const std::string& folder, const std::string& address, std::uint16_t port, Events events);

  /// "wss://10.1.2.3:40001"; a block's is LINK/blocks/NAME.
  const std::string& link() const { return link_; }
  /// For workers to trust; empty without TLS.
  const std::string& certificate() const { return certificate_; }
  /// No event comes after it.
  void stop() { server_->stop(1); }

private:
  net::WebSocketSession accept(const net::Request& request) const;

  Events events_;
  std::string link_, certificate_;
  std::optional<net::Server> server_;
};

}  // namespace farfield::services::compute
