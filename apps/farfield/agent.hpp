#pragma once
// The data side in one object: exported folders over HTTPS, for those who show a token of the service. `farfield agent
// start` runs it, tests and `farfield up` make their own.

#include <filesystem>
#include <memory>
#include <string>

#include "farfield/core/log.hpp"
#include "farfield/core/options.hpp"

namespace farfield::apps {

struct AgentOptions {
  std::string service;         ///< its URL
  std::string authority;  ///< certificate of the service or of its authority (PEM); empty: the system's authorities
  std::string issuer;  ///< as tokens name it; empty: `service`
  std::string identity;  ///< service identity, with the scope transfer.agent
  std::string secret_file;  ///< that only its owner can read
  std::string name;  ///< of the place; empty: `identity`
  std::string root;  ///< root/ID is exported for each experiment; empty: only `exports`
  std::string exports;  ///< "ID=FOLDER,ID=FOLDER"
  std::string folder = "farfield-agent";  ///< where the certificate that is made lies
  std::string address = "127.0.0.1";
  int port = 8444;
  std::string url;  ///< under which others reach it; empty: https://HOST:PORT
  std::string certificate, key;  ///< empty: made in the folder
  std::string certificate_authority;  ///< who has signed it (PEM), for others to trust
  int io_threads = 2, handler_threads = 32;
  core::LogLevel log_level = core::LogLevel::info;
};
const core::BoundSchema<AgentOptions>& agent_schema();

class Agent {
public:
  /// Listens at once, and registers at the service as soon as that can be reached; until then every request is
  /// `unavailable`. Throws `invalid_argument`, `io` the address is taken, `forbidden` a key or secret that others can
  /// read, `not_found`.
  explicit Agent(const AgentOptions& options);
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  /// "https://127.0.0.1:8444"
  std::string origin() const;
  /// Under which it is registered.
  const std::string& url() const;
  /// Waits until it is registered, has the keys and follows the revocations; at most `seconds`.
  bool wait_ready(double seconds) const;
  /// Graceful: lets requests at work finish for up to `grace_s`.
  void stop(double grace_s);

private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace farfield::apps
