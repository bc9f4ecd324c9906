#pragma once
// A run without actions: which states it passes, and what each action would be asked to do.

#include <map>
#include <string>
#include <vector>

#include "farfield/services/flow/definition.hpp"

namespace farfield::services::flow {

struct DryStep {
  std::string state, type;
  std::string action_url, body;  ///< of Action: where, and the evaluated parameters (JSON, private ones left out)
  double waits_s = 0;            ///< of Wait
};

struct DryRun {
  std::vector<DryStep> steps;
  std::string status;         ///< SUCCEEDED or FAILED
  std::string error, cause;
  std::string output;         ///< JSON, private members left out
};

/// Every action succeeds at once with the details given for its state (JSON; default {}), and waits are over at once.
/// Throws `invalid_argument` for details that are not JSON, and after 100,000 steps.
DryRun dry_run(const std::shared_ptr<const Machine>& machine, const std::string& input,
               const std::map<std::string, std::string>& details = {}, const std::string& user = "you");

}  // namespace farfield::services::flow
