#pragma once
// An HTTP/1.1 server. Few threads move bytes for any number of connections; handlers run on threads of their own.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "farfield/core/view.hpp"
#include "farfield/net/message.hpp"
#include "farfield/net/rate_limiter.hpp"
#include "farfield/net/router.hpp"
#include "farfield/net/tls.hpp"

namespace farfield::net {

struct ServerOptions {
  std::string address = "127.0.0.1";  ///< to listen at; "0.0.0.0" or "::" for every interface
  std::uint16_t port = 0;             ///< 0: any free one, see Server::port()
  TlsIdentity tls{};                  ///< none: plain HTTP
  int io_threads = 2;                 ///< move bytes, speak TLS
  int handler_threads = 16;           ///< handlers at work at once
  core::Index queued_requests = 10'000;  ///< waiting for a handler; beyond: 503

  core::Index connections = 20'000;       ///< beyond: not accepted until others have gone
  core::Index header_bytes = 16 << 10;    ///< beyond: 431
  core::Index body_bytes = 4 << 20;       ///< of a request that is no upload; beyond: 413
  double header_timeout_s = 10;           ///< from a request's first byte to the end of its header; beyond: 408
  double body_timeout_s = 30;             ///< for the whole body that is no upload; beyond: 408
  double idle_timeout_s = 30;             ///< without one byte moved, in an upload or a response; beyond: closed
  double keep_alive_s = 60;               ///< between requests
  RateLimit rate_limit{};                 ///< per client address; beyond: 429 with Retry-After
  WebSocketLimits websocket{};

  /// Makes the response to an error that a handler threw or the server found (JSON is left to the services).
  std::function<Response(const core::Error&)> error_response = plain_error;
};

struct ServerStatistics {
  core::Index connections = 0, requests = 0, refused = 0, timed_out = 0;
};

class Server {
public:
  /// Listens at once. Throws `invalid_argument`, `io` (the address is taken), `forbidden` (others can read the
  /// key), `corrupt_data` (certificate or key).
  Server(ServerOptions options, Router router);
  /// stop(0)
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  std::uint16_t port() const;
  /// "https://127.0.0.1:8443"
  std::string origin() const;
  ServerStatistics statistics() const;

  /// Reads certificate and key again, for connections from now on. Throws as the constructor does, changing nothing.
  void reload_tls();

  /// Graceful: accepts nothing more, ends idle connections, event streams and WebSockets (1001), lets requests at
  /// work finish for up to `grace_s`, then closes what is left. Waits for all threads.
  void stop(double grace_s = 10);

private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace farfield::net
