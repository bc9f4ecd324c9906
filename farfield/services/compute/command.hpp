#pragma once
// A program run to its end, without a shell: arguments are handed over as they are.

#include <chrono>
#include <map>
#include <string>
#include <vector>

namespace farfield::services::compute {

struct CommandResult {
  int exit_code = 0;  ///< 128 + the signal's number where one ended it
  std::string out, err;  ///< at most 4 MB each; what comes after is read and dropped
};

/// The variables of this process.
std::map<std::string, std::string> own_environment();

/// Runs `arguments` (the first found in PATH) with `environment` added to this process's, standard input empty. Throws
/// `not_found` if there is no such program, `timeout` (the program is killed) and `io`.
CommandResult run_command(const std::vector<std::string>& arguments,
                          const std::map<std::string, std::string>& environment, std::chrono::milliseconds limit);

/// One argument for a POSIX shell, quoted where it must be.
std::string shell_quoted(const std::string& argument);

}  // namespace farfield::services::compute
