#pragma once
// What the broker keeps in the database. Where a task is just now is not there: only that it was submitted, every
// further attempt, and its end.

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "farfield/services/compute/broker/broker.hpp"

namespace farfield::services::compute {

/// A task as stored. Until it has ended its state is `queued`, and `status.attempt` the highest that may have been
/// handed to an endpoint.
struct TaskRecord {
  TaskStatus status;  ///< request.function with its version
  int losses = 0;     ///< attempts that the system lost
  bool begun = false; ///< some attempt was begun: files of it may be there
  std::string log;    ///< the last lines
};

struct EndpointRecord {
  std::string name, owner;
  std::vector<FunctionRecord> verbs;
  std::string program;
};

/// Thread-safe.
class Records {
public:
  /// Makes or updates the tables of `compute`.
  explicit Records(store::Database& database);

  std::vector<FunctionRecord> functions() const;
  std::vector<EndpointRecord> endpoints() const;
  /// Tasks that have not ended, in the order of their submission.
  std::vector<TaskRecord> open_tasks() const;
  /// Keys and ids of the tasks that have not ended and were submitted under keys that begin so.
  std::vector<std::pair<std::string, std::string>> open_under(const std::string& beginning) const;
  std::optional<TaskRecord> task(const std::string& id) const;
  /// The latest first; those that were submitted before the task `before`, if it is not empty.
  std::vector<TaskStatus> tasks(const std::string& owner, const std::string& experiment, long long at_most,
                                const std::string& before = "") const;

  /// The next version, or the last one where that is the same. Throws `forbidden` where the name is somebody else's.
  FunctionRecord add_function(FunctionRecord function);
  /// Throws `forbidden` where the name is somebody else's.
  void add_endpoint(const std::string& name, const std::string& owner);

  /// Removes tasks that ended before that, the oldest first, and returns their ids.
  std::vector<std::string> forget_ended(double before_s, double now_s, int at_most);

  store::Database& database() const { return database_; }

  // Inside a change.
  static void store_endpoint(store::Transaction&, const EndpointRecord&);
  /// `asked`: the request as it came. Returns the id of the task that is stored under the owner's key, new or old.
  /// Throws `conflict` where that asked for something else.
  static std::string insert_task(store::Transaction&, const TaskRecord&, const std::string& asked,
                                 const std::string& key);
  /// A further attempt, or the end, at `ended_s` by the service's clock. Nothing happens to a task that has ended.
  static void store_task(store::Transaction&, const TaskRecord&, double ended_s);

private:
  store::Database& database_;
};

}  // namespace farfield::services::compute
