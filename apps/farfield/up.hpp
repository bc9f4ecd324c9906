#pragma once
// Everything on one machine: service, two agents (a beamline and a computing side), an endpoint and a watched folder.
// `farfield up` runs it, tests make their own.

#include <functional>
#include <memory>
#include <string>

#include "apps/farfield/scan_watch.hpp"

namespace farfield::apps {

struct UpOptions {
  std::string folder = "farfield-up";
  std::string experiment = "2026-1-Example-1";
  std::string flow;            ///< file or id; empty: FOLDER/flow.json, made where it is missing
  std::string input;           ///< of each run, see ScanWatchOptions; empty: for that flow
  std::int64_t iterations = 32;
  double quiet_s = 2;
  std::string marker;
  services::watch::HandOn start = services::watch::HandOn::complete;
  int port = 8443;
  int workers = 1, threads = 0;
  bool log_in = true;          ///< keep a login for the commands of this user
  core::LogLevel log_level = core::LogLevel::warning;
};
const core::BoundSchema<UpOptions>& up_schema();

class Up {
public:
  /// Starts all of it; `tell`: each run, from any thread. Throws what the parts throw: `io` a port is taken ...
  Up(const UpOptions& options, const core::Clock& clock, std::function<void(const ScanWatch::News&)> tell);
  /// Stops gracefully, the watching first: runs under way go on when it starts again.
  ~Up();
  Up(const Up&) = delete;
  Up& operator=(const Up&) = delete;

  std::string origin() const;
  std::string certificate() const;
  std::string prefix() const;  ///< has input/ and recon/
  std::string password_file() const;
  /// An access token of the administrator, good for ten minutes.
  std::string token() const;

private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace farfield::apps
