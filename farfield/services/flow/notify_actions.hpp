#pragma once
// Webhooks: an action that POSTs JSON to somebody's address.

#include <memory>
#include <string>
#include <vector>

#include "farfield/services/flow/action.hpp"

namespace farfield::services::flow {

struct NotifyOptions {
  /// Hosts that may be spoken to although their addresses are private, and without TLS. All others must be https with a
  /// public address: flows come from users, and shall not reach what only this host reaches.
  std::vector<std::string> allowed_hosts{};
  std::string authorities{};  ///< file of certificates (PEM) to trust; empty: the system's
  int attempts = 6;  ///< in all; >= 1
  double first_pause_s = 1;  ///< before the second one; doubled, up to a minute
  double timeout_s = 10;  ///< for a connection, and without a byte
};

/// Body {"url": "https://...", "payload": any JSON, "headers": {"X-Name": "value"}}; details {"status": 200}. A failed
/// connection and the statuses 408, 425, 429 and 5xx are tried again. Each try carries the action's key as
/// Idempotency-Key: after a crash it may come once more. Neither payload nor headers are logged, and of the URL only
/// its host.
std::shared_ptr<ActionProvider> notify_actions(NotifyOptions options = {});

/// Whether an address is one of the public internet: not loopback, private, link-local, multicast, shared or reserved,
/// nor an IPv6 form of such an IPv4 address.
bool is_public_address(const std::string& address);

}  // namespace farfield::services::flow
