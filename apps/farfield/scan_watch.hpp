#pragma once
// The beamline side in one object: scans that appear in PREFIX/input become runs of a flow. `farfield watch` runs it,
// tests and `farfield up` make their own.

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "apps/farfield/service_client.hpp"
#include "farfield/core/clock.hpp"
#include "farfield/core/log.hpp"
#include "farfield/core/options.hpp"
#include "farfield/services/watch/watcher.hpp"

namespace farfield::apps {

struct ScanWatchOptions {
  std::string service;      ///< its URL
  std::string authority;    ///< with an identity: certificate of the service or of its authority (PEM)
  std::string identity, secret_file;  ///< service identity with the scope farfield; empty: who has logged in
  std::string flow;         ///< id, or a file, which is deployed unless this version of it is there
  std::string input = "{}"; ///< of each run: JSON or a file that holds it; see run_input()
  std::string inside;       ///< where PREFIX is inside the root that the agent exports
  std::string tags;         ///< besides the scan's name, between commas
  std::string pattern = services::watch::kScanPattern;
  std::string marker;
  double quiet_s = 5;
  services::watch::HandOn start = services::watch::HandOn::complete;
  std::int64_t frames = 0;  ///< a scan with so many in its HDF5 files is complete; 0: they are not counted
  std::string dataset = "/entry/data/data";
  double rescan_s = 10;
  std::string state;        ///< SQLite file; empty: below $XDG_STATE_HOME
  bool json = false;
  core::LogLevel log_level = core::LogLevel::info;
};
const core::BoundSchema<ScanWatchOptions>& watch_schema();

/// The id of `flow`, which is one, or a file. A file is deployed, unless the newest flow of that title is the same: a
/// watch that starts again goes on with the same flow. Throws what reading it throws, and what the service says to it.
std::string deployed_flow(const ServiceClient& client, const std::string& flow);

/// `text`, a JSON object, with {id}, {name}, {path} (input/scan100), {result} (recon/100) and {file} (the scan's
/// largest file, seen from its folder) replaced in all its strings; and, where it has none, the member "scan": {"id",
/// "name", "path", "result", "file", "follow"}. Path and result begin with `inside`; follow is the rule by which a
/// transfer finds the scan complete, {"marker", "quiet_s"}, where the run starts before it is, and false where not.
/// Throws `invalid_argument`.
std::string run_input(const std::string& text, const services::watch::Scan& scan, const std::string& inside,
                      const std::optional<services::watch::CompleteRule>& follow = {});

/// The name of the request that starts the scan's run with this flow: the same again after a crash, and another one on
/// another machine, whose folders may have the same names.
std::string request_id(const services::watch::Scan& scan, const std::string& host, const std::string& flow);

/// Whether the HDF5 files of a scan hold at least `frames` frames (the first axis of `dataset`, over all files). A file
/// that cannot be read yet has none.
bool has_frames(const std::string& scan, std::int64_t frames, const std::string& dataset);

class ScanWatch {
public:
  /// Makes PREFIX/input and PREFIX/recon where they are missing, and begins. `tell`: each run that was started, and
  /// how it ended, from any thread. Throws for options, and what the service says to the flow.
  struct News {
    std::string scan, run;
    std::string status;  ///< empty: started
    std::string problem;
  };
  ScanWatch(const std::string& prefix, const ScanWatchOptions& options, ServiceClient client, const core::Clock& clock,
            std::function<void(const News&)> tell);
  /// Lets what is being started finish.
  ~ScanWatch();
  ScanWatch(const ScanWatch&) = delete;
  ScanWatch& operator=(const ScanWatch&) = delete;

  services::watch::WatcherStatus status() const;
  const std::string& flow() const;  ///< id

private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace farfield::apps
