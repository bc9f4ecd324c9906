#pragma once
// An HTTP/1.1 client for one origin. Calls block; several threads may call at once, each on a connection of its own
// that is kept for the next call.

#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "farfield/core/view.hpp"
#include "farfield/net/message.hpp"
#include "farfield/net/tls.hpp"

namespace farfield::net {

struct ClientOptions {
  TlsTrust trust{};
  double connect_timeout_s = 10;        ///< for name, connection and TLS handshake
  double idle_timeout_s = 60;           ///< without one byte moved
  core::Index header_bytes = 64 << 10;  ///< of a response
  core::Index body_bytes = 64 << 20;    ///< of a response that is collected
  int kept_connections = 8;             ///< idle ones
  /// Whether an address ("10.0.0.1", "::1") may be connected to; empty: all may. For clients whose origin somebody
  /// else chose: what is asked about is what is connected to, whatever a name leads to later.
  std::function<bool(const std::string& address)> allowed_address{};
};

struct ClientRequest {
  std::string method = "GET";
  std::string target = "/";  ///< percent-encoded, with its query
  Headers headers{};
  std::string body{};
  BodySource* source = nullptr;            ///< in place of `body`
  std::optional<std::uint64_t> length{};   ///< of `source`; unknown: sent in chunks
};

struct ClientResponse {
  int status = 0;
  Headers headers;
  std::string body;  ///< empty where it went to a sink

  bool ok() const { return status >= 200 && status < 300; }
};

/// Errors: `unavailable` (nobody there, connection lost), `timeout`, `forbidden` (the certificate is not trusted, or
/// the address not allowed),
/// `corrupt_data` (not HTTP), `resource_exhausted` (beyond a limit), `cancelled`. A status is no error.
class Client {
public:
  /// "https://host:port". Throws `invalid_argument`; `not_found`, `corrupt_data` for the authorities.
  explicit Client(const std::string& origin, ClientOptions options = {});
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  const std::string& origin() const;

  /// The response with its body. A request that may be repeated (GET, HEAD, PUT, DELETE, without a source) is sent
  /// again, once, where a kept connection turns out to be closed.
  ClientResponse send(const ClientRequest& request, std::stop_token stop = {});
  /// The body of a successful response (2xx) goes to `sink` as it arrives; any other is collected.
  ClientResponse send(const ClientRequest& request, BodySink& sink, std::stop_token stop = {});

  /// Pipelining: requests 0 .. count-1 go out on one connection, at most `depth` of them unanswered, and are answered
  /// in order. `make(i)` gives a request (without a source), `answered(i, response)` takes its answer. An error says
  /// nothing about the requests that were not answered. Use it for requests that may be repeated.
  void pipeline(core::Index count, int depth, const std::function<ClientRequest(core::Index)>& make,
                const std::function<void(core::Index, ClientResponse)>& answered, std::stop_token stop = {});

private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The error that a status stands for, with `body` as its message (cut to a line); for responses that are not ok().
core::Error status_error(const ClientResponse& response, const std::string& what);

}  // namespace farfield::net
