#pragma once
// How endpoints and agents know whom to trust: the issuer's keys, and its revocations as they happen.

#include <functional>
#include <memory>
#include <string>

#include "farfield/net/client.hpp"
#include "farfield/services/auth/token.hpp"

namespace farfield::services::auth {

struct TrustOptions {
  net::TlsTrust tls{};
  double keys_every_s = 300;  ///< a new key is published 600 s before it signs
  double retry_s = 1;         ///< between tries to reach the issuer
};

/// Keeps `verifier` up to date from the issuer at `origin`, on threads of its own: fetches the keys, and holds the
/// revocation list open, over which a revocation arrives within milliseconds. While the issuer cannot be reached,
/// tokens are verified with what is known, and their short life is the bound.
class TrustFeed {
public:
  /// `token` gives a good access token for the issuer each time it is called. `verifier` outlives the feed.
  TrustFeed(const std::string& origin, std::function<std::string()> token, Verifier& verifier,
            TrustOptions options = {});
  ~TrustFeed();
  TrustFeed(const TrustFeed&) = delete;
  TrustFeed& operator=(const TrustFeed&) = delete;

  /// The keys are known: tokens can be verified.
  bool keys_known() const;
  /// The keys are known and the list is open and complete.
  bool connected() const;
  /// Waits for it, at most `seconds`.
  bool wait_connected(double seconds) const;

private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace farfield::services::auth
