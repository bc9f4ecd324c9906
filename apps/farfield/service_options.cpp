// The options of farfield serve.

#include "apps/farfield/service.hpp"

namespace farfield::apps {

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
    s.add("notify-hosts", &ServeOptions::notify_hosts,
          "hosts that flows may notify although their addresses are private, and without TLS; between commas",
          {.group = "Service"});
    s.add("tls", &ServeOptions::tls, "HTTPS; off only behind a proxy or for a test", {.group = "TLS"});
    s.add("certificate", &ServeOptions::certificate, "own certificate with its chain (PEM); none: one is made",
          {.group = "TLS"});
    s.add("key", &ServeOptions::key, "its private key (PEM), readable by its owner only", {.group = "TLS"});
    s.add("names", &ServeOptions::names,
          "names and addresses in a certificate that is made, between commas; none: this host's", {.group = "TLS"});
    s.add("requests-per-s", &ServeOptions::requests_per_s, "limit for each client address; 0: none",
          {.min = 0, .max = 1e6, .unit = "1/s", .group = "Limits"});
    s.add("keep-tasks", &ServeOptions::keep_tasks_days,
          "tasks with their outputs go so long after their end, archives of user code after their last use; 0: never",
          {.min = 0, .max = 36500, .unit = "days", .group = "Limits"});
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

}  // namespace farfield::apps
