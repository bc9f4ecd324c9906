#pragma once
// One run as a state machine without clock, threads or database. Inputs (start, an action's end, the time) are turned
// into events; the state is what the events add up to, so that a run is brought back by applying its log. Whoever owns
// a Run stores the events of an input in one transaction, and only then carries out the effects.

#include <deque>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "farfield/services/flow/action.hpp"
#include "farfield/services/flow/definition.hpp"

namespace farfield::services::flow {

/// Kinds of events, as stored. What each body holds stands in run.cpp, where it is made.
struct Event {
  std::string kind;
  double at_s = 0;  ///< seconds since 1970
  Json body;
};

struct StartAction {
  ActionRequest request;
};
struct CancelAction {
  std::string key, url;
};
struct ReleaseAction {
  std::string key, url;
};
using Effect = std::variant<StartAction, CancelAction, ReleaseAction>;

enum class RunStatus { active, succeeded, failed, cancelled };
std::string_view name_of(RunStatus status);
RunStatus run_status(std::string_view name);

class Run {
public:
  /// `context` is `$._context`: flow_id, run_id, username and so on.
  Run(std::shared_ptr<const Machine> machine, Json context);

  // Inputs. Each appends to events and effects; one that concerns nothing any more (an action that was given up) is
  // ignored. Times are seconds since 1970.
  void start(Json input, double now_s);
  void on_action(const ActionUpdate& update, double now_s);
  /// Everything that is due at `now_s`: waits, retries, time limits.
  void on_time(double now_s);
  void cancel(const std::string& by, double now_s);
  /// A failed or cancelled run goes on: every state in which it stopped is entered anew.
  void resume(const std::string& by, double now_s);

  std::vector<Event> take_events() { return std::exchange(events_, {}); }
  std::vector<Effect> take_effects() { return std::exchange(effects_, {}); }

  /// Brings back what was stored, in order. Throws core::Error `corrupt_data` for events that do not fit.
  void apply(const Event& event);
  /// After apply(): the actions under way, to be started again under their keys.
  std::vector<Effect> outstanding() const;
  /// Whether `key` is of an action that this run asked for, and does not wait for any more.
  bool is_over(const std::string& key) const;
  /// After apply(): nobody listened while the run was not in memory, so heartbeats count from now.
  void expect_heartbeats(double now_s);

  RunStatus status() const { return status_; }
  /// When on_time() has something to do; infinite: never.
  double due_s() const;
  /// The state of the run: its output once it has ended.
  const Json& state() const { return frames_.at(0).state; }
  std::vector<std::string> current_states() const;
  const std::string& error() const { return error_; }
  const std::string& cause() const { return cause_; }

private:
  enum class Phase { running, action, waiting, children, ended };
  static constexpr double kNever = std::numeric_limits<double>::infinity();

  /// One thread of the run: the whole flow, a branch of Parallel or an item of Map.
  struct Frame {
    int id = 0, parent = -1;
    Index index = 0;  ///< among the parent's children
    std::shared_ptr<const Machine> machine;
    Json state, item;  ///< item: of Map, else null
    std::string current;
    Phase phase = Phase::running;
    double due_s = kNever;
    // Action
    std::string key;
    Json body;
    double scheduled_s = 0;
    // Retry
    std::vector<int> attempts;
    // Parallel, Map
    Json items, results;
    Index started = 0, live = 0;
    int steps = 0;  ///< states since it last waited for anything
  };

  void emit(std::string_view kind, Json body);
  const State& state_of(const Frame& frame) const;
  Json context_of(const Frame& frame) const;
  Json input_of(const Frame& frame, const State& state) const;
  void advance(int id);
  void execute(int id);
  void schedule_action(Frame& frame, const State& state);
  double wait_until(const Frame& frame, const State& state) const;
  void start_children(int id);
  void leave(int id, std::optional<Json> result);
  void frame_ended(int id);
  void fail(int id, const FlowException& error, const Json& details);
  void abandon(int id);
  void apply_state(Frame& frame, const Event& event);
  void apply_run(const Event& event);
  void enter(Frame& frame, const std::string& state);
  ActionRequest request_of(const Frame& frame) const;

  Json context_;
  std::string run_id_;
  std::shared_ptr<const Machine> machine_;
  std::map<int, Frame> frames_;
  std::map<std::string, int> by_key_;
  int frames_made_ = 0;
  std::int64_t actions_made_ = 0;
  RunStatus status_ = RunStatus::active;
  double run_due_s_ = kNever, now_s_ = 0;
  std::string error_, cause_;
  // Frames to advance: a queue and not recursion, as one ending may start the next, thousands of times.
  std::deque<int> ready_;
  bool advancing_ = false;
  std::vector<Event> events_;
  std::vector<Effect> effects_;
};

}  // namespace farfield::services::flow
