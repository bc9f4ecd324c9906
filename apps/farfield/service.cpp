#include "apps/farfield/service.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "apps/farfield/version.hpp"
#include "farfield/core/system_error.hpp"
#include "farfield/io/atomic_file.hpp"
#include "farfield/net/server.hpp"
#include "farfield/services/auth/http.hpp"
#include "farfield/services/auth/secret.hpp"

namespace farfield::apps {
namespace {
using core::Error;
using core::ErrorCode;
namespace auth = services::auth;
namespace fs = std::filesystem;

constexpr std::int64_t kKeyLife_s = 30LL * 86400;
constexpr double kUpkeep_s = 600, kBurst_s = 2;

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < list.size();) {
    const auto end = std::min(list.find(',', at), list.size());
    const auto part = net::trimmed(std::string_view(list).substr(at, end - at));
    if (!part.empty()) out.emplace_back(part);
    at = end + 1;
  }
  return out;
}

std::string host_name() {
  char name[256] = "";
  return ::gethostname(name, sizeof name - 1) == 0 && name[0] != '\0' ? name : "localhost";
}

bool is_loopback(const std::string& address) { return address.starts_with("127.") || address == "::1"; }

std::string issuer_of(const ServeOptions& o) {
  if (!o.issuer.empty()) {
    const auto url = core::value_or_throw(net::parse_url(o.issuer));
    if (url.origin() != o.issuer)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("issuer {:?} must be an origin like {:?}", o.issuer, url.origin()));
    return o.issuer;
  }
  if (o.port == 0) throw Error(ErrorCode::invalid_argument, "with port 0 the issuer must be given");
  net::Url url;
  url.secure = o.tls;
  url.host = is_loopback(o.address) ? "localhost" : host_name();
  url.port = static_cast<std::uint16_t>(o.port);
  return url.origin();
}

/// Readable by its owner only.
fs::path private_folder(const fs::path& path) {
  std::error_code error;
  if (fs::create_directories(path, error); error)
    throw core::system_error(error.value(), "cannot make the folder " + path.string());
  fs::permissions(path, fs::perms::owner_all, error);
  if (error) throw core::system_error(error.value(), "cannot close the folder " + path.string() + " to others");
  return fs::absolute(path);
}

void write_private(const fs::path& path, const std::string& text) {
  io::AtomicFile file(path);
  fs::permissions(file.temporary(), fs::perms::owner_read | fs::perms::owner_write);
  file.write(text);
  file.commit();
}
}  // namespace

const core::BoundSchema<ServeOptions>& serve_schema() {
  static const auto schema = [] {
    core::BoundSchema<ServeOptions> s;
    s.add("folder", &ServeOptions::folder, "where keys, certificate and the embedded database are; closed to others",
          {.group = "Service"});
    s.add("database", &ServeOptions::database, "sqlite:PATH or postgresql://USER@HOST/NAME; none: SQLite in the folder",
          {.group = "Service"});
    s.add("address", &ServeOptions::address, "numeric address to listen at; 0.0.0.0 or :: for every interface",
          {.group = "Service"});
    s.add("port", &ServeOptions::port, "to listen at; 0: any free one", {.min = 0, .max = 65535, .group = "Service"});
    s.add("issuer", &ServeOptions::issuer, "URL under which everybody reaches this service; none: https://HOST:PORT",
          {.group = "Service"});
    s.add("audiences", &ServeOptions::audiences, "whom tokens may be asked for besides this service, between commas",
          {.group = "Service"});
    s.add("tls", &ServeOptions::tls, "HTTPS; off only behind a proxy or for a test", {.group = "TLS"});
    s.add("certificate", &ServeOptions::certificate, "own certificate with its chain (PEM); none: one is made",
          {.group = "TLS"});
    s.add("key", &ServeOptions::key, "its private key (PEM), readable by its owner only", {.group = "TLS"});
    s.add("names", &ServeOptions::names,
          "names and addresses in a certificate that is made, between commas; none: this host's", {.group = "TLS"});
    s.add("requests-per-s", &ServeOptions::requests_per_s, "limit for each client address; 0: none",
          {.min = 0, .max = 1e6, .unit = "1/s", .group = "Limits"});
    s.add("io-threads", &ServeOptions::io_threads, "threads that move bytes",
          {.min = 1, .max = 256, .group = "Limits"});
    s.add("handler-threads", &ServeOptions::handler_threads, "requests at work at once",
          {.min = 1, .max = 4096, .group = "Limits"});
    s.add("log-level", &ServeOptions::log_level, "least level that is logged",
          {.choices = {"debug", "info", "warning", "error"}, .group = "Output"});
    return s;
  }();
  return schema;
}

struct Service::State {
  std::string issuer_url;
  fs::path made_certificate, first_password;
  std::unique_ptr<store::Database> database;
  std::unique_ptr<auth::Directory> directory;
  std::unique_ptr<auth::KeyRing> keys;
  std::unique_ptr<auth::Issuer> issuer;
  std::unique_ptr<auth::Access> access;
  std::unique_ptr<net::Server> server;
  std::mutex mutex;
  std::condition_variable_any wake;
  std::jthread upkeep;

  net::TlsIdentity identity(const ServeOptions& o, const fs::path& folder) {
    if (!o.tls) return {};
    if (o.certificate.empty() != o.key.empty())
      throw Error(ErrorCode::invalid_argument, "certificate and key are given together or not at all");
    if (!o.certificate.empty()) return {o.certificate, o.key};
    const net::TlsIdentity made{folder / "certificate.pem", folder / "certificate.key"};
    auto names = split(o.names);
    if (names.empty()) names = {"localhost", "127.0.0.1", "::1", host_name()};
    // A certificate that ends soon is made anew here; clients that trust the old one have to be told.
    if (!fs::exists(made.certificate) || net::read_certificate(made.certificate).days_left < 1)
      net::make_self_signed(made, names);
    made_certificate = made.certificate;
    return made;
  }

  void make_first_administrator(const fs::path& folder) {
    if (directory->has_users()) return;
    const std::string password = auth::random_hex(12);
    first_password = folder / "admin-password";
    write_private(first_password, password + "\n");
    directory->add_user("admin", "Administrator", password, true);
  }

  void keep_up(const std::stop_token& stop) {
    std::unique_lock lock(mutex);
    while (
        !wake.wait_for(lock, stop, std::chrono::duration<double>(kUpkeep_s), [&] { return stop.stop_requested(); })) {
      if (stop.stop_requested()) return;
      try {
        issuer->clean();
        if (auth::system_unix_time() - keys->signing_since() > kKeyLife_s) issuer->rotate_keys();
      } catch (const std::exception& e) {  // the next time comes
        core::log(core::LogLevel::warning, "upkeep_failed", {{"error", e.what()}});
      }
    }
  }
};

Service::Service(const ServeOptions& o) : state_(std::make_unique<State>()) {
  State& s = *state_;
  const fs::path folder = private_folder(o.folder);
  s.issuer_url = issuer_of(o);
  const net::TlsIdentity identity = s.identity(o, folder);
  s.database = store::Database::open(o.database.empty() ? "sqlite:" + (folder / "farfield.db").string() : o.database);
  s.directory = std::make_unique<auth::Directory>(*s.database, auth::system_unix_time);
  s.keys = std::make_unique<auth::KeyRing>(folder / "keys", auth::system_unix_time);
  s.issuer = std::make_unique<auth::Issuer>(
      *s.directory, *s.keys, auth::IssuerOptions{.issuer = s.issuer_url, .audiences = split(o.audiences)},
      auth::system_unix_time);
  s.access = std::make_unique<auth::Access>(*s.issuer);
  s.directory->set_public_client("farfield-cli", {});
  s.make_first_administrator(folder);

  net::Router router;
  auth::add_routes(router, *s.access);
  router.get("/api/openapi.yaml",
             [](const net::Request&) { return net::Response::of(200, "application/yaml", kOpenApi); });
  router.get("/api/v1/health", [database = s.database.get()](const net::Request&) {
    (void)database->query("SELECT 1");
    return net::Response::of(200, "application/json",
                             fmt::format("{{\"status\":\"ok\",\"version\":\"{}\"}}\n", version()));
  });

  net::ServerOptions server;
  server.address = o.address;
  server.port = static_cast<std::uint16_t>(o.port);
  server.tls = identity;
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
const fs::path& Service::made_certificate() const { return state_->made_certificate; }
const fs::path& Service::first_password() const { return state_->first_password; }
auth::Access& Service::access() { return *state_->access; }

void Service::stop(double grace_s) {
  state_->upkeep.request_stop();
  state_->server->stop(grace_s);
}

}  // namespace farfield::apps
