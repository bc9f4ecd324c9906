#pragma once
// Where messages come from: a socket, a distributor, a list in memory.

#include <chrono>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "farfield/net/zeromq.hpp"

namespace farfield::stream {

using core::Index;

/// A message as it came. Copies share the bytes.
struct Envelope {
  std::vector<std::span<const std::byte>> parts;
  std::shared_ptr<const void> owner;  ///< of the bytes

  Index bytes() const {
    Index sum = 0;
    for (const auto& part : parts) sum += std::ssize(part);
    return sum;
  }
};

enum class FeedOutcome { message, timeout, stopped, ended };

struct Feed {
  virtual ~Feed() = default;
  /// Takes the next message; waits at most `limit`. Throws `corrupt_data` for a message that is gone then, `io`.
  virtual FeedOutcome receive(Envelope& message, std::chrono::milliseconds limit, std::stop_token stop) = 0;
  /// For people: an endpoint.
  virtual std::string name() const = 0;
};

/// "tcp://host:port" connects, "@tcp://*:port" listens.
struct Endpoint {
  std::string address;
  bool bind = false;
};
Endpoint parse_endpoint(const std::string& text);

class SocketFeed final : public Feed {
public:
  /// `kind`: pull or sub. Throws as net::ZmqSocket.
  SocketFeed(net::ZmqKind kind, const std::string& endpoint, net::ZmqOptions options = {});
  FeedOutcome receive(Envelope& message, std::chrono::milliseconds limit, std::stop_token stop) override;
  std::string name() const override { return socket_.endpoint(); }
  net::ZmqPeers peers() { return socket_.peers(); }

private:
  net::ZmqSocket socket_;
};

/// Messages in memory, then the end.
class MemoryFeed final : public Feed {
public:
  using Parts = std::vector<std::vector<std::byte>>;
  explicit MemoryFeed(std::vector<Parts> messages) : messages_(std::move(messages)) {}
  FeedOutcome receive(Envelope& message, std::chrono::milliseconds limit, std::stop_token stop) override;
  std::string name() const override { return "memory"; }

private:
  std::vector<Parts> messages_;
  std::size_t next_ = 0;
};

}  // namespace farfield::stream
