#pragma once
// Transfers that survive the process: a task is stored before it is acknowledged, each finished file is stored, and a
// service that starts again goes on where the last one was.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "farfield/core/clock.hpp"
#include "farfield/services/transfer/task.hpp"
#include "farfield/store/database.hpp"

namespace farfield::services::transfer {

struct TasksOptions {
  int active = 16;                    ///< tasks at once; others wait in the order of their submission. >= 1
  double patience_s = 1;  ///< before a task that met a full disk or an absent peer is begun again; doubled
  double longest_patience_s = 60;  ///< up to this
  std::function<double()> wall_s;  ///< seconds since 1970; empty: the system's
};

/// A change of a task, stored before it is told. Of one task they come in order.
struct TaskEvent {
  enum class Kind { submitted, started, progress, waiting, ended } kind;
  TaskStatus status;
};
std::string_view name_of(TaskEvent::Kind kind);

/// A file of a task, as stored.
struct StoredUnit {
  std::string source, destination;
  Unit::Outcome outcome;
  Index size_bytes;
  std::uint32_t crc32c;
  std::string sha256;  ///< where asked for
  std::string problem;  ///< of a failed one
  std::optional<std::uint32_t> adler32{};  ///< in place of the CRC-32C, see Digests
};

/// Thread-safe. One process at a time works on the tasks of a database.
class Tasks {
public:
  /// Gives the provider of a place's name. Throws `not_found` for an unknown one (the task fails) and `unavailable` for
  /// one that is away (the task waits). Called by many threads.
  using Resolve = std::function<std::shared_ptr<Provider>(const std::string& place, const TaskRequest& request)>;

  /// Makes its tables where needed, and goes on with what was not finished. `observe` hears all events, from any
  /// thread; it is short and does not call back.
  Tasks(store::Database& database, Resolve resolve, const core::Clock& clock, TasksOptions options = {},
        std::function<void(const TaskEvent&)> observe = {});
  /// Stops what runs; a later start goes on with it.
  ~Tasks();
  Tasks(const Tasks&) = delete;
  Tasks& operator=(const Tasks&) = delete;

  /// Stored when it returns; the task's id. A request with a key that was used before gives the id of that task and
  /// submits nothing (`conflict` where it asked for something else): whoever does not know whether a submission arrived
  /// repeats it. Throws `invalid_argument` for a request that could never run.
  std::string submit(const TaskRequest& request, const std::string& key = "");
  /// Throws `not_found`.
  TaskStatus status(const std::string& id) const;
  /// The latest first; of one owner, or of all where it is empty.
  std::vector<TaskStatus> list(const std::string& owner, Index at_most) const;
  /// Keys and ids of the tasks that have not ended and were submitted under keys that begin so.
  std::vector<std::pair<std::string, std::string>> open_under(const std::string& beginning) const;
  /// Files of a task in the order of their destination, from behind `after` on; only failed ones where asked.
  std::vector<StoredUnit> units(const std::string& id, bool failed_only, const std::string& after, Index at_most) const;
  /// Stored when it returns; what is being copied stops soon. Nothing happens to a task that has ended.
  void cancel(const std::string& id);
  /// Calls `listener` as `observe` is called, from now on until the handle goes (and perhaps once more while it goes).
  /// The handle may outlive this.
  std::shared_ptr<void> listen(std::function<void(const TaskEvent&)> listener);
  /// Waits until the task has ended, at most so long; its status then.
  TaskStatus wait(const std::string& id, double seconds) const;

private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace farfield::services::transfer
