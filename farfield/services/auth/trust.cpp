#include "farfield/services/auth/trust.hpp"

#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "farfield/core/log.hpp"
#include "farfield/net/event_stream.hpp"

namespace farfield::services::auth {
namespace {
using nlohmann::json;

struct EventSink final : net::BodySink {
  explicit EventSink(std::function<void(const net::Event&)> on_event) : parser(std::move(on_event), 1 << 16) {}
  void write(std::span<const std::byte> bytes) override {
    parser.write({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  net::EventParser parser;
};
}  // namespace

struct TrustFeed::State {
  State(const std::string& origin, std::function<std::string()> t, Verifier& v, TrustOptions o)
      // The stream carries a comment every 15 s; silence for longer is a broken connection.
      : client(origin, {.trust = o.tls, .idle_timeout_s = 40}),
        token(std::move(t)),
        verifier(v),
        options(std::move(o)) {}

  net::Client client;
  std::function<std::string()> token;
  Verifier& verifier;
  TrustOptions options;
  mutable std::mutex mutex;
  mutable std::condition_variable_any changed;
  bool keys_known = false, open = false;
  std::jthread keys, list;

  void set(bool& what, bool value) {
    const std::lock_guard lock(mutex);
    what = value;
    changed.notify_all();
  }
  void pause(const std::stop_token& stop, double seconds) const {
    std::unique_lock lock(mutex);
    changed.wait_for(lock, stop, std::chrono::duration<double>(seconds), [] { return false; });
  }

  void fetch_keys(const std::stop_token& stop) {
    const auto response = client.send({.target = "/oauth/jwks"}, stop);
    if (!response.ok()) throw net::status_error(response, "the keys of " + client.origin());
    core::value_or_throw(verifier.set_keys(response.body));
    set(keys_known, true);
  }

  void take(const net::Event& event) {
    if (event.name == "ready") return set(open, true);
    const json entry = json::parse(event.data, nullptr, false);
    if (event.name != "revoked" || !entry.is_object()) return;
    verifier.revocations().add(
        {entry.value("number", std::int64_t{0}), entry.value("id", ""), entry.value("until", std::int64_t{0})});
  }

  void follow(const std::stop_token& stop) {
    EventSink sink([this](const net::Event& event) { take(event); });
    const net::ClientRequest request{.target = "/oauth/revocations",
                                     .headers = {{"Authorization", "Bearer " + token()}}};
    // The whole list each time (it is short: entries live as long as tokens do). A number would not say what is known:
    // entries may come before older ones.
    const auto response = client.send(request, sink, stop);
    if (!response.ok()) throw net::status_error(response, "the revocations of " + client.origin());
  }

  /// Whether `act` ended without an error, which is logged.
  template <class F>
  bool attempt(const std::stop_token& stop, F act) {
    try {
      act();
      return true;
    } catch (const std::exception& e) {
      if (!stop.stop_requested()) core::log(core::LogLevel::warning, "issuer_out_of_reach", {{"error", e.what()}});
      return false;
    }
  }
  void keep_keys(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      const bool fetched = attempt(stop, [&] { fetch_keys(stop); });
      pause(stop, fetched ? options.keys_every_s : options.retry_s);
    }
  }
  void keep_list(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      attempt(stop, [&] { follow(stop); });
      set(open, false);
      pause(stop, options.retry_s);
    }
  }
};

TrustFeed::TrustFeed(const std::string& origin, std::function<std::string()> token, Verifier& verifier,
                     TrustOptions options)
    : state_(std::make_unique<State>(origin, std::move(token), verifier, std::move(options))) {
  auto* s = state_.get();
  s->keys = std::jthread([s](const std::stop_token& stop) { s->keep_keys(stop); });
  s->list = std::jthread([s](const std::stop_token& stop) { s->keep_list(stop); });
}
TrustFeed::~TrustFeed() = default;

bool TrustFeed::keys_known() const {
  const std::lock_guard lock(state_->mutex);
  return state_->keys_known;
}

bool TrustFeed::connected() const {
  const std::lock_guard lock(state_->mutex);
  return state_->keys_known && state_->open;
}

bool TrustFeed::wait_connected(double seconds) const {
  std::unique_lock lock(state_->mutex);
  return state_->changed.wait_for(lock, std::chrono::duration<double>(seconds),
                                  [this] { return state_->keys_known && state_->open; });
}

}  // namespace farfield::services::auth
