#include "farfield/services/flow/notify_actions.hpp"

#include <arpa/inet.h>
#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>

#include "farfield/core/error.hpp"
#include "farfield/core/log.hpp"
#include "farfield/net/client.hpp"
#include "farfield/net/url.hpp"
#include "farfield/services/flow/fields.hpp"
#include "farfield/services/flow/lines.hpp"
#include "farfield/services/flow/work_queue.hpp"

namespace farfield::services::flow {
namespace {
using core::Error;
using core::ErrorCode;

constexpr double kLongestPause_s = 60;
constexpr std::size_t kLongestPayload = 1 << 20;
constexpr int kMostHeaders = 20, kThreads = 4;

struct Network {
  std::uint32_t first;
  int bits;
};
// RFC 6890 and its updates: what is not routed on the public internet.
constexpr Network kNotPublic[] = {{0x00000000, 8},  {0x0a000000, 8},  {0x64400000, 10}, {0x7f000000, 8},
                                  {0xa9fe0000, 16}, {0xac100000, 12}, {0xc0000000, 24}, {0xc0000200, 24},
                                  {0xc0a80000, 16}, {0xc6120000, 15}, {0xc6336400, 24}, {0xcb007100, 24},
                                  {0xe0000000, 3}};

bool is_public(std::uint32_t address) {
  return std::none_of(std::begin(kNotPublic), std::end(kNotPublic),
                      [&](const Network& n) { return (address ^ n.first) >> (32 - n.bits) == 0; });
}

std::uint32_t big_endian(const unsigned char* bytes) {
  return std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 | std::uint32_t{bytes[2]} << 8 | bytes[3];
}

struct Message {
  net::Url url;
  net::Headers headers;
  std::string payload;
};

Message message_of(const ActionRequest& request, const NotifyOptions& options) {
  const Report refuse = [](const std::string& pointer, const std::string& what) {
    throw Error(ErrorCode::invalid_argument, fmt::format("{}: {}", pointer.empty() ? "/" : pointer, what));
  };
  const Json body = parse_json(request.body, "the body", kLongestPayload);
  const Fields fields(body, "", refuse);
  fields.is_object("the body of a notification");
  fields.only({"url", "payload", "headers"});
  Message out;
  out.url = core::value_or_throw(net::parse_url(fields.text("url", true).value_or("")));
  const bool trusted = std::find(options.allowed_hosts.begin(), options.allowed_hosts.end(), out.url.host) !=
                       options.allowed_hosts.end();
  if (!out.url.secure && !trusted) throw Error(ErrorCode::forbidden, "/url: only https is allowed");
  if (const Json* headers = fields.find("headers")) {
    if (!headers->is_object() || headers->size() > kMostHeaders)
      throw Error(ErrorCode::invalid_argument, fmt::format("/headers: an object of at most {} texts", kMostHeaders));
    for (const auto& [name, value] : headers->items()) {
      if (!value.is_string()) throw Error(ErrorCode::invalid_argument, fmt::format("/headers/{} must be text", name));
      out.headers.set(name, value.get<std::string>());
    }
  }
  for (const char* ours : {"Host", "Content-Length", "Transfer-Encoding", "Connection"})
    if (out.headers.contains(ours))
      throw Error(ErrorCode::invalid_argument, fmt::format("/headers: {} is not the flow's to set", ours));
  out.headers.set("Content-Type", "application/json");
  out.headers.set("Idempotency-Key", request.key);
  out.payload = to_text(body.value("payload", Json::object()));
  return out;
}

class Notifications final : public ActionProvider {
public:
  explicit Notifications(NotifyOptions options) : options_(std::move(options)), queue_(kThreads) {}

  void start(const ActionRequest& request, const Notify& notify) override {
    auto message = std::make_shared<const Message>(message_of(request, options_));
    {
      const std::lock_guard lock(mutex_);
      if (!wanted_.insert(request.key).second) return;  // it is under way, and its end will be told
    }
    queue_.add([this, key = request.key, notify, message](const std::stop_token& stop) {
      attempt(key, notify, message, 1, stop);
    });
  }
  void cancel(const std::string& key) override {
    const std::lock_guard lock(mutex_);
    wanted_.erase(key);
  }

private:
  using Shared = std::shared_ptr<const Message>;

  bool is_wanted(const std::string& key, bool no_more) {
    const std::lock_guard lock(mutex_);
    return no_more ? wanted_.erase(key) > 0 : wanted_.contains(key);
  }

  void attempt(const std::string& key, const Notify& notify, const Shared& message, int number,
               const std::stop_token& stop) {
    if (!is_wanted(key, false)) return;
    ActionUpdate update;
    update.key = key;
    bool again = false;
    try {
      const int status = send(*message, stop);
      update.details = to_text({{"status", status}});
      update.state = status >= 200 && status < 300 ? ActionUpdate::State::succeeded : ActionUpdate::State::failed;
      if (update.state == ActionUpdate::State::failed) update.cause = fmt::format("the answer was {}", status);
      again = status == 408 || status == 425 || status == 429 || status >= 500;
    } catch (const Error& e) {
      if (e.code() == ErrorCode::cancelled) return;  // the next process does it
      update.state = ActionUpdate::State::failed;
      update.cause = e.what();
      again = core::traits(e.code()).retryable;
    }
    core::log(update.state == ActionUpdate::State::succeeded ? core::LogLevel::info : core::LogLevel::warning,
              "flow.notified",
              {{"host", message->url.host},
               {"attempt", std::to_string(number)},
               {"outcome", update.cause.empty() ? "taken" : update.cause}});
    if (again && number < options_.attempts) {
      const double pause_s =
          std::min(kLongestPause_s, options_.first_pause_s * static_cast<double>(1LL << (number - 1)));
      queue_.add([this, key, notify, message,
                  number](const std::stop_token& later) { attempt(key, notify, message, number + 1, later); },
                 pause_s);
      return;
    }
    if (is_wanted(key, true)) notify(update);
  }

  int send(const Message& message, const std::stop_token& stop) const {
    net::ClientOptions options;
    options.trust.authorities = options_.authorities;
    options.connect_timeout_s = options.idle_timeout_s = options_.timeout_s;
    options.body_bytes = 64 << 10;
    const bool trusted = std::find(options_.allowed_hosts.begin(), options_.allowed_hosts.end(), message.url.host) !=
                         options_.allowed_hosts.end();
    if (!trusted) options.allowed_address = is_public_address;
    net::Client client(message.url.origin(), options);
    return client
        .send({.method = "POST", .target = message.url.target, .headers = message.headers, .body = message.payload},
              stop)
        .status;
  }

  const NotifyOptions options_;
  std::mutex mutex_;
  std::set<std::string> wanted_;  ///< keys
  WorkQueue queue_;
};
}  // namespace

bool is_public_address(const std::string& address) {
  unsigned char bytes[16];
  if (::inet_pton(AF_INET, address.c_str(), bytes) == 1) return is_public(big_endian(bytes));
  // A scope ("fe80::1%eth0") belongs to addresses of this link only.
  if (::inet_pton(AF_INET6, address.c_str(), bytes) != 1) return false;
  constexpr unsigned char kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  constexpr unsigned char kTranslated[12] = {0, 0x64, 0xff, 0x9b};  // 64:ff9b::/96
  if (std::memcmp(bytes, kMapped, 12) == 0 || std::memcmp(bytes, kTranslated, 12) == 0)
    return is_public(big_endian(bytes + 12));
  if (bytes[0] == 0x20 && bytes[1] == 0x02) return is_public(big_endian(bytes + 2));           // 6to4
  if (bytes[0] == 0x20 && bytes[1] == 0x01 && bytes[2] == 0 && bytes[3] == 0) return false;    // Teredo
  if (bytes[0] == 0x20 && bytes[1] == 0x01 && bytes[2] == 0x0d && bytes[3] == 0xb8) return false;  // documentation
  return (bytes[0] & 0xe0) == 0x20;  // 2000::/3 is all that is given out
}

std::shared_ptr<ActionProvider> notify_actions(NotifyOptions options) {
  return std::make_shared<Notifications>(std::move(options));
}

}  // namespace farfield::services::flow
