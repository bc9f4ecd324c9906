#pragma once
// The service host in one object: database, issuer, REST interface, TLS. `farfield serve` runs it, tests make their
// own.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "farfield/core/log.hpp"
#include "farfield/core/options.hpp"
#include "farfield/net/router.hpp"

namespace farfield::services::auth {
class Access;
}

namespace farfield::apps {

struct ServeOptions {
  std::string folder = "farfield-state";  ///< keys, certificate, embedded database
  std::string database;                   ///< empty: SQLite in the folder
  std::string address = "127.0.0.1";
  int port = 8443;
  std::string issuer;                     ///< empty: from host name and port
  bool tls = true;
  std::string certificate, key;           ///< empty: made in the folder
  std::string names;                      ///< of a certificate that is made, between commas
  std::string audiences;                  ///< besides the issuer and the places of transfers, between commas
  std::string notify_hosts;               ///< that flows may notify although they are not public, between commas
  double requests_per_s = 200;            ///< per client address
  double keep_tasks_days = 90;            ///< after their end; 0: for ever
  int io_threads = 2, handler_threads = 16;
  core::LogLevel log_level = core::LogLevel::info;
};
const core::BoundSchema<ServeOptions>& serve_schema();

class Service {
public:
  /// Listens at once. Throws what its parts throw: `io` the address is taken, `forbidden` keys that others can read,
  /// `unavailable` no database ...
  explicit Service(const ServeOptions& options);
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  const std::string& issuer() const;
  /// "https://127.0.0.1:8443"
  std::string origin() const;
  /// The certificate that clients have to trust, if it was made here; else empty.
  std::filesystem::path made_certificate() const;
  /// Where the first administrator's password was written, if there was no user yet; else empty.
  const std::filesystem::path& first_password() const;
  services::auth::Access& access();
  /// What it answers to.
  const std::vector<net::Router::Route>& routes() const;

  /// Graceful: lets requests at work finish for up to `grace_s`.
  void stop(double grace_s);

private:
  struct State;
  std::unique_ptr<State> state_;
};

/// api/openapi.yaml as it was when this was built.
extern const char* const kOpenApi;
/// examples/flows/ptychography.json, the same.
extern const char* const kExampleFlow;

}  // namespace farfield::apps
