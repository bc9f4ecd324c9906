#pragma once
// The compute side: takes tasks from the service over a line that it opens, starts blocks as tasks come and ends idle
// ones, gives tasks to the workers in them, and brings their ends back. Its memory is a folder; blocks and workers go
// on without it, and a later process with the same folder finds them.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "farfield/net/tls.hpp"
#include "farfield/services/compute/blocks/block.hpp"
#include "farfield/services/compute/blocks/block_settings.hpp"
#include "farfield/services/compute/endpoint/scaling.hpp"
#include "farfield/services/compute/protocol.hpp"

namespace farfield::services::compute {

struct EndpointOptions {
  std::string name;    ///< 1 to 64 of letters, digits, '-', '_', '.'
  std::string folder;  ///< its memory; blocks and tasks have folders there, so workers must see it
  std::string service;  ///< origin
  std::function<std::string()> token{};  ///< gives a good access token each time
  net::TlsTrust trust{};
  std::string program{};  ///< version
  std::vector<FunctionRecord> verbs{};

  /// What a block runs on each node; the block's folder is added as the last argument (see run_in_block()).
  std::vector<std::string> command;
  Scaling scaling{};
  BlockRequest normal{}, urgent{};  ///< cores, gpus, partition, account, qos, reservation, extra, environment
  double poll_s = 1;      ///< how often the provider is asked for the state of blocks
  double notice_s = 30;   ///< see BlockSettings
  double alone_s = 600;
  double sweep_s = 14 * 86400.0;  ///< what nobody has touched for so long and no task or block holds is removed

  std::string address = "127.0.0.1";  ///< where workers reach it; TLS unless it is this machine's own
  std::uint16_t port = 0;             ///< 0: any
  Roots roots{};
  std::vector<std::string> devices{};  ///< GPUs of each node, where no scheduler assigns them
  int slots_per_device = 1;
  std::vector<std::string> readable{};  ///< the install tree
  bool confine = true;
};

/// Runs on threads of its own from construction to destruction, which leaves blocks as they are.
class Endpoint {
public:
  /// Throws `invalid_argument`, `conflict` (another process has the folder), `io` (the address is taken), and what the
  /// store throws.
  Endpoint(EndpointOptions options, std::unique_ptr<BlockProvider> provider);
  ~Endpoint();
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  struct Status {
    bool connected = false;  ///< with the service
    Capacity capacity{};
    std::vector<std::string> blocks{};  ///< that have not ended
    std::size_t queued = 0, held = 0;  ///< tasks
  };
  Status status() const;

  /// Asks all blocks to leave and starts none any more; waits until they have ended, at most `patience_s`. False: some
  /// have not.
  bool end_blocks(double patience_s);

private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace farfield::services::compute
