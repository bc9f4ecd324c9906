#pragma once
// Actions that are durable jobs elsewhere in the service (transfers, computations): submitted under keys, so that one
// that is asked for again after a crash is the same job, and ended by the news of their end.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "farfield/services/flow/action.hpp"

namespace farfield::services::flow {

struct JobEnd {
  bool good = false;
  std::string details = "{}";  ///< JSON
  std::string problem{};       ///< of one that failed
  double start_s = 0, end_s = 0;  ///< seconds since 1970; 0: not known
};

/// What an action asks for and how its jobs are spoken to. Thread-safe; what blocks is called on threads that may.
class Jobs {
public:
  virtual ~Jobs() = default;

  struct Job {
    std::string key;
    std::function<std::string()>
        submit;  ///< durable when it returns; the id. May be called again, with the same result
  };
  /// At least one. Throws core::Error: `unauthenticated` for want of a token; whatever it throws refuses the action.
  virtual std::vector<Job> prepare(const ActionRequest& request) = 0;
  /// Nothing while it is at work.
  virtual std::optional<JobEnd> look(const std::string& id) = 0;
  virtual void cancel(const std::string& id) = 0;
  /// Those of all actions that have not ended, also of earlier processes.
  struct Open {
    std::string key;  ///< of the action
    std::string id;
  };
  virtual std::vector<Open> open() = 0;
  /// The action's details once all its jobs are done, or the first has failed; `ends` in the order of prepare().
  virtual std::string details(const ActionRequest& request, const std::vector<std::string>& ids,
                              const std::vector<std::optional<JobEnd>>& ends) = 0;

  /// Signs of life and ends (an end: something) of all jobs, told after they are stored, until the handle goes.
  using Heard = std::function<void(const std::string& id, const std::optional<JobEnd>& end)>;
  virtual std::shared_ptr<void> listen(Heard heard) = 0;
};

/// An action succeeds when all its jobs have, and fails with the first that fails; the others are cancelled. While a
/// database is away submissions wait. `threads` submit at the same time and share the commits of the database.
std::shared_ptr<ActionProvider> job_actions(std::unique_ptr<Jobs> jobs, int threads = 16);

}  // namespace farfield::services::flow
