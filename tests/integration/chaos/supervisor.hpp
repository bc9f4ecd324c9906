#pragma once
// Keeps programs running as an init system does: each is started again when it ends, however it ended. Finds also the
// processes that they started, those that outlived their parents included.

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace farfield::chaos {

struct Program {
  std::string name;
  std::vector<std::string> command;                  ///< no shell is involved; the program by its path
  std::map<std::string, std::string> environment{};  ///< on top of this process's, without its FARFIELD_* variables
};

struct Process {
  pid_t pid = 0;
  std::string command;  ///< words between spaces
};

/// To be used by one thread, which starts no other processes meanwhile: ends of all children are taken note of.
class Supervisor {
public:
  /// What a program prints is appended to `logs`/NAME.log. Orphans of the programs become children of this process.
  explicit Supervisor(std::filesystem::path logs);
  /// Kills the programs and all that they started.
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  /// Throws std::system_error where it cannot be started.
  void start(const Program& program);
  /// Kills it (-9); it is started again `pause` later. False where it is not running just now.
  bool kill(const std::string& name, std::chrono::milliseconds pause);
  /// Asks it to end (TERM) and does not start it again; whether it ended within `limit` (else it is killed).
  bool stop(const std::string& name, std::chrono::milliseconds limit);
  bool runs(const std::string& name) const;

  /// Takes note of what ended and starts what is due: to be called often.
  void tend();
  /// The same, until `limit` has passed.
  void tend_for(std::chrono::milliseconds limit);

  /// All processes that come from here, not the programs themselves.
  std::vector<Process> offspring() const;
  /// Programs that ended though nobody killed them, in words; each is started again after a second.
  const std::vector<std::string>& falls() const { return falls_; }
  int starts() const { return starts_; }

private:
  using Clock = std::chrono::steady_clock;
  struct Kept {
    Program program;
    pid_t pid = -1;
    bool wanted = true, killed = false;
    Clock::time_point due{};
  };
  void spawn(Kept& kept);
  bool is_program(pid_t pid) const;

  std::filesystem::path logs_;
  std::map<std::string, Kept> programs_;
  std::vector<std::string> falls_;
  int starts_ = 0;
};

}  // namespace farfield::chaos
