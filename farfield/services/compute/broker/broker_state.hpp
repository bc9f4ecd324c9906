#pragma once
// The broker's memory. One thread, the desk, decides: everything that comes in is put into its inbox and done under the
// lock; what has to go out (messages, events, changes for the database) is done in order after the lock was released.

#include <array>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <unordered_map>

#include "farfield/services/compute/broker/broker.hpp"
#include "farfield/services/compute/broker/records.hpp"
#include "farfield/services/compute/schema.hpp"

namespace farfield::services::compute {

struct Function {
  FunctionRecord record;
  InputSchema schema;
};

/// A task that has not ended.
struct Task : TaskRecord {
  std::shared_ptr<const Function> function;  ///< null: a verb, which the endpoint has
  /// Came from the database: its endpoint may have it under this attempt, or not.
  bool uncertain = false;
  /// A change is on its way to the disk; what else comes waits in `after`.
  bool storing = false;
  std::vector<std::function<void()>> after;
  std::map<std::string, std::shared_ptr<const std::string>> previews;

  double deadline_s() const { return status.times.submitted_s + status.request.deadline_s; }
};
using TaskPtr = std::shared_ptr<Task>;

using Verbs = std::map<std::string, std::shared_ptr<const Function>>;
/// One whose schema is none is left out.
Verbs compiled_verbs(const std::vector<FunctionRecord>& records);

struct Endpoint {
  EndpointRecord record;
  Verbs verbs;
  std::shared_ptr<Line> line;
  bool heard = false;  ///< said Hello on this line
  double since_s = 0, heard_s = 0;
  Capacity capacity;
  double run_s = 1;  ///< how long its tasks run, in the mean of the last ones
  /// Ends that it has not been told to be stored. Nothing waits for that: it is told along with tasks, or a moment
  /// later.
  std::vector<TaskKey> stored;
  std::chrono::steady_clock::time_point stored_since{};  ///< the first of them

  /// Waiting tasks by class and age; `held` are those that do not fit what the endpoint has now.
  using Order = std::pair<int, std::string>;
  std::set<Order> ready, held;
  static Order order(const TaskStatus& s) { return {-static_cast<int>(s.request.priority), s.id}; }

  /// Attempts that are there, as far as is known: also those that were cancelled and have not said so.
  struct There {
    int attempt = 0;
    Priority priority = Priority::normal;
  };
  std::unordered_map<std::string, There> there;
  std::array<long long, 4> there_of_class{};
  void arrive(const std::string& task, There what);
  void depart(const std::string& task, int attempt);
  /// How many may be there: its workers, and what they finish while the next ones are on their way.
  long long room() const;
};

/// A further attempt of a task, or its end: stored first, then true.
struct Change {
  TaskPtr task;
  TaskRecord to;
  TaskEvent::Kind kind = TaskEvent::Kind::ended;
  int acknowledges = 0;  ///< the attempt whose end this is; 0: none
  std::function<void(core::Result<void>)> done{};  ///< of a caller who waits; others are tried until it is stored
};
using Changes = std::shared_ptr<const std::vector<Change>>;

struct Broker::State : std::enable_shared_from_this<Broker::State> {
  State(store::Database& db, BrokerOptions o);

  Records records;
  BrokerOptions options;

  mutable std::mutex mutex;
  std::condition_variable wake, changed;
  std::deque<std::function<void()>> inbox;
  bool stopping = false;

  std::map<std::string, std::vector<std::shared_ptr<const Function>>> functions;  ///< versions, ascending
  std::map<std::string, Endpoint> endpoints;
  std::unordered_map<std::string, TaskPtr> live;
  std::set<std::pair<double, std::string>> deadlines;
  std::deque<std::string> ended_order;
  std::unordered_map<std::string, TaskRecord> ended;  ///< the last ones
  std::string last_id;
  std::mutex archives;  ///< held while one is found for a task, or removed; taken before `mutex`

  using Listeners = std::map<int, std::shared_ptr<const Listener>>;
  using Viewers = std::map<int, std::shared_ptr<const Viewer>>;
  Listeners listeners;
  std::unordered_map<std::string, Viewers> viewers;  ///< by task
  int next_handle = 0;

  // Of the desk alone.
  std::vector<Change> changes;
  std::vector<std::function<void()>> effects;
  std::vector<std::pair<double, Changes>> later;  ///< what the database would not take
  std::set<std::string> to_place;  ///< endpoints where something may be placed now
  double tick_s = 0;
  bool owes = false;  ///< an endpoint has to be told of stored ends
  std::thread thread;

  // broker.cpp
  void recover();
  void post(std::function<void()> input);
  std::string new_id();
  std::shared_ptr<const Function> find_function(const std::string& name) const;
  TaskStatus snapshot(const Task& task) const;
  std::optional<TaskRecord> look(const std::string& id) const;

  // broker_desk.cpp
  void loop();
  void tick();
  void flush();
  void store(const Changes& batch);
  void stored(const Changes& batch, const core::Result<void>& result);
  void apply(const Change& change);
  void give_up(const Change& change, const core::Error& error);
  void change(Change c);
  void end(const TaskPtr& task, TaskState state, const std::string& problem,
           std::function<void(core::Result<void>)> done = {});
  /// `reason`: empty where nothing was lost. Ends the task where that was the last attempt.
  void again(const TaskPtr& task, const std::string& reason, bool loss, int acknowledges = 0);
  void cancel(const TaskPtr& task, const std::function<void(core::Result<void>)>& done);
  void expire(const TaskPtr& task);
  void tell(TaskEvent::Kind kind, const Task& task, const std::string& line = {});
  void view(const std::string& task, const std::string& channel, std::shared_ptr<const std::string> message,
            bool binary);
  void send(const Endpoint& endpoint, Message message);
  void acknowledge(Endpoint& endpoint, std::vector<TaskKey> ends);
  void send_stored(Endpoint& endpoint);
  /// Sends what has waited.
  void pay();
  void close(Endpoint& endpoint, const std::string& reason);
  void place(Endpoint& endpoint);

  // broker_line.cpp
  void take(Endpoint& endpoint, const Hello& hello, Verbs verbs);
  void take(Endpoint& endpoint, const Begun& begun);
  void take(Endpoint& endpoint, const Ended& ends);
  void take(Endpoint& endpoint, const Progressed& progressed);
  void take(Endpoint& endpoint, const Logged& logged);
  void take(Endpoint& endpoint, const CapacityNow& now);
  void take(Endpoint& endpoint, const Preview& preview, std::shared_ptr<const std::string> message);
  /// What is placed there, or was when an earlier service died, with what the endpoint said it has.
  void compare(Endpoint& endpoint, const TaskPtr& task);
  /// The task that `key` is an attempt of, if it is the current one and the task is there.
  TaskPtr current(const Endpoint& endpoint, const TaskKey& key) const;
  void end_there(Endpoint& endpoint, const TaskEnd& end, std::vector<TaskKey>& acknowledged);
  void begin_there(const TaskPtr& task);
};

}  // namespace farfield::services::compute
