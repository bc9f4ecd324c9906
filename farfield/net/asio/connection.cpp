#include "farfield/net/asio/connection.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cmath>
#include <cstring>
#include <vector>

#include "farfield/core/log.hpp"
#include "farfield/net/asio/on_pool.hpp"
#include "farfield/net/asio/websocket_session.hpp"
#include "farfield/net/event_stream.hpp"

namespace farfield::net {
namespace {
using core::Error;
using core::ErrorCode;

constexpr std::size_t kSmallRead = 4 << 10, kLargeRead = 256 << 10, kSourcePiece = 512 << 10;
// A batch is handed on once it has kLargeRead bytes, so one more read always fits behind it, and a header before it.
constexpr std::size_t kUploadRoom = 2 * kLargeRead + (64 << 10);
constexpr double kHandshake_s = 10, kLinger_s = 1, kHeartbeat_s = 15;

auto into(error_code& error) { return asio::redirect_error(asio::use_awaitable, error); }

void log_cut_off(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const std::exception& e) {
    core::log(core::LogLevel::warning, "response_cut_off", {{"error", e.what()}});
  }
}
}  // namespace

void Connection::sweep(SteadyTime now) {
  if (now < deadline_) return;
  deadline_ = SteadyTime::max();
  expired_ = true;
  if (phase_ != Phase::idle) ++shared_.timed_out;
  // A late header or body still gets its answer; everything else has nobody who would read one.
  error_code ignored;
  if (phase_ == Phase::header || phase_ == Phase::body) stream_->socket().cancel(ignored);
  else stream_->abort();
}

void Connection::retire() {
  retired_ = true;
  if (const auto socket = websocket_.lock()) socket->close(1001, "the server stops");
  if (const auto events = events_.lock()) events->close();
  if (phase_ == Phase::idle) stream_->abort();
}

awaitable<void> Connection::run() {
  limit(Phase::closing, kHandshake_s);
  error_code error;
  co_await stream_->handshake(true, error);
  if (error) co_return;
  Next next = Next::request;
  while (next == Next::request && !retired_) next = co_await serve_one();
  if (stream_->tls() != nullptr && stream_->socket().is_open()) {
    limit(Phase::closing, kLinger_s);
    co_await stream_->close_notify();
  }
  stream_->abort();
}

awaitable<bool> Connection::receive(std::size_t room, error_code& error) {
  const std::size_t n = co_await stream_->read_some(input_.prepare(room), error);
  if (!error) input_.commit(n);
  co_return !error;
}

awaitable<std::optional<WireError>> Connection::read_header(MessageParser& parser, bool& gone) {
  if (input_.view().empty()) {
    input_.shrink();
    limit(Phase::idle, shared_.options.keep_alive_s);
  } else {
    limit(Phase::header, shared_.options.header_timeout_s);
  }
  error_code error;
  while (!parser.header_done()) {
    auto step = parser.put(input_.view());
    input_.consume(step.used);
    if (step.error) co_return step.error;
    if (parser.header_done()) break;
    if (step.used > 0 && !step.need_more) continue;
    if (endless(input_.view())) co_return WireError{431, "the header is longer than allowed"};
    // A time-out that met a read which had just ended cancelled nothing, so it is asked for even after bytes.
    const bool received = co_await receive(kSmallRead, error);
    if (!received || expired_) {
      const bool late = expired_ && phase_ == Phase::header;
      gone = !late;
      if (late) co_return WireError{408, "the header took too long"};
      co_return std::nullopt;
    }
    if (phase_ == Phase::idle) limit(Phase::header, shared_.options.header_timeout_s);
  }
  co_return std::nullopt;
}

/// What is not understood yet and waits for its end: Beast's own limit counts whole lines of a header only.
bool Connection::endless(std::string_view rest) const { return std::ssize(rest) > shared_.options.header_bytes; }

Response Connection::refusal(int status, const std::string& message) {
  ++shared_.refused;
  // The services' form of an error, with the transport's own status.
  const ErrorCode code = status == 404                    ? ErrorCode::not_found
                         : status == 503 || status == 429 ? ErrorCode::unavailable
                         : status == 408                  ? ErrorCode::timeout
                                                          : ErrorCode::invalid_argument;
  Response response = shared_.options.error_response(Error(code, message));
  response.status = status;
  return response;
}

Response Connection::failure(const std::exception_ptr& thrown, const Request& request) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Error& e) {
    if (e.code() == ErrorCode::internal)
      core::log(core::LogLevel::error, "request_failed", {{"route", request.route}, {"error", e.what()}});
    return shared_.options.error_response(e);
  } catch (const std::exception& e) {
    // What it says was not written for strangers.
    core::log(core::LogLevel::error, "request_failed", {{"route", request.route}, {"error", e.what()}});
    return shared_.options.error_response(Error(ErrorCode::internal, "internal error"));
  }
}

awaitable<Connection::Next> Connection::serve_one() {
  MessageParser parser(MessageParser::Kind::request, shared_.options.header_bytes);
  bool gone = false;
  const std::optional<WireError> header_error = co_await read_header(parser, gone);
  if (gone) co_return Next::close;
  if (header_error) {
    co_await send(refusal(header_error->status, header_error->message), nullptr, parser, false);
    co_await linger();
    co_return Next::close;
  }
  no_limit(Phase::working);
  ++shared_.requests;
  auto taken = parser.take_request();
  if (!taken) {
    co_await send(refusal(400, taken.error().message()), nullptr, parser, false);
    co_await linger();
    co_return Next::close;
  }
  Request request = std::move(*taken);
  request.client = client_;
  request.secure = stream_->tls() != nullptr;

  Response response;
  bool upgraded = false;
  std::string allowed;
  const double wait_s = shared_.limiter.take(client_);
  const Router::Action* action = shared_.router.find(request, allowed);
  const std::string* expectation = request.headers.find("Expect");
  if (wait_s > 0) {
    response = refusal(429, "too many requests");
    response.headers.set("Retry-After", fmt::format("{}", static_cast<int>(std::ceil(wait_s))));
  } else if (action == nullptr && allowed.empty()) {
    response = refusal(404, "there is nothing at " + request.target.substr(0, request.target.find('?')));
  } else if (action == nullptr) {
    response = refusal(405, request.method + " is not allowed here");
    response.headers.set("Allow", allowed);
  } else if (expectation != nullptr && !equal_ignoring_case(*expectation, "100-continue")) {
    response = refusal(417, "only \"100-continue\" can be expected");
  } else if (shared_.waiting >= shared_.options.queued_requests) {
    response = refusal(503, "too many requests are waiting");
    response.headers.set("Retry-After", "1");
  } else if (const auto* handler = std::get_if<Handler>(action)) {
    response = co_await handle(*handler, parser, request, gone);
  } else if (const auto* upload = std::get_if<UploadHandler>(action)) {
    response = co_await take_upload(*upload, parser, request, gone);
  } else {
    response = co_await upgrade(std::get<WebSocketHandler>(*action), parser, request, upgraded);
  }
  if (gone || upgraded) co_return Next::close;

  const bool complete = parser.done();
  const bool keep_alive =
      complete && parser.keep_alive() && !parser.http_1_0() && !retired_ && !shared_.stopping && !response.events;
  const bool sent = co_await send(std::move(response), &request, parser, keep_alive);
  if (sent && !complete) co_await linger();
  co_return (sent && keep_alive) ? Next::request : Next::close;
}

awaitable<void> Connection::invite(const Request& request, const MessageParser& parser) {
  const std::string* expectation = request.headers.find("Expect");
  if (expectation != nullptr && !parser.done() && input_.view().empty())
    co_await write("HTTP/1.1 100 Continue\r\n\r\n");
}

awaitable<std::optional<WireError>> Connection::read_body(MessageParser& parser, std::string& body, bool& gone) {
  limit(Phase::body, shared_.options.body_timeout_s);
  const auto most = static_cast<std::size_t>(shared_.options.body_bytes);
  error_code error;
  while (!parser.done()) {
    const auto step = parser.put(input_.view());
    if (step.error) co_return step.error;
    if (body.size() + step.body.size() > most)
      co_return WireError{413, fmt::format("the body is longer than {} bytes", most)};
    body += step.body;
    const bool stuck = step.used == 0 || step.need_more;
    input_.consume(step.used);
    if (parser.done() || !stuck) continue;
    if (endless(input_.view())) co_return WireError{400, "the head of a chunk is longer than allowed"};
    const bool received = co_await receive(kSmallRead, error);
    if (!received || expired_) {
      gone = !expired_;
      if (expired_) co_return WireError{408, "the body took too long"};
      co_return std::nullopt;
    }
  }
  co_return std::nullopt;
}

awaitable<Response> Connection::handle(const Handler& handler, MessageParser& parser, Request& request, bool& gone) {
  const auto announced = parser.content_length();
  if (announced && *announced > static_cast<std::uint64_t>(shared_.options.body_bytes))
    co_return refusal(413, fmt::format("the body is longer than {} bytes", shared_.options.body_bytes));
  if (!parser.done()) {
    co_await invite(request, parser);
    const std::optional<WireError> wrong = co_await read_body(parser, request.body, gone);
    if (gone) co_return Response();
    if (wrong) co_return refusal(wrong->status, wrong->message);
  }
  no_limit(Phase::working);
  Response response;
  auto work = [&] {
    try {
      response = handler(request);
    } catch (...) {
      response = failure(std::current_exception(), request);
    }
  };
  ++shared_.waiting;
  co_await on_pool(shared_.handlers, work);
  --shared_.waiting;
  co_return response;
}

awaitable<void> Connection::receive_upload(MessageParser& parser, Upload& upload, PoolJob& job,
                                           std::optional<Response>& refused, const Request& request, bool& gone) {
  // While the sink works on one buffer, the next one fills: a sink that is busy gets fewer and larger ones. The pieces
  // of the body stay where they were received; room is made beforehand, so that they do not move.
  InputBuffer held;
  std::vector<std::string_view> pieces, held_pieces;
  std::size_t parsed = 0;
  error_code error;
  (void)input_.prepare(kUploadRoom);
  (void)held.prepare(kUploadRoom);
  while (!refused && !gone) {
    for (bool stuck = false; !stuck && !refused && !parser.done();) {
      const auto step = parser.put(input_.view().substr(parsed));
      if (step.error) refused = refusal(step.error->status, step.error->message);
      if (!step.body.empty()) pieces.push_back(step.body);
      parsed += step.used;
      stuck = step.used == 0 || step.need_more;
    }
    if (refused) break;
    if (parsed > 0 && (!job.busy() || parser.done() || input_.view().size() >= kLargeRead)) {
      no_limit(Phase::working);
      const std::exception_ptr failed = co_await job.wait();
      if (failed) {
        refused = failure(failed, request);
        break;
      }
      held.consume(held.view().size());
      std::swap(input_, held);
      std::swap(pieces, held_pieces);
      pieces.clear();
      const std::string_view rest = held.view().substr(std::exchange(parsed, 0));
      std::memcpy(input_.prepare(rest.size()).data(), rest.data(), rest.size());
      input_.commit(rest.size());
      job.start([&] {
        for (const auto piece : held_pieces) upload.write(std::as_bytes(std::span(piece)));
      });
    }
    if (parser.done()) break;
    if (endless(input_.view().substr(parsed))) {
      refused = refusal(400, "the head of a chunk is longer than allowed");
      break;
    }
    limit(Phase::sending, shared_.options.idle_timeout_s);
    const bool received = co_await receive(kLargeRead, error);
    gone = !received;
  }
  no_limit(Phase::working);
  const std::exception_ptr failed = co_await job.wait();
  if (failed && !refused) refused = failure(failed, request);
}

awaitable<Response> Connection::take_upload(const UploadHandler& handler, MessageParser& parser, Request& request,
                                            bool& gone) {
  no_limit(Phase::working);
  std::unique_ptr<Upload> upload;
  std::optional<Response> refused;
  const auto guarded = [&](auto work) {
    return [&, work] {
      try {
        work();
      } catch (...) {
        refused = failure(std::current_exception(), request);
      }
    };
  };
  auto begin = guarded([&] { upload = handler(request); });
  co_await on_pool(shared_.handlers, begin);
  if (!refused) {
    co_await invite(request, parser);
    PoolJob job(shared_.handlers, wake_.get_executor());
    co_await receive_upload(parser, *upload, job, refused, request, gone);
  }
  Response response;
  auto end = guarded([&] {
    if (!refused && !gone) response = upload->finish();
    upload.reset();
  });
  co_await on_pool(shared_.handlers, end);
  if (refused) co_return std::move(*refused);
  co_return response;
}

awaitable<Response> Connection::upgrade(const WebSocketHandler& handler, const MessageParser& parser, Request& request,
                                        bool& taken) {
  if (!parser.upgrade() || !request.headers.has_token("Upgrade", "websocket")) {
    Response response = refusal(426, "this is a WebSocket");
    response.headers.set("Upgrade", "websocket");
    co_return response;
  }
  if (!input_.view().empty()) co_return refusal(400, "bytes before the WebSocket was accepted");
  std::optional<Response> refused;
  WebSocketSession session;
  auto ask = [&] {
    try {
      session = handler(request);
    } catch (...) {
      refused = failure(std::current_exception(), request);
    }
  };
  co_await on_pool(shared_.handlers, ask);
  if (refused) co_return std::move(*refused);
  taken = true;
  auto accepted = [this](std::shared_ptr<WebSocket> socket) {
    websocket_ = socket;
    if (retired_) socket->close(1001, "the server stops");
  };
  try {
    co_await serve_websocket(*stream_, request, std::move(session), shared_.options.websocket, shared_.handlers,
                             accepted);
  } catch (const std::exception& e) {
    core::log(core::LogLevel::error, "websocket_failed", {{"route", request.route}, {"error", e.what()}});
  }
  co_return Response();
}

awaitable<bool> Connection::write(std::string_view first, std::string_view second) {
  error_code error;
  while (!first.empty() || !second.empty()) {
    limit(phase_, shared_.options.idle_timeout_s);
    std::size_t n = 0;
    if (first.empty()) {
      n = co_await stream_->write_some(asio::const_buffer(second.data(), second.size()), error);
    } else if (second.empty()) {
      n = co_await stream_->write_some(asio::const_buffer(first.data(), first.size()), error);
    } else {
      std::array<asio::const_buffer, 2> both{asio::const_buffer(first.data(), first.size()),
                                             asio::const_buffer(second.data(), second.size())};
      n = co_await stream_->write_some(both, error);
    }
    if (error) co_return false;
    const std::size_t of_first = std::min(n, first.size());
    first.remove_prefix(of_first);
    second.remove_prefix(n - of_first);
  }
  co_return true;
}

awaitable<bool> Connection::send(Response response, const Request* request, const MessageParser& parser,
                                 bool keep_alive) {
  expired_ = false;
  limit(Phase::sending, shared_.options.idle_timeout_s);
  const bool bodiless = response.status == 204 || response.status == 304 || response.status < 200;
  const bool head_only = bodiless || (request != nullptr && request->method == "HEAD");
  const bool streamed = response.source || response.events;
  const bool chunked = streamed && !bodiless && !response.length && !parser.http_1_0();
  std::optional<std::uint64_t> length = response.length;
  if (!streamed && !bodiless) length = response.body.size();
  if (bodiless) length.reset();
  const std::string head = format_response_head(response.status, response.headers, length, chunked, keep_alive);
  if (head_only || !streamed) {
    const bool sent = co_await write(head, head_only ? std::string_view() : response.body);
    co_return sent;
  }
  const bool began = co_await write(head);
  if (!began) co_return false;
  if (response.events) {
    co_await send_events(std::move(response.events), chunked);
    co_return true;
  }
  const bool sent = co_await send_source(*response.source, length, chunked);
  auto release = [&] { response.source.reset(); };
  co_await on_pool(shared_.handlers, release);
  co_return sent;
}

awaitable<bool> Connection::send_piece(std::string_view bytes, bool chunked) {
  if (!chunked) {
    const bool sent = co_await write(bytes);
    co_return sent;
  }
  const std::string size = format_chunk_head(bytes.size());
  const bool begun = co_await write(size, bytes);
  const bool ended = begun && co_await write("\r\n");
  co_return ended;
}

awaitable<bool> Connection::send_source(BodySource& source, std::optional<std::uint64_t> length, bool chunked) {
  // The source reads the next piece while this one is on its way.
  std::uint64_t left = length.value_or(UINT64_MAX);
  const auto room = static_cast<std::size_t>(std::clamp<std::uint64_t>(left, 1, kSourcePiece));
  auto piece = std::make_unique_for_overwrite<std::byte[]>(room),
       next = std::make_unique_for_overwrite<std::byte[]>(room);
  std::size_t n = 0;
  PoolJob job(shared_.handlers, wake_.get_executor());
  const auto fetch = [&] {
    job.start([&] { n = source.read({next.get(), static_cast<std::size_t>(std::min<std::uint64_t>(room, left))}); });
  };
  bool sent = true;
  if (left > 0) fetch();
  while (sent && left > 0) {
    no_limit(Phase::sending);
    const std::exception_ptr failed = co_await job.wait();
    if (failed) {  // closing the connection early is how the receiver learns
      log_cut_off(failed);
      co_return false;
    }
    if (n == 0) break;
    std::swap(piece, next);
    const std::string_view bytes(reinterpret_cast<const char*>(piece.get()), n);
    left -= n;
    if (left > 0) fetch();
    sent = co_await send_piece(bytes, chunked);
  }
  co_await job.wait();
  if (!sent || (length && left > 0)) co_return false;
  if (!chunked) co_return true;
  const bool ended = co_await write(kLastChunk);
  co_return ended;
}

awaitable<void> Connection::send_events(std::shared_ptr<EventStream> events, bool chunked) {
  events_ = events;
  if (retired_) events->close();
  // Whatever comes from a viewer now can only be the end.
  stream_->socket().async_wait(tcp::socket::wait_read, [self = shared_from_this(), events](const error_code& e) {
    if (e == asio::error::operation_aborted) return;
    self->viewer_gone_ = true;
    events->close();
  });
  events->on_ready([weak = weak_from_this(), executor = wake_.get_executor()] {
    asio::post(executor, [weak] {
      if (const auto self = weak.lock()) {
        self->more_events_ = true;
        self->wake_.cancel();
      }
    });
  });
  input_.shrink();
  for (;;) {
    more_events_ = false;
    const auto taken = events->take();
    if (viewer_gone_) break;
    if (!taken.bytes.empty()) {
      const std::string head = chunked ? format_chunk_head(taken.bytes.size()) : std::string();
      const bool begun = co_await write(head, taken.bytes);
      const bool sent = begun && (!chunked || co_await write("\r\n"));
      if (!sent) break;
    }
    if (taken.closed) {
      if (chunked) co_await write(kLastChunk);
      break;
    }
    no_limit(Phase::sending);
    error_code woken;
    wake_.expires_after(
        std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(kHeartbeat_s)));
    if (!more_events_) co_await wake_.async_wait(into(woken));
    if (!more_events_ && !woken) {  // a comment finds out whether the viewer is still there
      const bool alive = co_await write(chunked ? "3\r\n:\n\n\r\n" : ":\n\n");
      if (!alive) break;
    }
  }
  events->on_ready(nullptr);
  events->close();
}

awaitable<void> Connection::linger() {
  // Closing with unread bytes resets the connection, and the peer would lose the answer that is under way.
  error_code error;
  if (stream_->tls() == nullptr) stream_->socket().shutdown(tcp::socket::shutdown_send, error);
  limit(Phase::closing, kLinger_s);
  error.clear();
  while (!error) {
    input_.consume(input_.view().size());
    co_await receive(kLargeRead, error);
  }
}

}  // namespace farfield::net
