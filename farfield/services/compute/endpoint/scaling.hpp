#pragma once
// How many blocks an endpoint should have. A pure function of what is known now.

#include <span>
#include <string>
#include <vector>

namespace farfield::services::compute {

struct Scaling {
  int init_blocks = 0;         ///< started with the endpoint
  int min_blocks = 0;          ///< kept, also idle ones
  int max_blocks = 1;          ///< never more, whatever waits
  int max_urgent_blocks = 0;   ///< besides, for urgent tasks that find no idle worker
  int nodes_per_block = 1;
  int workers_per_node = 1;
  double walltime_s = 3600;    ///< of a block
  double idle_s = 120;         ///< a block whose workers had nothing to do for so long is given back
};
/// Throws `invalid_argument` for numbers that contradict each other.
void validate(const Scaling&);

/// A block that has not ended.
struct BlockLoad {
  std::string name;
  bool urgent = false;
  bool leaving = false;
  int busy = 0;                ///< workers with a task
  double idle_since_s = 0;     ///< of a block that runs and is not busy; else 0
};

struct ScalingDecision {
  int start = 0, start_urgent = 0;
  std::vector<std::string> leave;
};

/// `queued`: tasks without a worker, in units of a worker's time (many short ones count as few). `queued_urgent` are
/// those of them that are urgent.
ScalingDecision decide(const Scaling& scaling, std::span<const BlockLoad> blocks, double queued, double queued_urgent,
                       double now_s);

}  // namespace farfield::services::compute
