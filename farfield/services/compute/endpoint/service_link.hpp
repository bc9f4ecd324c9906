#pragma once
// An endpoint's line to its service: outward only, made anew whenever it is lost.

#include <functional>
#include <memory>
#include <string>

#include "farfield/net/websocket.hpp"

namespace farfield::services::compute {

struct ServiceLinkOptions {
  std::string service;   ///< origin, "https://host:port"
  std::string endpoint;  ///< name
  std::function<std::string()> token{};  ///< gives a good access token each time; empty: none is sent
  net::TlsTrust trust{};
};

class ServiceLink {
public:
  /// Called from threads of the link, in order for each line. Lines count up; there is one at a time. Whoever was given
  /// a line lets it go when it has closed.
  struct Events {
    std::function<void(int line, std::shared_ptr<net::WebSocket>)> opened{};
    std::function<void(int line, std::string message)> message{};
    std::function<void(int line)> closed{};
  };

  /// Throws `invalid_argument` for an origin that is none.
  ServiceLink(ServiceLinkOptions options, Events events);
  /// No event comes after it.
  ~ServiceLink();
  ServiceLink(const ServiceLink&) = delete;
  ServiceLink& operator=(const ServiceLink&) = delete;

private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace farfield::services::compute
