#pragma once
// Blocks: allocations of an endpoint, from this machine or from a batch scheduler. A provider starts one, tells how it
// is, and ends it; what runs in it is the caller's command.

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace farfield::services::compute {

struct BlockRequest {
  std::string name;                  ///< 1 to 64 of letters, digits, '-', '_', '.', not beginning with '.' or '-'
  std::vector<std::string> command;  ///< run once on each node
  std::map<std::string, std::string> environment{};
  std::string folder;  ///< an existing folder: the job script, output and exit code of the block stay here
  int nodes = 1;
  int cores = 0;  ///< on each node; 0: as the provider has it
  int gpus = 0;  ///< on each node
  double walltime_s = 3600;
  /// A scheduler's: empty for its default. `extra` are lines of its script, for Slurm "#SBATCH ...".
  std::string partition{}, account{}, qos{}, reservation{};
  std::vector<std::string> extra{};
};

enum class BlockState {
  queued,
  running,
  done,  ///< ended by itself with exit code 0
  failed,  ///< with another one, or its node was lost
  cancelled,
  timed_out,  ///< its walltime was over
  preempted,  ///< given up for something more urgent, and not requeued
  lost,  ///< neither the provider nor the block's own files know what became of it
};
std::string_view name_of(BlockState);
inline bool has_ended(BlockState s) { return s != BlockState::queued && s != BlockState::running; }

struct BlockStatus {
  BlockState state = BlockState::lost;
  std::string reason{};  ///< the provider's word: why it waits, or how it ended
  std::string nodes{};  ///< where it runs, as the provider writes it
  int restarts = 0;  ///< how often it was requeued
};

/// Thread-safe. Ids are texts that a provider made later, in another process, understands, too.
class BlockProvider {
public:
  virtual ~BlockProvider() = default;
  /// Throws `invalid_argument` for a request that it could never run, `unavailable` when it cannot be reached or does
  /// not answer (find() tells whether it started; the same request may be sent again), `conflict` when the folder holds
  /// a block of that name.
  virtual std::string submit(const BlockRequest&) = 0;
  /// The id of the block of that name in that folder, empty if there is none: for who died before it could note the id.
  /// Throws `unavailable`.
  virtual std::string find(const std::string& folder, const std::string& name) = 0;
  /// By id; each has a status, `lost` for what it does not know. Throws `unavailable`: then nothing is known of any.
  virtual std::map<std::string, BlockStatus> query(std::span<const std::string> ids) = 0;
  /// Asks it to end: TERM, and KILL after the provider's grace. Nothing happens to a block that has ended.
  virtual void cancel(const std::string& id) = 0;
  /// Blocks are processes of this machine: none outlives it.
  virtual bool on_this_machine() const { return false; }
};

/// What all providers check. Throws `invalid_argument`.
void validate(const BlockRequest&);

struct LocalOptions {
  double grace_s = 10;  ///< between TERM and KILL
};
/// Processes of this machine, which go on when this process ends.
std::unique_ptr<BlockProvider> make_local_blocks(const LocalOptions& options = {});

struct SlurmOptions {
  std::string programs{};  ///< folder of sbatch, squeue, scontrol, scancel and sacct; empty: PATH
  std::map<std::string, std::string> environment{};  ///< SLURM_CONF, for instance
  double patience_s = 30;  ///< for one call of a program
};
/// Jobs of a Slurm cluster, with accounting or without. A job that was preempted and requeued is held back for two
/// minutes by Slurm; query() lifts that.
std::unique_ptr<BlockProvider> make_slurm_blocks(const SlurmOptions& options = {});

}  // namespace farfield::services::compute
