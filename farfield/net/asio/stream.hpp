#pragma once
// Of this room only: a TCP or TLS connection as coroutines see it, and what server and client do alike with it.

#include <utility>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/system/error_code.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "farfield/core/error.hpp"
#include "farfield/net/tls.hpp"

namespace farfield::net {

namespace asio = boost::asio;
using asio::awaitable;
using asio::ip::tcp;
using boost::system::error_code;
using SteadyTime = std::chrono::steady_clock::time_point;

inline SteadyTime after(double seconds) {
  return std::chrono::steady_clock::now() +
         std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(seconds));
}

using TlsStream = asio::ssl::stream<tcp::socket>;

/// Plain or over TLS. Used on one thread, by one reader and one writer at a time.
class Stream {
public:
  explicit Stream(tcp::socket socket) : layer_(std::make_unique<tcp::socket>(std::move(socket))) {}
  Stream(tcp::socket socket, asio::ssl::context& context)
      : layer_(std::make_unique<TlsStream>(std::move(socket), context)) {}

  tcp::socket& socket();
  TlsStream* tls();
  /// TCP: nothing to do.
  awaitable<void> handshake(bool server, error_code& error);
  awaitable<std::size_t> read_some(asio::mutable_buffer into, error_code& error);
  awaitable<std::size_t> write_some(asio::const_buffer from, error_code& error);
  awaitable<std::size_t> write_some(std::array<asio::const_buffer, 2> from, error_code& error);
  /// TLS: tells the peer that this is the end, so that it is no truncation.
  awaitable<void> close_notify();
  /// Bytes that a read would return at once.
  bool readable();
  /// Ends whatever is under way, now.
  void abort();

private:
  std::variant<std::unique_ptr<tcp::socket>, std::unique_ptr<TlsStream>> layer_;
};

/// Bytes that were received and not yet understood.
class InputBuffer {
public:
  std::string_view view() const { return {data_.get() + begin_, end_ - begin_}; }
  void consume(std::size_t n) {
    begin_ += n;
    if (begin_ == end_) begin_ = end_ = 0;
  }
  /// Room for at least `n` more bytes behind the view.
  asio::mutable_buffer prepare(std::size_t n);
  void commit(std::size_t n) { end_ += n; }
  /// Gives large memory back; only where the view is empty.
  void shrink();

private:
  std::unique_ptr<char[]> data_;
  std::size_t capacity_ = 0, begin_ = 0, end_ = 0;
};

/// Throws `forbidden` (the key is not private), `not_found`, `corrupt_data`.
std::shared_ptr<asio::ssl::context> server_context(const TlsIdentity& identity);
/// Throws `not_found`, `corrupt_data`.
std::shared_ptr<asio::ssl::context> client_context(const TlsTrust& trust);
/// Checks the peer's name at the handshake.
void expect_host(TlsStream& stream, const std::string& host);

using AddressRule = std::function<bool(const std::string& address)>;

/// Connects to the first address of `host` that answers and is `allowed` (empty: all are), with the TLS handshake if
/// `context` is given. Returns without a stream and with the error otherwise.
awaitable<std::unique_ptr<Stream>> connect(std::string host, std::uint16_t port,
                                           std::shared_ptr<asio::ssl::context> context, AddressRule allowed,
                                           core::Error& error);

/// An error of the transport as one of ours: `unavailable`, `forbidden` (certificate).
core::Error transport_error(const error_code& error, const std::string& what, Stream* stream = nullptr);

}  // namespace farfield::net
