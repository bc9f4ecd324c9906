#include "farfield/net/server.hpp"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "farfield/core/log.hpp"
#include "farfield/net/asio/connection.hpp"

namespace farfield::net {
namespace {
using core::Error;
using core::ErrorCode;

constexpr std::chrono::milliseconds kSweep{50};

/// One event loop with the connections that live on it.
struct IoThread {
  asio::io_context io{1};
  asio::executor_work_guard<asio::io_context::executor_type> guard = asio::make_work_guard(io);
  asio::steady_timer timer{io};
  std::set<std::shared_ptr<Connection>> connections;
  std::thread thread;

  void sweep() {
    timer.expires_after(kSweep);
    timer.async_wait([this](const error_code& error) {
      if (error) return;
      const auto now = std::chrono::steady_clock::now();
      for (const auto& connection : connections) connection->sweep(now);
      sweep();
    });
  }
};

void check(const ServerOptions& o) {
  const auto require = [](bool good, std::string_view what, auto value, std::string_view allowed) {
    if (!good)
      throw Error(ErrorCode::invalid_argument, fmt::format("server option {} = {} must be {}", what, value, allowed));
  };
  require(o.io_threads >= 1 && o.io_threads <= 256, "io_threads", o.io_threads, "1 to 256");
  require(o.handler_threads >= 1 && o.handler_threads <= 4096, "handler_threads", o.handler_threads, "1 to 4096");
  require(o.connections >= 1, "connections", o.connections, ">= 1");
  require(o.header_bytes >= 256 && o.header_bytes <= 65536, "header_bytes", o.header_bytes, "256 to 65536");
  require(o.body_bytes >= 0, "body_bytes", o.body_bytes, ">= 0");
  for (const double s : {o.header_timeout_s, o.body_timeout_s, o.idle_timeout_s, o.keep_alive_s})
    require(s > 0 && s < 1e6, "time-out", s, "> 0 s and < 1e6 s");
}
}  // namespace

struct Server::Impl {
  Impl(ServerOptions options, Router router) : shared(std::move(options), std::move(router)) {
    for (int i = 0; i < shared.options.io_threads; ++i) threads.push_back(std::make_unique<IoThread>());
    acceptor = std::make_unique<tcp::acceptor>(threads[0]->io);
  }

  void listen() {
    const auto& options = shared.options;
    error_code error;
    const auto address = asio::ip::make_address(options.address, error);
    if (error)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("cannot listen at {:?}: it must be a numeric address of this machine", options.address));
    const tcp::endpoint endpoint(address, options.port);
    acceptor->open(endpoint.protocol(), error);
    if (!error) acceptor->set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor->bind(endpoint, error);
    if (!error) acceptor->listen(asio::socket_base::max_listen_connections, error);
    if (error)
      throw Error(ErrorCode::io,
                  fmt::format("cannot listen at {}:{}: {}", options.address, options.port, error.message()));
    port = acceptor->local_endpoint().port();
  }

  std::shared_ptr<asio::ssl::context> context() {
    const std::lock_guard lock(mutex);
    return tls;
  }

  awaitable<void> accept() {
    std::size_t turn = 0;
    asio::steady_timer pause(threads[0]->io);
    while (!shared.stopping) {
      error_code error;
      IoThread& thread = *threads[turn++ % threads.size()];
      const bool full = shared.connections >= shared.options.connections;
      if (!full) {
        tcp::socket socket(thread.io);
        co_await acceptor->async_accept(socket, asio::redirect_error(asio::use_awaitable, error));
        if (!error) begin(thread, std::move(socket));
      }
      if (error == asio::error::operation_aborted) co_return;
      if (full || error) {
        // Out of descriptors, or of room: those who wait in the kernel's queue are served when others have gone.
        if (error) core::log(core::LogLevel::warning, "accept_failed", {{"error", error.message()}});
        pause.expires_after(kSweep);
        error.clear();
        co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
      }
    }
  }

  void begin(IoThread& thread, tcp::socket socket) {
    error_code error;
    socket.set_option(tcp::no_delay(true), error);
    const auto peer = socket.remote_endpoint(error);
    if (error) return;  // has gone already
    const auto address = peer.address();
    std::string client = address.is_v6() && address.to_v6().is_v4_mapped()
                             ? asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6()).to_string()
                             : address.to_string();
    const auto secure = context();
    auto stream =
        secure ? std::make_unique<Stream>(std::move(socket), *secure) : std::make_unique<Stream>(std::move(socket));
    auto connection = std::make_shared<Connection>(shared, std::move(stream), std::move(client));
    ++shared.connections;
    asio::post(thread.io, [this, &thread, connection, secure] {
      if (shared.stopping) {
        leave();
        return;
      }
      thread.connections.insert(connection);
      asio::co_spawn(thread.io, connection->run(), [this, &thread, connection, secure](const std::exception_ptr& e) {
        if (e) {
          try {
            std::rethrow_exception(e);
          } catch (const std::exception& failure) {
            core::log(core::LogLevel::error, "connection_failed", {{"error", failure.what()}});
          }
          connection->abort();
        }
        thread.connections.erase(connection);
        leave();
      });
    });
  }

  void leave() {
    const std::lock_guard lock(mutex);
    --shared.connections;
    left.notify_all();
  }

  template <class F>
  void on_every_connection(F act) {
    for (auto& thread : threads)
      asio::post(thread->io, [&thread = *thread, act] {
        const auto connections = thread.connections;  // act() may end one
        for (const auto& connection : connections) act(*connection);
      });
  }

  void stop(double grace_s) {
    if (stopped) return;
    stopped = true;
    shared.stopping = true;
    asio::post(threads[0]->io, [this] {
      error_code ignored;
      acceptor->close(ignored);
    });
    on_every_connection([](Connection& connection) { connection.retire(); });
    {
      std::unique_lock lock(mutex);
      left.wait_for(lock, std::chrono::duration<double>(grace_s), [this] { return shared.connections == 0; });
    }
    on_every_connection([](Connection& connection) { connection.abort(); });
    {
      // What is left are handlers at work: their connections are gone, but what they use must not go before them.
      std::unique_lock lock(mutex);
      left.wait(lock, [this] { return shared.connections == 0; });
    }
    shared.handlers.join();
    for (auto& thread : threads) {
      thread->io.stop();
      thread->thread.join();
    }
  }

  Shared shared;
  std::vector<std::unique_ptr<IoThread>> threads;
  std::unique_ptr<tcp::acceptor> acceptor;
  std::uint16_t port = 0;
  std::mutex mutex;
  std::condition_variable left;
  std::shared_ptr<asio::ssl::context> tls;
  bool stopped = false;
};

Server::Server(ServerOptions options, Router router) {
  check(options);
  impl_ = std::make_unique<Impl>(std::move(options), std::move(router));
  reload_tls();
  impl_->listen();
  auto* impl = impl_.get();
  asio::co_spawn(impl->threads[0]->io, impl->accept(), asio::detached);
  for (auto& thread : impl->threads) {
    thread->sweep();
    thread->thread = std::thread([t = thread.get()] { t->io.run(); });
  }
}

Server::~Server() {
  try {
    impl_->stop(0);
  } catch (...) {
    std::terminate();  // threads that cannot be stopped still use what would go now
  }
}

std::uint16_t Server::port() const { return impl_->port; }

std::string Server::origin() const {
  Url url;
  url.secure = impl_->shared.options.tls.given();
  url.host = impl_->shared.options.address;
  url.port = impl_->port;
  return url.origin();
}

ServerStatistics Server::statistics() const {
  const Shared& s = impl_->shared;
  return {s.connections, s.requests, s.refused, s.timed_out};
}

void Server::reload_tls() {
  const TlsIdentity& identity = impl_->shared.options.tls;
  if (!identity.given()) return;
  auto context = server_context(identity);
  const std::lock_guard lock(impl_->mutex);
  impl_->tls = std::move(context);
}

void Server::stop(double grace_s) { impl_->stop(grace_s); }

}  // namespace farfield::net
