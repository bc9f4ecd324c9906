#pragma once
// Mail between ranks: messages of any length to anybody, for work that is asked for instead of planned.

#include <cstddef>
#include <optional>
#include <vector>

#include "farfield/parallel/communicator.hpp"

namespace farfield::parallel {

struct Mail {
  int from = 0;
  std::vector<std::byte> bytes;
};

/// One per rank, used by the thread that uses its communicator.
class Mailbox {
public:
  virtual ~Mailbox() = default;
  /// Hands a message over (at most 2^31 - 1 bytes) and returns at once; also to oneself. Messages from one rank to
  /// another arrive in their order.
  virtual void send(int to, std::vector<std::byte> bytes) = 0;
  /// The next message from anybody; nothing after `limit_s` seconds. Throws `cancelled` where another rank has failed.
  virtual std::optional<Mail> receive(double limit_s) = 0;
  /// Waits until what was sent has left; called by every rank before it lets the mailbox be.
  virtual void flush() = 0;
};

/// The mailbox of a rank, which lives as long as its communicator. Every communicator of this room has one.
Mailbox& mailbox(Communicator& communicator);

}  // namespace farfield::parallel
