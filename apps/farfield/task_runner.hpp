#pragma once
// What workers run: verbs of techniques in the warm process itself, registered commands and user code as programs,
// several ranks by mpirun.

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "farfield/services/compute/worker/task_runner.hpp"

namespace farfield::apps {

/// As workers have it, from environment variables that their endpoint sets.
struct TaskRunnerOptions {
  int threads = 0;  ///< of a verb that does not say how many; 0: all
  std::vector<std::string> mpirun{"mpirun"};  ///< the program and options of this cluster
};
TaskRunnerOptions task_runner_options();

std::unique_ptr<services::compute::TaskRunner> make_task_runner(const TaskRunnerOptions& options);

/// The verbs of this program as functions: "farfield.<technique>.<verb>", called with {"inputs": [...]} and the verb's
/// options by name, paths relative to the experiment's folder. Besides "farfield.echo", which gives its arguments back.
std::vector<services::compute::FunctionRecord> verb_functions();

/// A template's element with its members replaced (function.hpp). Throws `invalid_argument`, `not_found` (a path that
/// is to be read), `forbidden` (a path that leads out of `root`).
std::string expanded(const std::string& element, const std::string& arguments, const std::filesystem::path& root);

}  // namespace farfield::apps
