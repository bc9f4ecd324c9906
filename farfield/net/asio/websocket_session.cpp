#include "farfield/net/asio/websocket_session.hpp"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/websocket/ssl.hpp>
#include <boost/beast/websocket/stream.hpp>
#include <deque>
#include <future>
#include <mutex>
#include <thread>

#include "farfield/net/asio/on_pool.hpp"
#include "farfield/net/client.hpp"
#include "farfield/net/url.hpp"

namespace farfield::net {
namespace {
namespace beast = boost::beast;
namespace ws = boost::beast::websocket;
using core::Error;
using core::ErrorCode;
using core::Index;

auto into(error_code& error) { return asio::redirect_error(asio::use_awaitable, error); }

/// What waits to be sent, filled from any thread; may outlive its connection and the server.
class Outbox final : public WebSocket {
public:
  /// `wake` is called with a lock held, and not after finish().
  Outbox(std::function<void()> wake, Index limit) : wake_(std::move(wake)), limit_(limit) {}

  bool send(std::string message, bool binary) override { return push({std::move(message), binary, {}}); }
  bool send_latest(const std::string& channel, std::string message) override {
    return push({std::move(message), true, channel});
  }
  void close(int code, std::string reason) override {
    const std::lock_guard lock(mutex_);
    if (closing_ || closed_) return;
    closing_ = true;
    code_ = code;
    reason_ = reason.substr(0, 120);  // a closing frame has room for 123 bytes
    if (wake_) wake_();
  }
  bool closed() const override {
    const std::lock_guard lock(mutex_);
    return closed_ || closing_;
  }
  Index queued_bytes() const override {
    const std::lock_guard lock(mutex_);
    return queued_;
  }

  struct Message {
    std::string payload;
    bool binary = false;
    std::string channel;
  };
  enum class Next { message, wait, end };
  /// end: closed, or to be closed with `reason()`.
  Next next(Message& message) {
    const std::lock_guard lock(mutex_);
    if (closed_) return Next::end;
    if (queue_.empty()) return closing_ ? Next::end : Next::wait;
    message = std::move(queue_.front());
    queue_.pop_front();
    queued_ -= std::ssize(message.payload);
    return Next::message;
  }
  ws::close_reason reason() const {
    const std::lock_guard lock(mutex_);
    ws::close_reason out(static_cast<ws::close_code>(code_));
    out.reason.assign(reason_.data(), reason_.size());
    return out;
  }
  /// Nothing goes out any more.
  void finish() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    queue_.clear();
    queued_ = 0;
    if (wake_) wake_();
    wake_ = nullptr;
  }

private:
  bool push(Message message) {
    const std::lock_guard lock(mutex_);
    if (closed_ || closing_) return false;
    if (!message.channel.empty()) {
      for (auto& waiting : queue_)
        if (waiting.channel == message.channel) {
          queued_ += std::ssize(message.payload) - std::ssize(waiting.payload);
          waiting.payload = std::move(message.payload);
          return true;
        }
    }
    if (queued_ + std::ssize(message.payload) > limit_) return false;
    queued_ += std::ssize(message.payload);
    queue_.push_back(std::move(message));
    if (queue_.size() == 1 && wake_) wake_();  // whoever filled the empty queue has woken the writer
    return true;
  }

  mutable std::mutex mutex_;
  std::function<void()> wake_;
  std::deque<Message> queue_;
  Index limit_, queued_ = 0;
  bool closing_ = false, closed_ = false;
  int code_ = 1000;
  std::string reason_;
};

/// Cut short to wake the coroutine that waits for it. Used on the connection's thread.
using Bell = std::shared_ptr<asio::steady_timer>;

std::shared_ptr<Outbox> make_outbox(const Bell& bell, Index limit) {
  return std::make_shared<Outbox>([bell] { asio::post(bell->get_executor(), [bell] { bell->cancel(); }); }, limit);
}

template <class Next>
using Socket = ws::stream<Next, false>;  // detector data does not deflate; without, a connection takes less memory

template <class Next>
void configure(Socket<Next>& socket, const WebSocketLimits& limits) {
  const auto seconds = [](double s) {
    return std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(s));
  };
  ws::stream_base::timeout timeout;
  timeout.handshake_timeout = std::min(seconds(limits.idle_s), seconds(10));
  timeout.idle_timeout = seconds(limits.idle_s);
  timeout.keep_alive_pings = true;
  socket.set_option(timeout);
  socket.read_message_max(static_cast<std::size_t>(limits.message_bytes));
  socket.auto_fragment(false);
}

template <class Next>
awaitable<void> write_messages(Socket<Next>& socket, std::shared_ptr<Outbox> outbox, Bell bell, bool& done,
                               asio::steady_timer& finished) {
  Outbox::Message message;
  error_code error, woken;
  while (!error) {
    bell->expires_at(SteadyTime::max());  // before looking: a bell that rings later cuts the wait short
    const Outbox::Next next = outbox->next(message);
    if (next == Outbox::Next::end) break;
    if (next == Outbox::Next::wait) {
      co_await bell->async_wait(into(woken));
      continue;
    }
    socket.binary(message.binary);
    co_await socket.async_write(asio::buffer(message.payload), into(error));
    if (message.payload.capacity() > (1 << 16)) message = {};
  }
  if (!error && !socket.is_open()) error = asio::error::not_connected;
  if (!error) co_await socket.async_close(outbox->reason(), into(error));
  // Without an orderly end, the reader must not wait for a peer that is gone.
  if (error) beast::get_lowest_layer(socket).close(error);
  done = true;
  finished.cancel();
}

/// Reads until the connection ends; writes meanwhile. Returns why it ended.
template <class Next>
awaitable<std::string> exchange(Socket<Next>& socket, std::shared_ptr<Outbox> outbox, Bell bell,
                                const WebSocket::Events& events, asio::thread_pool& pool) {
  const auto executor = co_await asio::this_coro::executor;
  bool written = false;
  asio::steady_timer finished(executor, SteadyTime::max());
  asio::co_spawn(executor, write_messages(socket, outbox, bell, written, finished), asio::detached);
  beast::flat_buffer buffer;
  error_code error;
  std::string why;
  while (why.empty()) {
    co_await socket.async_read(buffer, into(error));
    if (error) break;
    bool failed = false;
    try {  // nothing may leave this function before the writer has ended
      std::string message(static_cast<const char*>(buffer.data().data()), buffer.data().size());
      const bool binary = socket.got_binary();
      buffer.consume(buffer.size());
      if (buffer.capacity() > (1 << 16)) buffer.shrink_to_fit();
      if (!events.message) continue;
      const bool quick = std::ssize(message) <= events.quick_bytes;
      auto work = [&] { events.message(std::move(message), binary); };
      if (quick) work();
      else co_await on_pool(pool, work);
    } catch (const std::exception& e) {
      why = fmt::format("a message could not be handled: {}", e.what());
      failed = true;
    }
    if (failed) outbox->close(1011, "a message could not be handled");
  }
  if (error == ws::error::closed) {
    const auto& reason = socket.reason();
    why = fmt::format("closed with {}{}{}", reason.code, reason.reason.empty() ? "" : ": ",
                      std::string_view(reason.reason.data(), reason.reason.size()));
  } else if (why.empty()) {
    why = error.message();
  }
  if (error) outbox->finish();
  error_code woken;
  while (!written) co_await finished.async_wait(into(woken));
  outbox->finish();
  co_return why;
}

template <class Next>
awaitable<void> accept(Next& next, const Request& request, WebSocketSession session, const WebSocketLimits& limits,
                       asio::thread_pool& pool, std::function<void(std::shared_ptr<WebSocket>)> accepted) {
  Socket<Next&> socket(next);
  configure(socket, limits);
  beast::http::request<beast::http::empty_body> upgrade(beast::http::verb::get, request.target, 11);
  for (const auto& [name, value] : request.headers) upgrade.insert(name, value);
  error_code error;
  co_await socket.async_accept(upgrade, into(error));
  if (error) {
    if (session.events.closed) {
      auto work = [&] { session.events.closed(error.message()); };
      co_await on_pool(pool, work);
    }
    co_return;
  }
  const auto executor = co_await asio::this_coro::executor;
  const Bell bell = std::make_shared<asio::steady_timer>(executor);
  const auto outbox = make_outbox(bell, limits.queued_bytes);
  accepted(outbox);
  auto open = [&] {
    if (session.open) session.open(outbox);
  };
  std::string why;
  try {
    co_await on_pool(pool, open);
  } catch (const std::exception& e) {
    why = fmt::format("the connection could not be taken: {}", e.what());
  }
  if (!why.empty()) outbox->finish();  // who was handed it must not wait for it
  else why = co_await exchange(socket, outbox, bell, session.events, pool);
  auto close = [&] {
    if (session.events.closed) session.events.closed(why);
    session = {};  // what the callbacks hold may take its time to go
  };
  co_await on_pool(pool, close);
}

template <class Next>
awaitable<void> shake_hands(Socket<Next&>& socket, const Url& url, const Headers& headers,
                            std::unique_ptr<Error>& failed) {
  socket.set_option(ws::stream_base::decorator([&headers](ws::request_type& request) {
    for (const auto& [name, value] : headers) request.insert(name, value);
  }));
  ws::response_type response;
  error_code error;
  co_await socket.async_handshake(response, url.authority(), url.target, into(error));
  if (error == ws::error::upgrade_declined) {
    const ClientResponse answer{static_cast<int>(response.result_int()), {}, std::string(response.body())};
    failed = std::make_unique<Error>(status_error(answer, url.origin() + url.target));
  } else if (error) {
    failed = std::make_unique<Error>(ErrorCode::unavailable,
                                     fmt::format("{}{}: {}", url.origin(), url.target, error.message()));
  }
}

/// A client's connection with the threads that serve it.
struct ClientThreads {
  Url url;
  WebSocket::Events events;
  WebSocketOptions options;
  asio::io_context io{1};
  asio::thread_pool callbacks{1};
  std::unique_ptr<Stream> stream;
  std::shared_ptr<Outbox> outbox;
  std::promise<void> connected;
  std::thread thread;

  template <class Next>
  awaitable<void> serve(Next& next) {
    Socket<Next&> socket(next);
    configure(socket, options.limits);
    std::unique_ptr<Error> failed;
    co_await shake_hands(socket, url, options.headers, failed);
    if (failed) {
      connected.set_exception(std::make_exception_ptr(*failed));
      co_return;
    }
    const Bell bell = std::make_shared<asio::steady_timer>(io);
    outbox = make_outbox(bell, options.limits.queued_bytes);
    connected.set_value();
    const std::string why = co_await exchange(socket, outbox, bell, events, callbacks);
    auto close = [&] {
      if (events.closed) events.closed(why);
    };
    co_await on_pool(callbacks, close);
  }

  awaitable<void> run() {
    Error error(ErrorCode::internal, "");
    std::shared_ptr<asio::ssl::context> context;
    if (url.secure) context = client_context(options.trust);
    stream = co_await connect(url.host, url.port, context, {}, error);
    if (!stream) {
      connected.set_exception(std::make_exception_ptr(error));
      co_return;
    }
    if (auto* tls = stream->tls()) co_await serve(*tls);
    else co_await serve(stream->socket());
  }

  void end() {
    if (outbox) outbox->close(1000, {});
    // The closing handshake may take its time, but not for ever.
    asio::post(io, [this] {
      auto timer = std::make_shared<asio::steady_timer>(io, std::chrono::seconds(2));
      timer->async_wait([this, timer](const error_code&) {
        if (stream) stream->abort();
      });
      patience = timer;
    });
    thread.join();
    callbacks.join();
  }
  std::weak_ptr<asio::steady_timer> patience;
};

class ClientSocket final : public WebSocket {
public:
  explicit ClientSocket(std::shared_ptr<ClientThreads> threads) : threads_(std::move(threads)) {}
  ~ClientSocket() override {
    // Its own callbacks cannot wait for themselves.
    if (threads_->callbacks.get_executor().running_in_this_thread() ||
        threads_->thread.get_id() == std::this_thread::get_id())
      std::thread([threads = threads_] { threads->end(); }).detach();
    else threads_->end();
  }
  ClientSocket(const ClientSocket&) = delete;
  ClientSocket& operator=(const ClientSocket&) = delete;

  bool send(std::string message, bool binary) override { return threads_->outbox->send(std::move(message), binary); }
  bool send_latest(const std::string& channel, std::string message) override {
    return threads_->outbox->send_latest(channel, std::move(message));
  }
  void close(int code, std::string reason) override { threads_->outbox->close(code, std::move(reason)); }
  bool closed() const override { return threads_->outbox->closed(); }
  Index queued_bytes() const override { return threads_->outbox->queued_bytes(); }

private:
  std::shared_ptr<ClientThreads> threads_;
};
}  // namespace

awaitable<void> serve_websocket(Stream& stream, const Request& request, WebSocketSession session,
                                const WebSocketLimits& limits, asio::thread_pool& pool,
                                std::function<void(std::shared_ptr<WebSocket>)> accepted) {
  if (auto* tls = stream.tls()) co_await accept(*tls, request, std::move(session), limits, pool, std::move(accepted));
  else co_await accept(stream.socket(), request, std::move(session), limits, pool, std::move(accepted));
}

std::shared_ptr<WebSocket> connect_websocket(const std::string& url, WebSocket::Events events,
                                             const WebSocketOptions& options) {
  auto threads = std::make_shared<ClientThreads>();
  threads->url = core::value_or_throw(parse_url(url));
  threads->events = std::move(events);
  threads->options = options;
  auto connected = threads->connected.get_future();
  asio::co_spawn(threads->io, threads->run(), [t = threads.get()](const std::exception_ptr& failure) {
    if (failure && !t->outbox) t->connected.set_exception(failure);
    t->io.stop();
  });
  threads->thread = std::thread([t = threads.get()] { t->io.run(); });
  const auto give_up = [&] {
    threads->io.stop();
    threads->thread.join();
    threads->callbacks.join();
  };
  if (connected.wait_for(std::chrono::duration<double>(options.connect_timeout_s)) != std::future_status::ready) {
    give_up();
    throw Error(ErrorCode::timeout, fmt::format("cannot connect to {} within {} s", url, options.connect_timeout_s));
  }
  try {
    connected.get();
  } catch (...) {
    give_up();
    throw;
  }
  return std::make_shared<ClientSocket>(std::move(threads));
}

}  // namespace farfield::net
