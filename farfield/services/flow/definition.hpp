#pragma once
// A flow's definition, parsed and checked: the states as plain data. The language is described in
// docs/reference/flow-language.md.

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "farfield/core/view.hpp"
#include "farfield/services/flow/choice.hpp"
#include "farfield/services/flow/path.hpp"
#include "farfield/services/flow/template.hpp"

namespace farfield::services::flow {

using core::Index;

/// Which errors an entry of Catch or Retry is about; "States.All" (also States.ALL) is every one.
struct ErrorFilter {
  std::vector<std::string> names;
  bool takes(std::string_view error) const;
};

struct Catcher {
  ErrorFilter errors;
  std::string next;
  std::optional<Path> result_path;  ///< where {Error, Cause, ...} goes; without one, the state's ResultPath
};

/// The n-th retry (from 0) waits interval_s * backoff^n, at most max_delay_s; with jitter a random part of that.
struct Retrier {
  ErrorFilter errors;
  double interval_s = 1, backoff = 2;
  int max_attempts = 3;
  double max_delay_s = 86400;
  bool jitter = false;
};

struct Machine;

enum class StateType { action, expression_eval, pass, choice, wait, fail, parallel, map };
std::string_view name_of(StateType type);

struct State {
  StateType type = StateType::pass;
  std::string name;
  std::string next;  ///< empty: the end

  std::optional<Path> input_path;
  std::optional<Template> parameters;
  Path result_path;                    ///< `$`: the result is the new state
  std::shared_ptr<const Json> result;  ///< Pass
  std::vector<Catcher> catchers;
  std::vector<Retrier> retriers;

  // Action
  std::string action_url, action_scope, run_as = "User";
  double wait_time_s = 300;  ///< WaitTime or TimeoutSeconds; of Parallel and Map 0: no limit
  bool timeout_is_states_timeout = false;  ///< TimeoutSeconds: States.Timeout instead of ActionTimeout
  bool exception_on_action_failure = true;
  std::optional<double> heartbeat_s;

  // Choice
  std::vector<std::pair<ChoiceRule, std::string>> choices;
  std::string fallback;  ///< Default; empty: none

  // Wait: exactly one
  std::optional<double> seconds, timestamp_s;
  std::optional<Path> seconds_path, timestamp_path;

  // Fail
  std::string error, cause;

  // Parallel: each branch; Map: one, for every item
  std::vector<std::shared_ptr<const Machine>> branches;
  std::optional<Path> items_path;
  Index max_concurrency = 0;  ///< 0: all at once
};

struct Machine {
  std::string start_at;
  std::map<std::string, State> states;
  double timeout_s = 0;  ///< of the whole run; 0: none
};

/// A mistake (or, with `warning`, something that is probably one).
struct Problem {
  int line = 1;
  std::string path;  ///< JSON pointer, e.g. /States/Recon/Next
  std::string what;
  bool warning = false;
};

/// Says whether an ActionUrl leads to a provider; empty: all do.
using KnowsAction = std::function<bool(const std::string& url)>;

/// Every mistake, in the order of lines; text that is not JSON is one mistake.
std::vector<Problem> check_definition(std::string_view text, const KnowsAction& knows_action = {});
/// Throws `invalid_argument` with all mistakes ("line 7, /States/Recon/Next: ...").
std::shared_ptr<const Machine> parse_definition(std::string_view text, const KnowsAction& knows_action = {});

/// Each RunAs besides User, branches included, and the name of a state that has it.
std::map<std::string, std::string> other_run_as(const Machine& machine);

/// The definition for readers who may not see what __Private_Parameters names.
std::string definition_without_private(std::string_view text);

/// `problems` one a line, as validate prints them.
std::string describe(const std::vector<Problem>& problems);

}  // namespace farfield::services::flow
