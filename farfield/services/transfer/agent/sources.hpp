#pragma once
// Other agents, as an agent that fetches from them sees them.

#include <list>
#include <memory>
#include <mutex>
#include <span>

#include "farfield/net/client.hpp"
#include "farfield/services/transfer/agent/wire.hpp"

namespace farfield::services::transfer {

/// Thread-safe. Connections to the last few agents are kept.
class Sources {
public:
  /// Fills `into` with the bytes of the file from `offset` on. Throws `invalid_argument` for what is no agent over
  /// https, `conflict` where the file ends before, and what the agent says.
  void read(const wire::Remote& from, Index offset, std::span<std::byte> into);

private:
  struct Known {
    std::string origin, certificate;
    std::shared_ptr<net::Client> client;
  };
  std::shared_ptr<net::Client> client(const wire::Remote& from);

  std::mutex mutex_;
  std::list<Known> known_;  ///< the last used first
};

}  // namespace farfield::services::transfer
