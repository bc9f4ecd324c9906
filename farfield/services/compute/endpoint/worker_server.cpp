#include "farfield/services/compute/endpoint/worker_server.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>

#include "farfield/core/error.hpp"
#include "farfield/core/log.hpp"
#include "farfield/services/auth/secret.hpp"
#include "farfield/services/compute/small_file.hpp"

namespace farfield::services::compute {
namespace {

namespace fs = std::filesystem;
using core::Error;
using core::ErrorCode;

constexpr core::Index kLongestMessage = core::Index{64} << 20;
constexpr double kRenew_days = 400;  ///< longer than any block lives

bool is_loopback(const std::string& address) {
  return address.starts_with("127.") || address == "::1" || address == "localhost";
}
bool is_numeric(const std::string& address) {
  std::array<unsigned char, sizeof(in6_addr)> bytes{};
  return ::inet_pton(AF_INET, address.c_str(), bytes.data()) == 1 ||
         ::inet_pton(AF_INET6, address.c_str(), bytes.data()) == 1;
}

/// Made for this address, and lasts.
bool is_good(const fs::path& certificate, const std::string& address) {
  if (!fs::exists(certificate)) return false;
  const net::CertificateInfo info = net::read_certificate(certificate);
  return info.days_left > kRenew_days && std::find(info.names.begin(), info.names.end(), address) != info.names.end();
}

}  // namespace

WorkerServer::WorkerServer(const std::string& folder, const std::string& address, std::uint16_t port, Events events)
    : events_(std::move(events)) {
  net::Router router;
  router.websocket("/blocks/{block}", [this](const net::Request& r) { return accept(r); });
  net::ServerOptions how;
  how.address = is_numeric(address) ? address : is_loopback(address) ? "127.0.0.1" : "0.0.0.0";
  how.websocket.message_bytes = kLongestMessage;
  how.websocket.queued_bytes = 2 * kLongestMessage;
  how.handler_threads = 4;
  if (!is_loopback(address)) {
    how.tls = {folder + "/worker.pem", folder + "/worker.key"};
    if (!is_good(how.tls.certificate, address)) net::make_self_signed(how.tls, {address});
    certificate_ = how.tls.certificate.string();
  }
  const std::string path = folder + "/port";
  how.port = port;
  if (port == 0 && fs::exists(path)) {
    const std::string text = read_small(path, 16);
    std::from_chars(text.data(), text.data() + text.size(), how.port);
  }
  try {
    server_.emplace(how, router);
  } catch (const Error&) {
    if (port != 0 || how.port == 0) throw;
    how.port = 0;
    server_.emplace(how, router);
  }
  write_private(path, fmt::format("{}", server_->port()));
  const bool ipv6 = address.find(':') != std::string::npos;
  link_ = fmt::format("{}://{}{}{}:{}", certificate_.empty() ? "ws" : "wss", ipv6 ? "[" : "", address, ipv6 ? "]" : "",
                      server_->port());
}

net::WebSocketSession WorkerServer::accept(const net::Request& request) const {
  auto line = std::make_shared<WorkerLine>();
  line->block = request.parameter("block");
  const std::string secret = events_.secret(line->block);
  const std::string* given = request.headers.find("Authorization");
  if (secret.empty() || given == nullptr || !auth::equal_secrets(*given, "Bearer " + secret))
    throw Error(ErrorCode::unauthenticated, "not a worker of this endpoint");
  net::WebSocketSession session;
  session.events.quick_bytes = kQuickBytes;
  session.open = [line](std::shared_ptr<net::WebSocket> socket) { line->socket = std::move(socket); };
  session.events.message = [this, line](std::string text, bool binary) {
    if (binary) return events_.preview(std::move(text));
    try {
      events_.message(line, decode(text));
    } catch (const Error& e) {
      core::log(core::LogLevel::error, "worker_speaks_nonsense", {{"block", line->block}, {"reason", e.what()}});
      line->socket->close(1008, "not understood");
    }
  };
  session.events.closed = [this, line](const std::string&) { events_.closed(line); };
  return session;
}

}  // namespace farfield::services::compute
