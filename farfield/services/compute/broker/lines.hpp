#pragma once
// What stays open and ends with the token that opened it: the lines of endpoints, and views of running tasks.

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "farfield/net/router.hpp"
#include "farfield/services/auth/access.hpp"
#include "farfield/services/compute/broker/broker.hpp"

namespace farfield::services::compute {

/// Thread-safe. Made once for a router; `access` and `broker` outlive it.
class Lines : public std::enable_shared_from_this<Lines> {
public:
  Lines(auth::Access& access, Broker& broker);
  void begin();  ///< hears of revocations

  /// Of an endpoint; the caller has checked that `who` may.
  net::WebSocketSession endpoint(const std::string& name, const auth::Principal& who);
  /// Events as text, previews as binary messages, the latest of each name; ends with the task, and after the life of a
  /// token: a viewer comes back with a fresh one.
  net::WebSocketSession view(const std::string& task, const auth::Principal& who);
  /// The events alone, as server-sent ones; end as a view does.
  net::Response events(const std::string& task, const auth::Principal& who);

private:
  using Socket = std::shared_ptr<net::WebSocket>;
  /// Closes what is open, if it still is.
  using Close = std::function<void()>;
  struct Open {
    std::weak_ptr<const void> what;
    Close close;
  };
  /// False, and closed, where the token was revoked meanwhile.
  bool keep(const auth::Principal& who, const std::shared_ptr<const void>& what, const Close& close);
  bool keep(const auth::Principal& who, const Socket& socket);
  void drop(const std::string& revoked);

  auth::Access& access_;
  Broker& broker_;
  std::mutex mutex_;
  std::multimap<std::string, Open> by_id_;  ///< of tokens and of their grants
  std::shared_ptr<void> revocations_;
};

}  // namespace farfield::services::compute
