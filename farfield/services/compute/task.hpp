#pragma once
// One call of a function: what is asked for, how far it is, and what it gave.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace farfield::services::compute {

enum class TaskState {
  queued,   ///< stored; waits for its endpoint, or for room there
  placed,   ///< the endpoint has it
  running,  ///< a worker began it
  done,
  failed,
  cancelled,
};
std::string_view name_of(TaskState);
inline bool has_ended(TaskState s) { return s >= TaskState::done; }

enum class Priority { low, normal, high, urgent };
std::string_view name_of(Priority);

struct TaskResources {
  int nodes = 1;          ///< of one block
  int ranks = 1;          ///< MPI processes over all nodes; 1: in the warm worker itself
  int gpu_slots = 0;      ///< on each node
  double walltime_s = 0;  ///< what it may need: placed only where so much is left; 0: not known
};

struct TaskRequest {
  std::string function;    ///< "name" (its latest version) or "name@version"
  std::string endpoint;    ///< name
  std::string experiment;  ///< whose files it sees, and no others
  std::string arguments = "{}";  ///< JSON object; paths are relative to the experiment's root
  TaskResources resources{};
  Priority priority = Priority::normal;
  int attempts =
      3;  ///< at most, where the system fails: worker or block lost. A task that fails itself is not repeated
  double deadline_s = 7 * 86400.0;  ///< from the submission; then it has failed
  std::string owner{};  ///< "user:garcia", for whom it acts
  std::string label{};
};

/// Seconds since 1970; 0: not yet.
struct TaskTimes {
  double submitted_s = 0, placed_s = 0;
  double assigned_s = 0;  ///< a worker has it
  double started_s = 0;   ///< code unpacked, GPU slots held: it runs
  double ended_s = 0;
};

struct TaskStatus {
  std::string id;
  TaskRequest request;
  TaskState state = TaskState::queued;
  int attempt = 0;      ///< begins at 1
  int resumed = 0;      ///< how often it went on from a checkpoint after preemption or the end of a walltime
  double progress = 0;  ///< 0 to 1
  std::string message{};              ///< of the progress, or why it waits
  std::string block{}, node{}, worker{};  ///< where it runs or ran
  TaskTimes times{};
  std::string output =
      "null";  ///< JSON, of a task that is done; a large one: {"$ref": "/api/v1/tasks/ID/output", "bytes": N}
  std::string problem{};        ///< why it failed, or why it was begun again
};

/// A change, told after it was stored (progress and log lines are not stored one by one).
struct TaskEvent {
  enum class Kind { submitted, placed, running, progress, log, again, ended } kind;
  TaskStatus status;
  std::string line{};  ///< of a log
};

}  // namespace farfield::services::compute
