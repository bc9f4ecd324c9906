#pragma once
// Executes runs: durable, pushed, thousands at once. One thread decides; a change is stored before it is acted upon, so
// that a crash at any moment loses nothing and repeats nothing: an action that was under way is asked for again under
// its old key.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "farfield/core/error.hpp"
#include "farfield/services/flow/action.hpp"
#include "farfield/services/flow/records.hpp"

namespace farfield::services::flow {

/// What starts a run.
struct RunRequest {
  std::string flow_id{};
  std::int64_t flow_version = 0;  ///< 0: the newest
  std::string input = "{}";  ///< JSON
  std::string owner{};  ///< the user it acts for
  std::string label{};
  std::vector<std::string> tags{}, managers{}, monitors{};
  /// What $._context says of the user besides: email, user_id, identities, token_info. JSON object.
  std::string user = "{}";
  /// The caller's own name for the request: a second one with the same name gives the run of the first.
  std::string request_id{};
  std::string grant{};  ///< by which actions get tokens of the owner's; handed to providers with each action
  std::map<std::string, RunIdentity> identities{};  ///< instead of that, by RunAs: Flow, or a role
};

/// What happened to a run, told after it is stored.
struct RunNews {
  RunRecord run;
  std::vector<StoredEvent> events;
};

/// Thread-safe.
class Engine {
public:
  using Listener = std::function<void(const RunNews&)>;
  using Started = std::function<void(core::Result<std::string>)>;

  enum class Recover { all, none };
  /// `database` outlives this. Brings back every run that is active in the database (`all`): their actions are started
  /// again under their keys. At most one engine works on a run at a time; of two, the one that stores first goes on.
  Engine(store::Database& database, Providers providers, Recover recover = Recover::all);
  /// Stops at once; active runs go on with the next engine.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const Providers& providers() const;
  const Records& records() const;

  /// Checks the definition, its actions and the schema, then stores. Throws `invalid_argument` with all mistakes.
  FlowRecord deploy(FlowRecord flow);

  /// The id of the run, which is stored. Throws `not_found` (flow), `invalid_argument` (input), and what the
  /// database throws.
  std::string start(const RunRequest& request);
  /// The same without waiting for the disk; `started` is called on the database's thread. Throws for a wrong request.
  void start(const RunRequest& request, Started started);

  /// Both are done when they return; throw `not_found`, and `conflict` where the run is in another status.
  void cancel(const std::string& run_id, const std::string& by);
  void resume(const std::string& run_id, const std::string& by);

  /// Brings back one active run, where it is not in memory. Throws `not_found`.
  void adopt(const std::string& run_id);

  /// The run once it has ended, or as it is after `timeout_s`.
  RunRecord wait(const std::string& run_id, double timeout_s);

  /// Calls `listener` for every change of every run, on the engine's thread: short, and without calls to this. The
  /// listener is dropped with the returned object.
  [[nodiscard]] std::shared_ptr<void> listen(Listener listener);

  /// Runs in memory.
  std::size_t live() const;

private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace farfield::services::flow
