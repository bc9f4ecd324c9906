#pragma once
// Runs the program as a user does.

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace farfield::testing_program {

struct Finished {
  int exit_code = -1;  ///< -1: ended by a signal
  int signal = 0;
  std::string out, err;
};

/// What may be done to a running process.
class Running {
public:
  explicit Running(int pid) : pid_(pid) {}
  void send(int signal) const;

private:
  int pid_;
};

struct RunOptions {
  std::map<std::string, std::string> environment{};  ///< on top of this process's, without its FARFIELD_* variables
  /// Called whenever more output has come, with all of it so far.
  std::function<void(Running&, const std::string& out, const std::string& err)> on_output{};
};

/// `farfield` with these arguments, to its end. No shell is involved.
Finished farfield(const std::vector<std::string>& arguments, const RunOptions& options = {});

}  // namespace farfield::testing_program
