#pragma once
// A service as the commands speak to it: JSON requests with a bearer token, and its pushed events.

#include <functional>
#include <stop_token>
#include <string>

#include "apps/farfield/credentials.hpp"
#include "farfield/net/event_stream.hpp"

namespace farfield::apps {

/// Thread-safe.
class ServiceClient {
public:
  /// `token` gives a good one each time, and may block.
  ServiceClient(const Remote& remote, std::function<std::string()> token);
  /// In the name of who logged in there (farfield login). Throws `unauthenticated`: nobody has; `invalid_argument` for
  /// a URL.
  static ServiceClient logged_in(const std::string& url);

  const std::string& origin() const { return client_->origin(); }
  /// The answer's JSON. An answer that is none becomes the error that it tells, with the service's own words.
  std::string call(const std::string& method, const std::string& target, const std::string& body = {},
                   const std::stop_token& stop = {}) const;
  /// The events of `target`, one after the other, until `on_event` returns false; over new connections where one ends,
  /// each with the last event's id. Throws what cannot be mended by trying again, and `cancelled`.
  void follow(const std::string& target, const std::function<bool(const net::Event&)>& on_event,
              const std::stop_token& stop) const;

private:
  std::shared_ptr<net::Client> client_;
  std::function<std::string()> token_;
};

}  // namespace farfield::apps
