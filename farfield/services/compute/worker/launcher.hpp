#pragma once
// The process that a block starts on each of its nodes: it starts the node's workers and puts a new one in the place of
// one that dies.

#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "farfield/services/compute/worker/task_runner.hpp"

namespace farfield::services::compute {

/// What the program does in a block whose folder is `folder`: as the launcher, it starts itself again for each worker
/// (same arguments; the environment says which place) and returns when all have left, or (1) when they died one
/// after the other for BlockSettings::alone_s or the endpoint has forgotten the block; as a worker, it runs tasks with
/// the runner that `make` gives. `leave`: TERM. Workers end with their launcher, and what a worker leaves running ends
/// with it. Called on the main thread. Returns the exit code. Throws what run_worker() and read_settings() throw.
int run_in_block(const std::string& folder, const std::function<std::unique_ptr<TaskRunner>()>& make,
                 const std::stop_token& leave);

/// Of this machine in its cluster: SLURMD_NODENAME, else the host's name.
std::string node_name();

}  // namespace farfield::services::compute
