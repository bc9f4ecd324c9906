#pragma once
// A real Slurm cluster of two emulated nodes on this machine, for tests: made in a folder of its own, ended with the
// object.

#include <filesystem>
#include <map>
#include <string>

namespace farfield::services::compute::testing {

class SlurmCluster {
public:
  /// The cluster of this test program, started when it is first asked for; null, and why, where it cannot run.
  static const SlurmCluster* get(std::string& why);
  ~SlurmCluster();
  SlurmCluster(const SlurmCluster&) = delete;
  SlurmCluster& operator=(const SlurmCluster&) = delete;

  /// Partitions: `preempt` (default; its jobs are requeued for those of the other) and `realtime`. Nodes with 4 CPUs
  /// and 2 GPUs that are no GPUs.
  std::map<std::string, std::string> environment() const { return {{"SLURM_CONF", (folder_ / "slurm.conf").string()}}; }

private:
  SlurmCluster();
  void end_process(const std::string& pid_file) const;
  std::filesystem::path folder_;
};

}  // namespace farfield::services::compute::testing
