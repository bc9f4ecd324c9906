#pragma once
// Which task goes to which worker, and what became of it: the endpoint's state without its sockets, files, threads and
// clock. Events go in; orders come out, to be carried out in the order: rows stored, then told.

#include <array>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "farfield/services/compute/protocol.hpp"
#include "farfield/services/compute/worker/journal.hpp"

namespace farfield::services::compute {

/// A place for a worker; workers that follow each other there count up their incarnation.
struct WorkerId {
  std::string block, node;
  int place = 0;
  auto operator<=>(const WorkerId&) const = default;
};

/// What new blocks of the endpoint can do.
struct DispatcherLimits {
  double walltime_s = 3600;  ///< a task that needs more fails
  int nodes = 1;             ///< of a block
  int workers = 1;           ///< of a block
  int gpu_slots = 0;         ///< of a node
  bool confines = false;
};

/// A task in a worker's hands, as it is kept.
struct Handover {
  TaskKey key;
  WorkerId worker;
  int incarnation = 0;
  Assignment assignment{};
};

/// Not thread-safe.
class Dispatcher {
public:
  explicit Dispatcher(const DispatcherLimits& limits) : limits_(limits) {}

  // ---- events

  /// From the service. `ready`: the user code it needs is here; else code_arrived() frees it.
  void offered(const Assignment& assignment, bool ready);
  void code_arrived(const std::string& archive);
  /// It cannot be had: its tasks fail, or are `lost` where `systems` says that another try may help.
  void code_missing(const std::string& archive, const std::string& why, bool systems);
  void cancelled(const std::string& task);
  void watched(const std::string& task, bool on);
  /// The service has stored these ends.
  void acknowledged(const std::vector<TaskKey>& ends);

  /// A row that was kept by an earlier process of this endpoint.
  void restored(const Handover& handover);
  void block_opened(const std::string& block, bool urgent);
  void block_leaves(const std::string& block);
  /// It ended, or was begun again: what its journals do not tell as ended is over. Its workers are forgotten.
  void block_ended(const std::string& block, const std::string& why,
                   const std::map<WorkerId, JournalContent>& journals);

  struct Greeting {
    WorkerId id;
    int incarnation = 0;
    std::vector<TaskKey> known;
    double leaves_s = 0;  ///< its walltime is over then
    int gpu_slots = 0;
    bool takes_work = true;
  };
  void greeted(const Greeting& greeting, double now_s);
  void disconnected(const WorkerId& worker);
  void takes_no_more(const WorkerId& worker);
  void began(const WorkerId& worker, const TaskBegin& begin);
  void ended(const WorkerId& worker, const TaskEnd& end, double now_s);

  /// The rows are on the disk: the assignments go out, or back into the queue where the worker has gone meanwhile.
  void stored(const std::vector<Handover>& handovers, double now_s);
  /// They are not: back into the queue.
  void not_stored(const std::vector<Handover>& handovers, double now_s);

  // ---- orders

  /// Tasks for workers with room. Each is to be stored, then stored() or not_stored() is called.
  std::vector<Handover> place(double now_s);

  struct Orders {
    std::map<WorkerId, std::vector<Assignment>> assign;
    std::map<WorkerId, std::vector<std::string>> cancel;
    std::vector<std::pair<WorkerId, Watch>> watch;
    std::vector<TaskBegin> begun;  ///< for the service
    std::vector<TaskEnd> ended;
    std::vector<TaskKey> forget;   ///< rows that are not needed any more
    std::map<WorkerId, std::vector<TaskKey>> acknowledge;  ///< once they are forgotten
    std::vector<std::pair<std::string, std::string>> finished;  ///< experiment, task: its folder is not needed any more
  };
  Orders take_orders() { return std::exchange(orders_, {}); }
  /// The service is there anew: what it has to hear again.
  void repeat();

  // ---- looking

  std::vector<TaskKey> known() const;
  bool knows(const TaskKey& key) const { return held_.contains(key); }
  /// Some attempt of it.
  bool knows(const std::string& task) const;
  /// User code of a task that has not ended.
  bool needs_archive(const std::string& sha256) const;
  /// Rows of tasks in that block are still needed.
  bool needs(const std::string& block) const;
  struct Queue {
    double work = 0, urgent = 0;  ///< see decide()
    double longest_s = 0;  ///< walltime of the task that needs most
    std::size_t tasks = 0;
  };
  Queue queue() const;
  struct Load {
    int workers = 0, idle = 0, busy = 0, gpu_slots = 0;
    double idle_since_s = 0, leaves_s = 0;
  };
  Load load(const std::string& block) const;

private:
  enum class State { waits_for_code, queued, storing, handed, ended };
  struct Held {
    Assignment assignment{};
    bool whole = false;  ///< the assignment is known, not only that a worker has it
    State state = State::queued;
    WorkerId worker{};
    int incarnation = 0;
    double expected_s = 0;
    bool row = false, begun = false, cancel = false;
    TaskBegin begin{};
    TaskEnd end{};
  };
  struct Worker {
    int incarnation = 0;
    bool connected = false, takes_work = false;
    double leaves_s = 0, idle_since_s = 0;
    int gpu_slots = 0;
    std::set<TaskKey> tasks;
    double pending_s = 0;  ///< how long those of them may take that are known to be short
    int unknown = 0;  ///< of how many that is not known
  };
  struct Block {
    bool urgent = false, leaving = false;
    TaskKey reserved{};  ///< for a task that needs all of it; empty: for nobody
  };
  using HeldAt = std::map<TaskKey, Held>::iterator;

  void end_here(HeldAt held, Ending ending, const std::string& problem);
  void finish(HeldAt held, const TaskEnd& end);
  void requeue(HeldAt held);
  void release(HeldAt held, double now_s);
  void push(HeldAt held, bool front);
  bool fits(const Assignment& a, const Worker& w, const Block& b, double now_s) const;
  double expected_s(const std::string& function) const;
  bool place_wide(HeldAt held, double now_s, std::vector<Handover>& placed);
  void hand(HeldAt held, const WorkerId& id, Worker& worker, std::vector<Handover>& placed);

  DispatcherLimits limits_;
  std::map<TaskKey, Held> held_;
  std::array<std::deque<TaskKey>, 4> queue_;  ///< by priority; keys that are not queued any more are passed over
  std::map<WorkerId, Worker> workers_;
  std::map<std::string, Block> blocks_;
  std::map<std::string, std::vector<TaskKey>> waits_for_code_;
  std::map<std::string, double> seconds_of_;  ///< how long calls of a function lately took
  std::set<std::string> watched_;
  Orders orders_;
};

}  // namespace farfield::services::compute
