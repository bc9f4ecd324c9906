#include "apps/farfield/service_client.hpp"

#include <fmt/format.h>

#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>

#include "farfield/core/log.hpp"
#include "farfield/net/url.hpp"

namespace farfield::apps {
namespace {
using core::Error;
using core::ErrorCode;
using nlohmann::json;

constexpr double kSilence_s = 40;  ///< a stream of events carries something every 15 s
constexpr double kPause_s = 0.5, kLongestPause_s = 15;

Error failure(const net::ClientResponse& response, const std::string& what) {
  const Error plain = net::status_error(response, what);
  const auto body = json::parse(response.body, nullptr, false);
  if (!body.is_object() || !body.contains("error") || !body["error"].is_object() ||
      !body["error"].contains("message") || !body["error"]["message"].is_string())
    return plain;
  return {plain.code(), body["error"]["message"].get<std::string>()};
}

struct Seen {};  ///< ends a stream from within

struct EventSink final : net::BodySink {
  explicit EventSink(std::function<void(const net::Event&)> on_event) : parser(std::move(on_event)) {}
  void write(std::span<const std::byte> bytes) override {
    parser.write({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  net::EventParser parser;
};
}  // namespace

ServiceClient::ServiceClient(const Remote& remote, std::function<std::string()> token)
    : client_(std::make_shared<net::Client>(
          remote.origin,
          net::ClientOptions{
              .trust = {.authorities = remote.authority}, .idle_timeout_s = kSilence_s, .body_bytes = 256 << 20})),
      token_(std::move(token)) {}

ServiceClient ServiceClient::logged_in(const std::string& url) {
  const std::string origin = core::value_or_throw(net::parse_url(url)).origin();
  Credentials credentials(credentials_folder());
  const Remote remote = credentials.remote(origin);
  return {remote, [credentials, remote]() mutable { return credentials.access_token(remote); }};
}

std::string ServiceClient::call(const std::string& method, const std::string& target, const std::string& body,
                                const std::stop_token& stop) const {
  net::ClientRequest request{.method = method, .target = target, .headers = {{"Authorization", "Bearer " + token_()}}};
  if (!body.empty()) request.headers.add("Content-Type", "application/json");
  request.body = body;
  auto response = client_->send(request, stop);
  if (!response.ok()) throw failure(response, fmt::format("{} {}", method, origin()));
  return std::move(response.body);
}

void ServiceClient::follow(const std::string& target, const std::function<bool(const net::Event&)>& on_event,
                           const std::stop_token& stop) const {
  std::string last_id;
  double pause_s = kPause_s;
  while (true) {
    EventSink sink([&](const net::Event& event) {
      pause_s = kPause_s;
      if (!event.id.empty()) last_id = event.id;
      if (!on_event(event)) throw Seen();
    });
    try {
      net::ClientRequest request{.target = target, .headers = {{"Authorization", "Bearer " + token_()}}};
      if (!last_id.empty()) request.headers.add("Last-Event-ID", last_id);
      const auto response = client_->send(request, sink, stop);
      if (!response.ok()) throw failure(response, "GET " + origin());
    } catch (const Seen&) {
      return;
    } catch (const Error& e) {
      // A stream that breaks off is how a service that restarts looks.
      if (!core::traits(e.code()).retryable && e.code() != ErrorCode::corrupt_data) throw;
      core::log(core::LogLevel::warning, "events_interrupted", {{"at", origin()}, {"error", e.what()}});
    }
    std::mutex mutex;
    std::condition_variable_any never;
    std::unique_lock lock(mutex);
    never.wait_for(lock, stop, std::chrono::duration<double>(pause_s), [] { return false; });
    if (stop.stop_requested()) throw Error(ErrorCode::cancelled, "cancelled");
    pause_s = std::min(kLongestPause_s, 2 * pause_s);
  }
}

}  // namespace farfield::apps
