#pragma once
// The compute side in one object: `farfield endpoint start` runs it, tests and `farfield up` make their own.

#include <filesystem>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "farfield/core/log.hpp"
#include "farfield/core/options.hpp"
#include "farfield/services/compute/endpoint/endpoint.hpp"

namespace farfield::apps {

enum class BlockKind { local, slurm };

struct EndpointStartOptions {
  std::string service;      ///< its URL; empty: the one that was logged in to last
  std::string authority;  ///< certificate of the service or of its authority (PEM); empty: the system's authorities
  std::string identity;  ///< service identity with the scope compute.endpoint; empty: the user who logged in
  std::string secret_file;  ///< of the identity, that only its owner can read
  std::string name;  ///< of the endpoint; empty: that of the host
  std::string folder = "farfield-endpoint";
  BlockKind provider = BlockKind::local;
  std::string root;  ///< root/ID for each experiment; empty: only `experiments`
  std::string experiments;  ///< "ID=FOLDER,ID=FOLDER"
  int init_blocks = 0, min_blocks = 0, max_blocks = 1, max_urgent_blocks = 0;
  int nodes_per_block = 1, workers = 1, threads = 0, cores = 0, gpus = 0;
  std::string devices;  ///< GPUs of a node, between commas
  int slots_per_gpu = 1;
  double walltime_s = 3600, idle_s = 120, notice_s = 30, poll_s = 1;
  std::string partition, account, qos, reservation, extra;
  std::string urgent_partition, urgent_account, urgent_qos, urgent_reservation, urgent_extra;
  std::string address = "127.0.0.1";
  int port = 0;
  std::string mpirun = "mpirun";
  std::string readable;  ///< between commas
  bool confine = true;
  core::LogLevel log_level = core::LogLevel::info;
};
const core::BoundSchema<EndpointStartOptions>& endpoint_schema();

class EndpointHost {
public:
  /// Starts at once. `token`, where given, is used instead of identity or login. Throws what
  /// services::compute::Endpoint does, and `invalid_argument`, `unauthenticated` (nobody has logged in), `forbidden` (a
  /// secret that others can read).
  explicit EndpointHost(const EndpointStartOptions& options, std::function<std::string()> token = {});
  ~EndpointHost();
  EndpointHost(const EndpointHost&) = delete;
  EndpointHost& operator=(const EndpointHost&) = delete;

  const std::string& name() const;
  services::compute::Endpoint& endpoint();

private:
  struct State;
  std::unique_ptr<State> state_;
};

/// What `farfield worker FOLDER` does in the block with that folder. Returns the exit code.
int run_worker(const std::string& folder, const std::stop_token& stop);

}  // namespace farfield::apps
