#pragma once
// Of this room only: one connection of the server, and what all of them share.

#include <atomic>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <list>
#include <memory>
#include <string>

#include "farfield/core/clock.hpp"
#include "farfield/net/asio/on_pool.hpp"
#include "farfield/net/asio/stream.hpp"
#include "farfield/net/rate_limiter.hpp"
#include "farfield/net/server.hpp"
#include "farfield/net/wire.hpp"

namespace farfield::net {

/// What all connections of a server use.
struct Shared {
  Shared(ServerOptions o, Router r)
      : options(std::move(o)),
        router(std::move(r)),
        handlers(static_cast<std::size_t>(options.handler_threads)),
        limiter(options.rate_limit, clock) {}

  ServerOptions options;
  Router router;
  core::SteadyClock clock;
  asio::thread_pool handlers;
  RateLimiter limiter;
  std::atomic<bool> stopping = false;
  std::atomic<core::Index> connections = 0, requests = 0, refused = 0, timed_out = 0, waiting = 0;
};

/// Serves one peer, request by request; lives on one I/O thread.
class Connection : public std::enable_shared_from_this<Connection> {
public:
  Connection(Shared& shared, std::unique_ptr<Stream> stream, std::string client)
      : shared_(shared),
        stream_(std::move(stream)),
        client_(std::move(client)),
        wake_(stream_->socket().get_executor()) {}

  awaitable<void> run();
  /// Called every now and then: ends what has taken too long.
  void sweep(SteadyTime now);
  /// The server stops: no further request.
  void retire();
  void abort() { stream_->abort(); }

private:
  enum class Phase { idle, header, body, working, sending, closing };
  enum class Next { request, close };

  void limit(Phase phase, double seconds) {
    phase_ = phase;
    deadline_ = after(seconds);
  }
  void no_limit(Phase phase) {
    phase_ = phase;
    deadline_ = SteadyTime::max();
  }
  awaitable<Next> serve_one();
  /// False: nothing came, because of `error`.
  awaitable<bool> receive(std::size_t room, error_code& error);
  awaitable<std::optional<WireError>> read_header(MessageParser& parser, bool& gone);
  awaitable<std::optional<WireError>> read_body(MessageParser& parser, std::string& body, bool& gone);
  awaitable<Response> handle(const Handler& handler, MessageParser& parser, Request& request, bool& gone);
  awaitable<Response> take_upload(const UploadHandler& handler, MessageParser& parser, Request& request, bool& gone);
  awaitable<Response> upgrade(const WebSocketHandler& handler, const MessageParser& parser, Request& request,
                              bool& taken);
  awaitable<void> invite(const Request& request, const MessageParser& parser);
  awaitable<bool> send(Response response, const Request* request, const MessageParser& parser, bool keep_alive);
  awaitable<void> receive_upload(MessageParser& parser, Upload& upload, PoolJob& job, std::optional<Response>& refused,
                                 const Request& request, bool& gone);
  awaitable<bool> send_source(BodySource& source, std::optional<std::uint64_t> length, bool chunked);
  awaitable<bool> send_piece(std::string_view bytes, bool chunked);
  awaitable<void> send_events(std::shared_ptr<EventStream> events, bool chunked);
  awaitable<bool> write(std::string_view first, std::string_view second = {});
  awaitable<void> linger();
  Response failure(const std::exception_ptr& thrown, const Request& request);
  bool endless(std::string_view rest) const;
  Response refusal(int status, const std::string& message);

  Shared& shared_;
  std::unique_ptr<Stream> stream_;
  std::string client_;
  InputBuffer input_;
  asio::steady_timer wake_;  // of an event stream
  Phase phase_ = Phase::idle;
  SteadyTime deadline_ = SteadyTime::max();
  bool expired_ = false, retired_ = false;
  bool viewer_gone_ = false, more_events_ = false;  // of an event stream
  std::weak_ptr<WebSocket> websocket_;
  std::weak_ptr<EventStream> events_;
};

}  // namespace farfield::net
