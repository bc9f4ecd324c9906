#pragma once
// A warm process in a block: connects to its endpoint, runs the tasks that it is given one after the other, and tells
// how they are. launcher.hpp starts workers on a node and keeps them.

#include <stop_token>
#include <string>

#include "farfield/services/compute/blocks/block_settings.hpp"
#include "farfield/services/compute/worker/task_runner.hpp"

namespace farfield::services::compute {

struct WorkerPlace {
  std::string folder;  ///< of the block
  std::string node;
  int place = 0;       ///< on the node, from 0
  double began_s = 0;  ///< when the block did, since 1970
};

/// Runs until it is asked to leave: by its endpoint, by `leave` (TERM), or because it has nothing to do and its
/// endpoint is gone for BlockSettings::alone_s. What runs then keeps a checkpoint and ends as `interrupted`; ends that
/// the endpoint has not acknowledged stay in the journal of the place. Throws `conflict` if the place is taken, and
/// what read_settings() throws.
void run_worker(const WorkerPlace& place, TaskRunner& runner, const std::stop_token& leave);

}  // namespace farfield::services::compute
