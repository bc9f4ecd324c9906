#pragma once
// ZeroMQ sockets as instruments use them: PULL and SUB to take messages of one or more parts, PUSH and PUB to send.
// A socket belongs to one thread at a time. Every wait ends: by a message, at its time limit, or when stop is
// requested.
//
// What a peer may send is limited: bytes of a part (ZeroMQ closes the connection of whoever exceeds it), messages
// waiting in memory (the high-water mark: then PUSH waits and a publisher drops), parts that are kept of a message.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "farfield/core/error.hpp"
#include "farfield/core/view.hpp"

namespace farfield::net {

enum class ZmqKind { pull, push, sub, pub };

struct ZmqOptions {
  bool bind = false;  ///< listen at the endpoint; else connect to it, again and again until somebody is there
  std::string topic{};  ///< SUB: messages that begin with it
  int high_water_mark = 256;  ///< messages waiting in memory, for each peer
  core::Index part_bytes = core::Index{256} << 20;  ///< most of one part
  std::size_t parts = 64;  ///< most of one message
  /// How long the destructor goes on sending what is waiting.
  std::chrono::milliseconds linger{1000};
  /// A peer that says nothing for three times as long is taken for dead, and connected to anew; 0: never.
  std::chrono::milliseconds heartbeat{5000};
};

/// The parts of a message, where ZeroMQ put them. Move only.
class ZmqMessage {
public:
  ZmqMessage();
  ~ZmqMessage();
  ZmqMessage(ZmqMessage&&) noexcept;
  ZmqMessage& operator=(ZmqMessage&&) noexcept;

  const std::vector<std::span<const std::byte>>& parts() const { return parts_; }
  core::Index bytes() const;

private:
  friend class ZmqSocket;
  struct Storage;
  std::unique_ptr<Storage> storage_;
  std::vector<std::span<const std::byte>> parts_;
};

/// A part to be sent. With an owner it is not copied: ZeroMQ keeps the owner until it is done with the bytes, and lets
/// it go on a thread of its own.
struct ZmqPart {
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner{};
};

/// What became of the connections of a socket so far.
struct ZmqPeers {
  int connected = 0;  ///< now
  std::int64_t connections = 0, lost = 0, refused = 0;  ///< refused: handshakes that failed
};

enum class ZmqOutcome { done, timeout, stopped };

class ZmqSocket {
public:
  /// `endpoint`: tcp://host:port, ipc://path or inproc://name; tcp://*:* binds to a free port.
  /// Throws `invalid_argument` for an endpoint that is none, `conflict` where the address is in use, `io`.
  ZmqSocket(ZmqKind kind, const std::string& endpoint, const ZmqOptions& options = {});
  ~ZmqSocket();
  ZmqSocket(ZmqSocket&&) noexcept;
  ZmqSocket& operator=(ZmqSocket&&) noexcept;

  /// Where it is bound, or what it connects to.
  const std::string& endpoint() const;
  ZmqPeers peers();

  /// Takes the next message; waits at most `limit`, not at all for 0. Throws `corrupt_data` for a message of too many
  /// parts, which is gone then, and `io`.
  ZmqOutcome receive(ZmqMessage& message, std::chrono::milliseconds limit, std::stop_token stop = {});
  /// Sends a message of at least one part. PUSH waits for a peer with room; PUB never waits.
  ZmqOutcome send(std::span<const ZmqPart> parts, std::chrono::milliseconds limit, std::stop_token stop = {});

private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace farfield::net
