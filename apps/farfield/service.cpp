#include "apps/farfield/service.hpp"

#include <fmt/format.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "apps/farfield/service_parts.hpp"
#include "apps/farfield/version.hpp"
#include "farfield/core/text.hpp"
#include "farfield/net/server.hpp"
#include "farfield/services/auth/http.hpp"
#include "farfield/services/auth/secret.hpp"
#include "farfield/services/compute/broker/rest.hpp"
#include "farfield/services/flow/compute_actions.hpp"
#include "farfield/services/flow/notify_actions.hpp"
#include "farfield/services/flow/rest.hpp"
#include "farfield/services/flow/simple_actions.hpp"
#include "farfield/services/flow/transfer_actions.hpp"
#include "farfield/services/transfer/rest.hpp"

namespace farfield::apps {
namespace {
namespace auth = services::auth;
namespace compute = services::compute;
namespace flow = services::flow;
namespace transfer = services::transfer;
namespace fs = std::filesystem;

constexpr std::int64_t kKeyLife_s = 30LL * 86400;
constexpr double kDay_s = 86400;
constexpr double kUpkeep_s = 600, kBurst_s = 2;
}  // namespace

struct Service::State {
  std::string issuer_url;
  fs::path folder, first_password;
  std::unique_ptr<ServiceCertificate> certificate;
  std::unique_ptr<store::Database> database;
  std::unique_ptr<auth::Directory> directory;
  std::unique_ptr<auth::KeyRing> keys;
  std::unique_ptr<auth::Issuer> issuer;
  std::unique_ptr<auth::Access> access;
  core::SteadyClock clock;
  std::unique_ptr<transfer::Places> places;
  std::unique_ptr<transfer::Tasks> transfers;
  std::unique_ptr<compute::Broker> broker;
  std::unique_ptr<flow::Engine> engine;
  std::vector<net::Router::Route> routes;
  std::unique_ptr<net::Server> server;
  std::mutex mutex;
  std::condition_variable_any wake;
  std::jthread upkeep;

  void open_authority(const ServeOptions& o) {
    directory = std::make_unique<auth::Directory>(*database, auth::system_unix_time);
    keys = std::make_unique<auth::KeyRing>(folder / "keys", auth::system_unix_time);
    places = std::make_unique<transfer::Places>(*database, auth::system_unix_time);
    issuer = std::make_unique<auth::Issuer>(
        *directory, *keys,
        auth::IssuerOptions{.issuer = issuer_url,
                            .audiences = core::between_commas(o.audiences),
                            .also_audience = [this](const std::string& url) { return places->is_audience(url); }},
        auth::system_unix_time);
    access = std::make_unique<auth::Access>(*issuer);
    directory->set_public_client("farfield-cli", {});
    make_first_administrator();
  }

  void open_services(const ServeOptions& o) {
    transfers = std::make_unique<transfer::Tasks>(*database, transfer::place_resolver(*places, *issuer), clock);
    broker = std::make_unique<compute::Broker>(
        *database, compute::BrokerOptions{.folder = private_folder(folder / "compute").string(),
                                          .keep_s = o.keep_tasks_days * kDay_s});
    flow::Providers providers = flow::simple_providers();
    providers.add("compute", flow::urls_of("compute"), flow::compute_actions(*broker, *issuer));
    providers.add("transfer", flow::urls_of("transfer"), flow::transfer_actions(*transfers));
    providers.add("notify", flow::urls_of("notify"),
                  flow::notify_actions({.allowed_hosts = core::between_commas(o.notify_hosts)}));
    engine = std::make_unique<flow::Engine>(*database, std::move(providers));
  }

  void make_first_administrator() {
    if (directory->has_users()) return;
    const std::string password = auth::random_hex(12);
    first_password = folder / "admin-password";
    write_private(first_password, password + "\n");
    directory->add_user("admin", "Administrator", password, true);
  }

  net::Router router() {
    net::Router out;
    auth::add_routes(out, *access);
    transfer::add_routes(out, *access, *transfers, *places);
    flow::add_routes(out, *access, *engine);
    compute::add_routes(out, *access, *broker);
    out.get("/api/openapi.yaml",
            [](const net::Request&) { return net::Response::of(200, "application/yaml", kOpenApi); });
    out.get("/api/v1/health", [this](const net::Request&) {
      (void)database->query("SELECT 1");
      return net::Response::of(200, "application/json",
                               fmt::format("{{\"status\":\"ok\",\"version\":\"{}\"}}\n", version()));
    });
    return out;
  }

  void keep_up(const std::stop_token& stop) {
    std::unique_lock lock(mutex);
    const auto tried = [](const auto& action) {
      try {
        action();
      } catch (const std::exception& e) {  // the next time comes
        core::log(core::LogLevel::warning, "upkeep_failed", {{"error", e.what()}});
      }
    };
    while (
        !wake.wait_for(lock, stop, std::chrono::duration<double>(kUpkeep_s), [&] { return stop.stop_requested(); })) {
      if (stop.stop_requested()) return;
      tried([&] { issuer->clean(); });
      tried([&] { broker->clean(); });
      tried([&] {
        if (auth::system_unix_time() - keys->signing_since() > kKeyLife_s) issuer->rotate_keys();
      });
      tried([&] {
        if (certificate->keep_up()) server->reload_tls();
      });
    }
  }
};

Service::Service(const ServeOptions& o) : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.folder = private_folder(o.folder);
  s.issuer_url = issuer_of(o);
  s.certificate = std::make_unique<ServiceCertificate>(o, s.folder);
  s.database = store::Database::open(o.database.empty() ? "sqlite:" + (s.folder / "farfield.db").string() : o.database);
  s.open_authority(o);
  s.open_services(o);

  net::Router router = s.router();
  s.routes = router.routes();
  net::ServerOptions server;
  server.address = o.address;
  server.port = static_cast<std::uint16_t>(o.port);
  server.tls = s.certificate->identity();
  server.io_threads = o.io_threads;
  server.handler_threads = o.handler_threads;
  if (o.requests_per_s > 0) server.rate_limit = {o.requests_per_s, std::max(1.0, kBurst_s * o.requests_per_s)};
  server.error_response = auth::json_error;
  s.server = std::make_unique<net::Server>(std::move(server), std::move(router));
  s.upkeep = std::jthread([&s](const std::stop_token& stop) { s.keep_up(stop); });
  core::log(core::LogLevel::info, "service_started",
            {{"at", origin()}, {"issuer", s.issuer_url}, {"database", s.database->where()}});
}

Service::~Service() {
  if (state_ && state_->server) stop(0);
}

const std::string& Service::issuer() const { return state_->issuer_url; }
std::string Service::origin() const { return state_->server->origin(); }
fs::path Service::made_certificate() const {
  return state_->certificate->made() ? state_->certificate->identity().certificate : fs::path();
}
const fs::path& Service::first_password() const { return state_->first_password; }
auth::Access& Service::access() { return *state_->access; }
const std::vector<net::Router::Route>& Service::routes() const { return state_->routes; }

void Service::stop(double grace_s) {
  state_->upkeep.request_stop();
  state_->server->stop(grace_s);
}

}  // namespace farfield::apps
