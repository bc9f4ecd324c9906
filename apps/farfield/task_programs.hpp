#pragma once
// Tasks that are programs of their own: registered commands, user code, and verbs on several ranks.

#include <stop_token>
#include <string>
#include <vector>

#include "apps/farfield/command.hpp"
#include "apps/farfield/task_runner.hpp"

namespace farfield::apps {

/// A registered command or user code. Its lines are the task's log; what it writes to the file $FARFIELD_OUTPUT, JSON,
/// is the output, else {"exit_code": 0}.
services::compute::WorkEnd run_program(const services::compute::Work& work, const TaskRunnerOptions& options,
                                       services::compute::Reporter& reporter, const std::stop_token& stop);

/// A verb on the ranks of the task, by mpirun. Its checkpoint lies in its own output folder.
services::compute::WorkEnd run_ranks(const Command& command, const Arguments& arguments,
                                     const services::compute::Work& work, const TaskRunnerOptions& options,
                                     services::compute::Reporter& reporter, const std::stop_token& stop);

/// As a person would type it: {"farfield", "xpcs", "correlate", "scan.imm", "--out=result"}.
std::vector<std::string> typed(const Command& command, const Arguments& arguments);

}  // namespace farfield::apps
