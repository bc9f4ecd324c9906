#pragma once
// A program that runs for long: its lines are heard as they come, and it can be asked to end.

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <map>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

namespace farfield::services::compute {

struct ChildProgram {
  std::vector<std::string> arguments;  ///< the first is found in the PATH of `environment`, or is a path
  std::map<std::string, std::string> environment{};  ///< all of it: nothing of this process's is handed on
  std::chrono::milliseconds grace{10'000};  ///< between TERM and KILL
};

struct ChildEnd {
  int exit_code = 0;  ///< 128 + the signal's number where one ended it
  bool stopped = false;  ///< it was asked to end
  std::string last_line{};  ///< of what it said, not empty
};

/// Runs it in this thread's folder with this thread's confinement, standard input empty, in a process group of its own
/// that ends with it. `line` hears standard output and error, line by line (at most 4096 bytes each). TERM goes to the
/// group when `stop` is requested. Throws `not_found` (no such program), `io`, and what `line` throws: the program is
/// ended.
ChildEnd run_child(const ChildProgram& program, const std::function<void(const std::string&)>& line,
                   const std::stop_token& stop);

/// Kills the children that the main thread of this process has, but `except`: with PR_SET_CHILD_SUBREAPER they are also
/// what its children left behind.
void end_children(std::span<const pid_t> except);

}  // namespace farfield::services::compute
