#include "farfield/net/client.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <mutex>
#include <optional>
#include <vector>

#include "farfield/net/asio/stream.hpp"
#include "farfield/net/wire.hpp"

namespace farfield::net {
namespace {
using core::Error;
using core::ErrorCode;
using core::Index;

constexpr std::size_t kRead = 256 << 10, kPiece = 512 << 10, kPipelined = 64 << 10;

/// One connection with the event loop that the calling thread runs during a call.
struct Link {
  asio::io_context io{1};
  std::shared_ptr<asio::ssl::context> context;
  AddressRule allowed;
  std::unique_ptr<Stream> stream;
  InputBuffer input;
  SteadyTime deadline;
  double idle_timeout_s = 60;
  bool received = false;  ///< something came since the request began

  void moved() { deadline = after(idle_timeout_s); }
};

struct Outcome {
  ClientResponse response;
  bool reusable = false;
};

bool repeatable(const ClientRequest& request) {
  return request.source == nullptr &&
         (request.method == "GET" || request.method == "HEAD" || request.method == "PUT" || request.method == "DELETE");
}

std::string head_of(const ClientRequest& request, const Url& origin) {
  std::optional<std::uint64_t> length = request.length;
  if (request.source == nullptr) {
    length.reset();
    if (!request.body.empty() || request.method == "POST" || request.method == "PUT") length = request.body.size();
  }
  return format_request_head(request.method, request.target, origin.authority(), request.headers, length,
                             request.source != nullptr && !request.length);
}

void check_request(const ClientRequest& request) {
  const bool visible =
      std::all_of(request.target.begin(), request.target.end(), [](char c) { return c > 32 && c < 127; });
  if (!request.target.starts_with('/') || !visible)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("request target {:?} must begin with \"/\" and be percent-encoded", request.target));
  if (request.method.empty() ||
      !std::all_of(request.method.begin(), request.method.end(), [](char c) { return c >= 'A' && c <= 'Z'; }))
    throw Error(ErrorCode::invalid_argument, fmt::format("{:?} is no request method", request.method));
}

awaitable<bool> write(Link& link, std::string_view bytes) {
  error_code error;
  while (!bytes.empty()) {
    const std::size_t n = co_await link.stream->write_some(asio::const_buffer(bytes.data(), bytes.size()), error);
    if (error) co_return false;
    link.moved();
    bytes.remove_prefix(n);
  }
  co_return true;
}

/// A body on its way out while the response may come in already: a peer that refuses does not wait for the end.
struct Sending {
  explicit Sending(Link& l) : link(l), ended(l.io, SteadyTime::max()) {}
  Link& link;
  bool answered = false;  ///< set by the reader: stop
  bool whole = false, done = false;
  std::exception_ptr failure;  ///< of the source
  asio::steady_timer ended;
};

awaitable<bool> write_pieces(Sending& sending, BodySource& source, std::optional<std::uint64_t> length) {
  Link& link = sending.link;
  const auto piece = std::make_unique_for_overwrite<std::byte[]>(kPiece);
  std::uint64_t left = length.value_or(UINT64_MAX);
  while (left > 0) {
    const std::size_t n = source.read({piece.get(), static_cast<std::size_t>(std::min<std::uint64_t>(kPiece, left))});
    if (n == 0) break;
    left -= n;
    const std::string_view bytes(reinterpret_cast<const char*>(piece.get()), n);
    bool sent = true;
    if (!length) sent = co_await write(link, format_chunk_head(n));
    if (sent) sent = co_await write(link, bytes);
    if (sent && !length) sent = co_await write(link, "\r\n");
    if (!sent || sending.answered) co_return false;
  }
  if (length && left > 0) throw Error(ErrorCode::io, fmt::format("the body of a request ended {} bytes early", left));
  bool ended = true;
  if (!length) ended = co_await write(link, kLastChunk);
  co_return ended;
}

awaitable<void> write_source(Sending& sending, BodySource& source, std::optional<std::uint64_t> length) {
  try {
    sending.whole = co_await write_pieces(sending, source, length);
  } catch (...) {
    sending.failure = std::current_exception();
    sending.link.stream->abort();  // the reader must not wait for an answer
  }
  sending.done = true;
  sending.ended.cancel();
}

awaitable<bool> read_more(Link& link, error_code& error) {
  const std::size_t n = co_await link.stream->read_some(link.input.prepare(kRead), error);
  if (error) co_return false;
  link.input.commit(n);
  link.received = true;
  link.moved();
  co_return true;
}

/// One response, after any interim ones.
awaitable<Outcome> read_response(Link& link, const ClientOptions& options, bool to_head, BodySink* sink,
                                 const std::string& what) {
  for (;;) {
    MessageParser parser(to_head ? MessageParser::Kind::response_to_head : MessageParser::Kind::response,
                         options.header_bytes);
    Outcome outcome;
    bool head_taken = false, ended = false;
    while (!parser.done()) {
      const auto step = parser.put(link.input.view());
      if (step.error) throw Error(ErrorCode::corrupt_data, fmt::format("{}: {}", what, step.error->message));
      if (parser.header_done() && !head_taken) {
        head_taken = true;
        outcome.response.status = parser.status();
        outcome.response.headers = parser.take_headers();
      }
      if (!step.body.empty()) {
        if (sink != nullptr && outcome.response.ok()) {
          sink->write(std::as_bytes(std::span(step.body)));
          link.moved();  // what a slow sink takes is not the peer's fault
        } else {
          if (std::ssize(outcome.response.body) + std::ssize(step.body) > options.body_bytes)
            throw Error(ErrorCode::resource_exhausted,
                        fmt::format("{}: a response of more than {} bytes", what, options.body_bytes));
          outcome.response.body += step.body;
        }
      }
      const bool stuck = step.used == 0 || step.need_more;
      link.input.consume(step.used);
      if (parser.done() || !stuck) continue;
      if (std::ssize(link.input.view()) > options.header_bytes)
        throw Error(ErrorCode::resource_exhausted,
                    fmt::format("{}: a header of more than {} bytes", what, options.header_bytes));
      error_code error;
      const bool more = !ended && co_await read_more(link, error);
      if (more) continue;
      ended = true;
      if (error != asio::error::eof && parser.header_done())
        throw Error(ErrorCode::unavailable, fmt::format("{}: the response was cut off: {}", what, error.message()));
      if (!parser.header_done() || parser.put_eof())
        throw Error(ErrorCode::unavailable,
                    fmt::format("{}: the connection was closed before the end of the response", what));
      if (!parser.done()) throw Error(ErrorCode::unavailable, fmt::format("{}: the response was cut off", what));
    }
    if (outcome.response.status >= 100 && outcome.response.status < 200 && outcome.response.status != 101) continue;
    outcome.reusable = parser.keep_alive() && !ended;
    co_return outcome;
  }
}

awaitable<void> exchange(Link& link, const ClientOptions& options, const Url& origin, const ClientRequest& request,
                         BodySink* sink, std::optional<Outcome>& outcome) {
  const std::string what = fmt::format("{} {}{}", request.method, origin.origin(), request.target);
  const bool to_head = request.method == "HEAD";
  bool whole = co_await write(link, head_of(request, origin));
  if (request.source == nullptr) {
    if (whole) whole = co_await write(link, request.body);
    outcome = co_await read_response(link, options, to_head, sink, what);  // a refusal may have come all the same
    if (!whole) outcome->reusable = false;
    co_return;
  }
  Sending sending(link);
  std::exception_ptr failure;
  asio::co_spawn(link.io, write_source(sending, *request.source, request.length), asio::detached);
  try {
    outcome = co_await read_response(link, options, to_head, sink, what);
    outcome->reusable = outcome->reusable && sending.whole;
  } catch (...) {
    failure = std::current_exception();
  }
  sending.answered = true;
  if (!sending.done) link.stream->abort();  // the peer may have stopped reading
  error_code woken;
  while (!sending.done) co_await sending.ended.async_wait(asio::redirect_error(asio::use_awaitable, woken));
  if (sending.failure) std::rethrow_exception(sending.failure);
  if (failure) std::rethrow_exception(failure);
}

awaitable<void> open(Link& link, const Url& origin) {
  Error error(ErrorCode::internal, "");
  link.stream = co_await connect(origin.host, origin.port, link.context, link.allowed, error);
  if (!link.stream) throw Error(error);
}
}  // namespace

struct Client::Impl {
  Url origin;
  std::string name;
  ClientOptions options;
  std::shared_ptr<asio::ssl::context> context;
  std::mutex mutex;
  std::vector<std::unique_ptr<Link>> idle;

  /// Runs `task` to its end on this thread. After an error the link is of no more use.
  void run(Link& link, awaitable<void> task, double first_s, const std::stop_token& stop) {
    bool done = false;
    std::exception_ptr failure;
    link.deadline = after(first_s);
    asio::co_spawn(link.io, std::move(task), [&](const std::exception_ptr& e) {
      failure = e;
      done = true;
    });
    const std::stop_callback wake(stop, [&link] { asio::post(link.io, [] {}); });
    link.io.restart();
    while (!done) {
      if (stop.stop_requested()) throw Error(ErrorCode::cancelled, "cancelled");
      if (std::chrono::steady_clock::now() >= link.deadline)
        throw Error(ErrorCode::timeout, fmt::format("{} does not answer", origin.origin()));
      link.io.run_one_until(link.deadline);
      if (link.io.stopped() && !done) link.io.restart();
    }
    if (failure) std::rethrow_exception(failure);
  }

  std::unique_ptr<Link> kept() {
    const std::lock_guard lock(mutex);
    while (!idle.empty()) {
      auto link = std::move(idle.back());
      idle.pop_back();
      // The peer has closed it meanwhile if there is anything to read, be it the end.
      error_code error;
      char byte = 0;
      auto& socket = link->stream->socket();
      socket.non_blocking(true, error);
      socket.receive(asio::mutable_buffer(&byte, 1), tcp::socket::message_peek, error);
      if (error == asio::error::would_block) return link;
    }
    return nullptr;
  }

  std::unique_ptr<Link> connected(const std::stop_token& stop) {
    auto link = std::make_unique<Link>();
    link->context = context;
    link->allowed = options.allowed_address;
    link->idle_timeout_s = options.idle_timeout_s;
    run(*link, open(*link, origin), options.connect_timeout_s, stop);
    return link;
  }

  void keep(std::unique_ptr<Link> link) {
    link->input.shrink();
    const std::lock_guard lock(mutex);
    if (std::ssize(idle) < options.kept_connections) idle.push_back(std::move(link));
  }

  ClientResponse send(const ClientRequest& request, BodySink* sink, const std::stop_token& stop) {
    check_request(request);
    for (;;) {
      auto link = kept();
      const bool fresh = !link;
      if (fresh) link = connected(stop);
      link->received = false;
      std::optional<Outcome> outcome;
      try {
        run(*link, exchange(*link, options, origin, request, sink, outcome), options.idle_timeout_s, stop);
      } catch (const Error& e) {
        if (e.code() == ErrorCode::unavailable && !fresh && !link->received && repeatable(request)) continue;
        throw;
      }
      if (outcome->reusable && link->input.view().empty()) keep(std::move(link));
      return std::move(outcome->response);
    }
  }
};

Client::Client(const std::string& origin, ClientOptions options) : impl_(std::make_unique<Impl>()) {
  impl_->origin = core::value_or_throw(parse_url(origin));
  if (impl_->origin.target != "/")
    throw Error(ErrorCode::invalid_argument, fmt::format("{:?} is no origin: it has a path", origin));
  impl_->options = std::move(options);
  if (impl_->origin.secure) impl_->context = client_context(impl_->options.trust);
  impl_->name = impl_->origin.origin();
}
Client::~Client() = default;

const std::string& Client::origin() const { return impl_->name; }

ClientResponse Client::send(const ClientRequest& request, std::stop_token stop) {
  return impl_->send(request, nullptr, stop);
}
ClientResponse Client::send(const ClientRequest& request, BodySink& sink, std::stop_token stop) {
  return impl_->send(request, &sink, stop);
}

namespace {
/// What the two halves of a pipelined exchange share.
struct Pipeline {
  Pipeline(Link& l, Index n, int d) : link(l), count(n), depth(d), room(l.io), progress(l.io) {}
  Link& link;
  Index count;
  int depth;
  std::vector<bool> heads;  ///< which of the unanswered requests are HEAD, by index modulo depth
  Index sent = 0, answered = 0;
  bool stopped = false, writing = true;
  asio::steady_timer room;      ///< for the writer: fewer are unanswered
  asio::steady_timer progress;  ///< for the reader: more was sent, or nothing more will be
  std::exception_ptr failure;
};

awaitable<void> write_requests(Pipeline& p, const Url& origin, const std::function<ClientRequest(Index)>& make) {
  error_code woken;
  try {
    std::string batch;
    while (p.sent < p.count && !p.stopped) {
      batch.clear();
      for (; p.sent < p.count && p.sent - p.answered < p.depth && batch.size() < kPipelined; ++p.sent) {
        const ClientRequest request = make(p.sent);
        check_request(request);
        if (request.source != nullptr)
          throw Error(ErrorCode::invalid_argument, "a pipelined request cannot have a source");
        p.heads[static_cast<std::size_t>(p.sent % p.depth)] = request.method == "HEAD";
        batch += head_of(request, origin);
        batch += request.body;
      }
      if (!batch.empty()) {
        p.progress.cancel();
        const bool sent = co_await write(p.link, batch);
        if (!sent) break;  // the reader finds out why
        continue;
      }
      p.room.expires_at(SteadyTime::max());
      co_await p.room.async_wait(asio::redirect_error(asio::use_awaitable, woken));
    }
  } catch (...) {
    p.failure = std::current_exception();
    p.link.stream->abort();
  }
  p.writing = false;
  p.progress.cancel();
}

awaitable<void> run_pipeline(Pipeline& p, const ClientOptions& options, const Url& origin,
                             const std::function<ClientRequest(Index)>& make,
                             const std::function<void(Index, ClientResponse)>& answered, bool& reusable) {
  asio::co_spawn(p.link.io, write_requests(p, origin, make), asio::detached);
  const std::string what = "pipelined requests to " + origin.origin();
  error_code woken;
  try {
    while (p.answered < p.count) {
      while (p.sent == p.answered && p.writing) {
        p.progress.expires_at(SteadyTime::max());
        co_await p.progress.async_wait(asio::redirect_error(asio::use_awaitable, woken));
      }
      if (p.sent == p.answered) throw Error(ErrorCode::unavailable, what + ": the connection was lost");
      const bool to_head = p.heads[static_cast<std::size_t>(p.answered % p.depth)];
      Outcome outcome = co_await read_response(p.link, options, to_head, nullptr, what);
      const Index i = p.answered++;
      p.room.cancel();
      reusable = outcome.reusable;
      answered(i, std::move(outcome.response));
      if (!reusable && p.answered < p.count)
        throw Error(ErrorCode::unavailable, what + ": the connection was closed between two responses");
    }
  } catch (...) {
    if (!p.failure) p.failure = std::current_exception();
  }
  p.stopped = true;
  p.room.cancel();
  if (p.failure) p.link.stream->abort();
  p.progress.expires_at(SteadyTime::max());
  while (p.writing) co_await p.progress.async_wait(asio::redirect_error(asio::use_awaitable, woken));
  if (p.failure) std::rethrow_exception(p.failure);
}
}  // namespace

void Client::pipeline(Index count, int depth, const std::function<ClientRequest(Index)>& make,
                      const std::function<void(Index, ClientResponse)>& answered, std::stop_token stop) {
  if (depth < 1 || count < 0)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} pipelined requests, {} at once: >= 0, >= 1", count, depth));
  if (count == 0) return;
  auto link = impl_->kept();
  if (!link) link = impl_->connected(stop);
  bool reusable = false;
  {
    Pipeline p(*link, count, depth);
    p.heads.resize(static_cast<std::size_t>(depth));
    impl_->run(*link, run_pipeline(p, impl_->options, impl_->origin, make, answered, reusable),
               impl_->options.idle_timeout_s, stop);
  }
  if (reusable && link->input.view().empty()) impl_->keep(std::move(link));
}

core::Error status_error(const ClientResponse& response, const std::string& what) {
  ErrorCode code = response.status >= 500 ? ErrorCode::unavailable : ErrorCode::invalid_argument;
  switch (response.status) {
    case 401: code = ErrorCode::unauthenticated; break;
    case 403: code = ErrorCode::forbidden; break;
    case 404: code = ErrorCode::not_found; break;
    case 408: code = ErrorCode::timeout; break;
    case 409: code = ErrorCode::conflict; break;
    case 413: code = ErrorCode::resource_exhausted; break;
    case 422: code = ErrorCode::corrupt_data; break;
    case 429: code = ErrorCode::unavailable; break;
    case 500: code = ErrorCode::internal; break;
    case 501: code = ErrorCode::unsupported; break;
    case 504: code = ErrorCode::timeout; break;
    case 507: code = ErrorCode::resource_exhausted; break;
    default: break;
  }
  std::string reason = response.body.substr(0, std::min<std::size_t>(response.body.find('\n'), 300));
  std::erase_if(reason, [](char c) { return static_cast<unsigned char>(c) < 32; });
  if (reason.empty()) reason = reason_phrase(response.status);
  return {code, fmt::format("{}: {} (status {})", what, reason, response.status)};
}

}  // namespace farfield::net
