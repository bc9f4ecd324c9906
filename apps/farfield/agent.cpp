#include "apps/farfield/agent.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <condition_variable>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "apps/farfield/agent_identity.hpp"
#include "apps/farfield/host_name.hpp"
#include "farfield/core/system_error.hpp"
#include "farfield/core/text.hpp"
#include "farfield/net/server.hpp"
#include "farfield/services/auth/http.hpp"
#include "farfield/services/auth/trust.hpp"
#include "farfield/services/transfer/agent/authority.hpp"
#include "farfield/services/transfer/rest.hpp"

namespace farfield::apps {
namespace {
using core::Error;
using core::ErrorCode;
using nlohmann::json;
namespace auth = services::auth;
namespace fs = std::filesystem;
namespace transfer = services::transfer;

constexpr double kRegisterEvery_s = 60, kRenew_days = 7;

std::string required(const std::string& value, const char* option) {
  if (value.empty()) throw Error(ErrorCode::invalid_argument, fmt::format("an agent needs --{}", option));
  return value;
}

std::string origin_of(const std::string& text) {
  const auto url = core::value_or_throw(net::parse_url(text));
  if (!url.secure) throw Error(ErrorCode::invalid_argument, fmt::format("{} must begin with https://", text));
  return url.origin();
}

std::string contents(const fs::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) throw Error(ErrorCode::not_found, fmt::format("cannot read {}", path.string()));
  return text.str();
}

bool is_loopback(const std::string& address) { return address.starts_with("127.") || address == "::1"; }

fs::path private_folder(const fs::path& path) {
  std::error_code error;
  if (fs::create_directories(path, error); error)
    throw core::system_error(error.value(), "cannot make the folder " + path.string());
  fs::permissions(path, fs::perms::owner_all, error);
  if (error) throw core::system_error(error.value(), "cannot close the folder " + path.string() + " to others");
  return fs::absolute(path);
}

transfer::Exports exports_of(const AgentOptions& options) {
  transfer::Exports exports{{}, options.root};
  for (const auto& one : core::between_commas(options.exports)) {
    const auto equal = one.find('=');
    if (equal == std::string::npos || equal + 1 == one.size())
      throw Error(ErrorCode::invalid_argument, fmt::format("--export {:?} must be EXPERIMENT=FOLDER", one));
    exports.folders[one.substr(0, equal)] = one.substr(equal + 1);
  }
  if (exports.root.empty() && exports.folders.empty())
    throw Error(ErrorCode::invalid_argument, "an agent needs --root or --export: it exports nothing");
  return exports;
}
}  // namespace

const core::BoundSchema<AgentOptions>& agent_schema() {
  using O = AgentOptions;
  static const auto schema = [] {
    core::BoundSchema<O> s;
    s.add("root", &O::root, "exports ROOT/EXPERIMENT for each experiment; made when something is written to it",
          {.group = "Data"});
    s.add("export", &O::exports, "experiments whose folders lie elsewhere, between commas: ID=FOLDER,ID=FOLDER",
          {.group = "Data"});
    s.add("service", &O::service, "URL of the service whose tokens count", {.group = "Service"});
    s.add("authority", &O::authority,
          "certificate (PEM) of the service or of its authority; none: the system's authorities", {.group = "Service"});
    s.add("issuer", &O::issuer, "the service as its tokens name it; none: its URL", {.group = "Service"});
    s.add("identity", &O::identity, "service identity with the scope transfer.agent", {.group = "Service"});
    s.add("secret-file", &O::secret_file, "file with its secret, readable by its owner only", {.group = "Service"});
    s.add("name", &O::name, "name of this place in transfers; none: the identity's", {.group = "Service"});
    s.add("address", &O::address, "numeric address to listen at; 0.0.0.0 or :: for every interface",
          {.group = "Network"});
    s.add("port", &O::port, "to listen at; 0: any free one", {.min = 0, .max = 65535, .group = "Network"});
    s.add("url", &O::url, "under which others reach this agent; none: https://HOST:PORT", {.group = "Network"});
    s.add("folder", &O::folder, "where a certificate that is made lies; closed to others", {.group = "TLS"});
    s.add("certificate", &O::certificate, "own certificate with its chain (PEM); none: one is made", {.group = "TLS"});
    s.add("key", &O::key, "its private key (PEM), readable by its owner only", {.group = "TLS"});
    s.add("certificate-authority", &O::certificate_authority,
          "who has signed it (PEM), told to the service; none: an authority that all systems know", {.group = "TLS"});
    s.add("io-threads", &O::io_threads, "threads that move bytes", {.min = 1, .max = 256, .group = "Limits"});
    s.add("handler-threads", &O::handler_threads, "requests at work at once",
          {.min = 1, .max = 4096, .group = "Limits"});
    s.add("log-level", &O::log_level, "least level that is logged; every access is logged at info",
          {.choices = {"debug", "info", "warning", "error"}, .group = "Output"});
    return s;
  }();
  return schema;
}

struct Agent::State {
  explicit State(const AgentOptions& o)
      : identity({origin_of(required(o.service, "service")), o.authority}, required(o.identity, "identity"),
                 required(o.secret_file, "secret-file"), transfer::kAgentScope),
        name(o.name.empty() ? o.identity : o.name),
        issuer(o.issuer.empty() ? identity.remote().origin : o.issuer) {
    auth::check_name("place", name);
    if (o.certificate.empty() != o.key.empty())
      throw Error(ErrorCode::invalid_argument, "certificate and key are given together or not at all");
    if (!o.certificate.empty()) {
      tls = {o.certificate, o.key};
      signed_by = o.certificate_authority;
    } else {
      const fs::path folder = private_folder(o.folder);
      tls = {folder / "certificate.pem", folder / "certificate.key"};
      made_for = {"localhost", "127.0.0.1", "::1", host_name()};
      if (!o.url.empty()) made_for.push_back(core::value_or_throw(net::parse_url(o.url)).host);
      signed_by = tls.certificate;
      (void)renew();
    }
  }

  /// A certificate that is made here and ends soon, or lacks a name, is made anew. Whether it was.
  bool renew() const {
    if (made_for.empty()) return false;
    if (fs::exists(tls.certificate)) {
      const auto info = net::read_certificate(tls.certificate);
      const auto known = [&](const std::string& one) {
        // IPv6 addresses have several spellings.
        return one.find(':') != std::string::npos ||
               std::find(info.names.begin(), info.names.end(), one) != info.names.end();
      };
      if (info.days_left > kRenew_days && std::all_of(made_for.begin(), made_for.end(), known)) return false;
    }
    net::make_self_signed(tls, made_for);
    return true;
  }

  void listen(const AgentOptions& o) {
    net::Router router;
    transfer::add_agent_routes(
        router, transfer::exported_folders(exports_of(o)),
        [this](auto&&... asked) {
          if (!authorise_ready.load()) throw Error(ErrorCode::unavailable, "this agent is not ready yet");
          authorise(std::forward<decltype(asked)>(asked)...);
        },
        // Asked after that, and so when the verifier is there.
        [this](auto&&... asked) { transfer::token_may_fetch (*verifier)(std::forward<decltype(asked)>(asked)...); });
    server = std::make_unique<net::Server>(net::ServerOptions{.address = o.address,
                                                              .port = static_cast<std::uint16_t>(o.port),
                                                              .tls = tls,
                                                              .io_threads = o.io_threads,
                                                              .handler_threads = o.handler_threads,
                                                              .error_response = auth::json_error},
                                           std::move(router));
    url = o.url.empty() ? url_of(o) : origin_of(o.url);
    verifier = std::make_unique<auth::Verifier>(auth::VerifierRules{issuer, {url}}, auth::system_unix_time);
    feed = std::make_unique<auth::TrustFeed>(
        identity.remote().origin, [this] { return identity.token(); }, *verifier,
        auth::TrustOptions{.tls = {.authorities = identity.remote().authority}});
    authorise = transfer::token_authority(*verifier, [this] { return feed->keys_known(); });
    authorise_ready = true;
    upkeep = std::jthread([this](const std::stop_token& stop) { keep_up(stop); });
  }

  std::string url_of(const AgentOptions& o) const {
    net::Url here;
    here.secure = true;
    here.host = is_loopback(o.address) ? o.address : host_name();
    here.port = server->port();
    return here.origin();
  }

  /// Registers now and then: the service sees that the place is there, and learns of a new certificate.
  void keep_up(const std::stop_token& stop) {
    double patience_s = 0.5;
    std::string shown = net::read_certificate(tls.certificate).sha256;
    while (!stop.stop_requested()) {
      bool done = false;
      try {
        (void)renew();
        if (const auto now = net::read_certificate(tls.certificate).sha256; now != shown) {
          server->reload_tls();
          shown = now;
          core::log(core::LogLevel::info, "agent.certificate_renewed", {{"sha256", now}});
        }
        announce(stop);
        done = true;
      } catch (const std::exception& e) {  // the next time comes
        if (!stop.stop_requested())
          core::log(core::LogLevel::warning, "agent.not_registered",
                    {{"service", identity.remote().origin}, {"error", e.what()}});
      }
      patience_s = done ? 0.5 : std::min(2 * patience_s, kRegisterEvery_s);
      std::unique_lock lock(mutex);
      registered = registered || done;
      changed.notify_all();
      changed.wait_for(lock, stop, std::chrono::duration<double>(done ? kRegisterEvery_s : patience_s),
                       [] { return false; });
    }
  }

  void announce(const std::stop_token& stop) {
    json place{{"name", name}, {"url", url}};
    if (!signed_by.empty()) place["certificate"] = contents(signed_by);
    net::Client client(identity.remote().origin, {.trust = {.authorities = identity.remote().authority}});
    const auto response =
        client.send({.method = "POST",
                     .target = "/api/v1/places",
                     .headers = {{"Authorization", "Bearer " + identity.token()}, {"Content-Type", "application/json"}},
                     .body = place.dump()},
                    stop);
    if (!response.ok()) throw net::status_error(response, "registering the place " + name);
    if (!registered)
      core::log(core::LogLevel::info, "agent.registered",
                {{"place", name}, {"url", url}, {"service", identity.remote().origin}});
  }

  ServiceIdentity identity;
  const std::string name, issuer;
  net::TlsIdentity tls;
  std::vector<std::string> made_for;  ///< names in a certificate that is made; empty: it is the user's own
  fs::path signed_by;                 ///< what the service is told to trust; empty: nothing in particular
  std::string url;
  std::atomic<bool> authorise_ready{false};  ///< the server listens before it is
  transfer::Authorise authorise;
  std::unique_ptr<auth::Verifier> verifier;
  std::unique_ptr<auth::TrustFeed> feed;
  std::unique_ptr<net::Server> server;
  std::mutex mutex;
  std::condition_variable_any changed;
  std::atomic<bool> registered{false};
  std::jthread upkeep;  ///< the last: it uses the others
};

Agent::Agent(const AgentOptions& options) : state_(std::make_unique<State>(options)) {
  state_->listen(options);
  core::log(core::LogLevel::info, "agent.started",
            {{"at", origin()}, {"url", url()}, {"service", state_->identity.remote().origin}});
}

Agent::~Agent() {
  if (state_) stop(0);
}

std::string Agent::origin() const { return state_->server->origin(); }
const std::string& Agent::url() const { return state_->url; }

bool Agent::wait_ready(double seconds) const {
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  std::unique_lock lock(state_->mutex);
  if (!state_->changed.wait_for(lock, std::chrono::duration<double>(seconds),
                                [&] { return state_->registered.load(); }))
    return false;
  lock.unlock();
  const std::chrono::duration<double> left = until - std::chrono::steady_clock::now();
  return state_->feed->wait_connected(std::max(0.0, left.count()));
}

void Agent::stop(double grace_s) {
  state_->upkeep.request_stop();
  state_->server->stop(grace_s);
}

}  // namespace farfield::apps
