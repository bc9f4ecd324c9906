#include "farfield/net/asio/stream.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/connect.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstring>

namespace farfield::net {
namespace {
using core::Error;
using core::ErrorCode;

auto into(error_code& error) { return asio::redirect_error(asio::use_awaitable, error); }
}  // namespace

tcp::socket& Stream::socket() {
  if (auto* tcp_layer = std::get_if<0>(&layer_)) return **tcp_layer;
  return std::get<1>(layer_)->next_layer();
}

TlsStream* Stream::tls() {
  auto* layer = std::get_if<1>(&layer_);
  return layer == nullptr ? nullptr : layer->get();
}

awaitable<void> Stream::handshake(bool server, error_code& error) {
  if (auto* layer = tls())
    co_await layer->async_handshake(server ? asio::ssl::stream_base::server : asio::ssl::stream_base::client,
                                    into(error));
}

awaitable<std::size_t> Stream::read_some(asio::mutable_buffer buffer, error_code& error) {
  std::size_t n = 0;
  if (auto* layer = tls()) n = co_await layer->async_read_some(buffer, into(error));
  else n = co_await socket().async_read_some(buffer, into(error));
  co_return n;
}

awaitable<std::size_t> Stream::write_some(asio::const_buffer buffer, error_code& error) {
  std::size_t n = 0;
  if (auto* layer = tls()) n = co_await layer->async_write_some(buffer, into(error));
  else n = co_await socket().async_write_some(buffer, into(error));
  co_return n;
}

awaitable<std::size_t> Stream::write_some(std::array<asio::const_buffer, 2> buffers, error_code& error) {
  std::size_t n = 0;
  if (auto* layer = tls()) n = co_await layer->async_write_some(buffers, into(error));
  else n = co_await socket().async_write_some(buffers, into(error));
  co_return n;
}

awaitable<void> Stream::close_notify() {
  error_code ignored;
  if (auto* layer = tls()) {
    // One record, without waiting for the peer's: SSL_shutdown() queues it, the next write would carry it. Asio's
    // async_shutdown waits for the answer, so the caller's deadline ends it.
    co_await layer->async_shutdown(into(ignored));
  }
}

bool Stream::readable() {
  error_code ignored;
  if (auto* layer = tls())
    if (SSL_pending(layer->native_handle()) > 0) return true;
  return socket().available(ignored) > 0;
}

void Stream::abort() {
  error_code ignored;
  socket().cancel(ignored);
  socket().close(ignored);
}

asio::mutable_buffer InputBuffer::prepare(std::size_t n) {
  const std::size_t used = end_ - begin_;
  if (capacity_ - end_ < n) {
    if (capacity_ >= used + n) {
      std::memmove(data_.get(), data_.get() + begin_, used);
    } else {
      const std::size_t capacity = std::max(used + n, capacity_ * 2);
      auto grown = std::make_unique_for_overwrite<char[]>(capacity);
      if (used > 0) std::memcpy(grown.get(), data_.get() + begin_, used);
      data_ = std::move(grown);
      capacity_ = capacity;
    }
    begin_ = 0;
    end_ = used;
  }
  return {data_.get() + end_, capacity_ - end_};
}

void InputBuffer::shrink() {
  constexpr std::size_t kKept = 16 << 10;
  if (capacity_ <= kKept) return;
  data_.reset();
  capacity_ = begin_ = end_ = 0;
}

std::shared_ptr<asio::ssl::context> server_context(const TlsIdentity& identity) {
  check_private(identity.key);
  (void)read_certificate(identity.certificate);
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_server);
  SSL_CTX* native = context->native_handle();
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  SSL_CTX_set_options(native, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(native, SSL_MODE_RELEASE_BUFFERS);
  error_code error;
  context->use_certificate_chain_file(identity.certificate.string(), error);
  if (error)
    throw Error(ErrorCode::corrupt_data,
                fmt::format("cannot use the certificate {}: {}", identity.certificate.string(), error.message()));
  context->use_private_key_file(identity.key.string(), asio::ssl::context::pem, error);
  if (error || SSL_CTX_check_private_key(native) != 1)
    throw Error(ErrorCode::corrupt_data,
                fmt::format("{} is not the private key (PEM, without a password) of the certificate {}",
                            identity.key.string(), identity.certificate.string()));
  return context;
}

std::shared_ptr<asio::ssl::context> client_context(const TlsTrust& trust) {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_client);
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
  error_code error;
  if (!trust.pem.empty()) {
    context->add_certificate_authority(asio::buffer(trust.pem), error);
  } else if (trust.authorities.empty()) {
    context->set_default_verify_paths(error);
  } else {
    (void)read_certificate(trust.authorities);
    context->load_verify_file(trust.authorities.string(), error);
  }
  if (error)
    throw Error(ErrorCode::corrupt_data,
                fmt::format("cannot use the authorities{}: {}",
                            trust.authorities.empty() ? "" : " " + trust.authorities.string(), error.message()));
  context->set_verify_mode(asio::ssl::verify_peer);
  return context;
}

void expect_host(TlsStream& stream, const std::string& host) {
  error_code not_an_address;
  asio::ip::make_address(host, not_an_address);
  // Server name indication is for names only (RFC 6066).
  if (not_an_address) SSL_set_tlsext_host_name(stream.native_handle(), host.c_str());
  stream.set_verify_callback(asio::ssl::host_name_verification(host));
}

core::Error transport_error(const error_code& error, const std::string& what, Stream* stream) {
  if (error.category() == asio::error::get_ssl_category() && stream != nullptr && stream->tls() != nullptr) {
    const long verified = SSL_get_verify_result(stream->tls()->native_handle());
    if (verified != X509_V_OK)
      return {ErrorCode::forbidden,
              fmt::format("{}: the certificate is not trusted: {}", what, X509_verify_cert_error_string(verified))};
  }
  return {ErrorCode::unavailable, fmt::format("{}: {}", what, error.message())};
}

awaitable<std::unique_ptr<Stream>> connect(std::string host, std::uint16_t port,
                                           std::shared_ptr<asio::ssl::context> context, AddressRule allowed,
                                           core::Error& failure) {
  const auto executor = co_await asio::this_coro::executor;
  const std::string what = fmt::format("cannot connect to {}:{}", host, port);
  error_code error;
  tcp::socket socket(executor);
  std::vector<tcp::endpoint> found;
  const auto address = asio::ip::make_address(host, error);
  if (!error) {
    found.emplace_back(address, port);
  } else {
    tcp::resolver resolver(executor);
    error.clear();
    const auto resolved = co_await resolver.async_resolve(host, std::to_string(port), into(error));
    for (const auto& one : resolved) found.push_back(one.endpoint());
  }
  // What is looked at here is what is connected to: a name that leads elsewhere the next time does not matter.
  if (allowed && std::erase_if(found, [&](const tcp::endpoint& one) {
        return !allowed(one.address().to_string());
      }) > 0 && found.empty()) {
    failure = Error(ErrorCode::forbidden, what + ": this address is not allowed");
    co_return nullptr;
  }
  if (!error) co_await asio::async_connect(socket, found, into(error));
  if (error) {
    failure = transport_error(error, what);
    co_return nullptr;
  }
  socket.set_option(tcp::no_delay(true), error);
  if (!context) co_return std::make_unique<Stream>(std::move(socket));
  auto stream = std::make_unique<Stream>(std::move(socket), *context);
  expect_host(*stream->tls(), host);
  error.clear();
  co_await stream->handshake(false, error);
  if (error) {
    failure = transport_error(error, what, stream.get());
    co_return nullptr;
  }
  co_return stream;
}

}  // namespace farfield::net
