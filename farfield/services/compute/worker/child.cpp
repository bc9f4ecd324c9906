#include "farfield/services/compute/worker/child.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <fstream>

#include "farfield/core/error.hpp"
#include "farfield/core/system_error.hpp"

namespace farfield::services::compute {
namespace {

using core::Error;
using core::ErrorCode;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kLongestLine = 4096;

class Descriptor {
public:
  explicit Descriptor(int n = -1) : number(n) {}
  ~Descriptor() { close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  void close() {
    if (number >= 0) ::close(number);
    number = -1;
  }
  int number;
};

/// As a shell finds it, in the PATH that the program is given.
std::string found(const ChildProgram& program) {
  const std::string& name = program.arguments.at(0);
  if (name.find('/') != std::string::npos) return name;
  const auto path = program.environment.find("PATH");
  const std::string folders = path == program.environment.end() ? "/usr/bin:/bin" : path->second;
  for (std::size_t begin = 0; begin <= folders.size();) {
    const std::size_t end = std::min(folders.find(':', begin), folders.size());
    const std::string candidate = fmt::format("{}/{}", std::string_view(folders).substr(begin, end - begin), name);
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    begin = end + 1;
  }
  throw Error(ErrorCode::not_found, fmt::format("no program {} in {}", name, folders));
}

pid_t start(const ChildProgram& program, int output) {
  const std::string file = found(program);
  std::vector<std::string> arguments = program.arguments, variables;
  for (const auto& [name, value] : program.environment) variables.push_back(name + "=" + value);
  std::vector<char*> argv, envp;
  for (std::string& a : arguments) argv.push_back(a.data());
  for (std::string& v : variables) envp.push_back(v.data());
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
  ::posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
  sigset_t none, ours;
  ::sigemptyset(&none);
  ::sigemptyset(&ours);
  for (const int signal : {SIGTERM, SIGINT, SIGPIPE, SIGXFSZ}) ::sigaddset(&ours, signal);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &ours);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t pid = 0;
  const int failed = ::posix_spawn(&pid, file.c_str(), &actions, &attributes, argv.data(), envp.data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (failed == ENOENT) throw Error(ErrorCode::not_found, fmt::format("no program {}", file));
  if (failed == EACCES) throw Error(ErrorCode::forbidden, fmt::format("{} must not be run by this task", file));
  if (failed != 0) throw core::system_error(failed, "cannot run " + file);
  return pid;
}

/// Bytes to lines.
class Lines {
public:
  explicit Lines(const std::function<void(const std::string&)>& heard) : heard_(heard) {}
  void take(std::string_view bytes) {
    for (const char c : bytes) {
      if (c == '\n' || text_.size() >= kLongestLine) flush();
      if (c != '\n' && c != '\r') text_ += c;
    }
  }
  void flush() {
    if (text_.empty()) return;
    last = std::exchange(text_, {});
    heard_(last);
  }
  std::string last;

private:
  const std::function<void(const std::string&)>& heard_;
  std::string text_;
};

/// Ends the program with its process group, however its caller goes, and takes its code.
class Started {
public:
  explicit Started(pid_t pid) : pid_(pid) {}
  ~Started() { end(); }
  Started(const Started&) = delete;
  Started& operator=(const Started&) = delete;
  int end() {
    if (pid_ == 0) return 0;
    ::kill(-pid_, SIGKILL);  // the number still names the group: nobody has waited for it yet
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {}
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

private:
  pid_t pid_;
};

}  // namespace

void end_children(std::span<const pid_t> except) {
  for (int round = 0; round < 1000; ++round) {  // who is ended leaves its own children to us
    std::ifstream children(fmt::format("/proc/self/task/{}/children", ::getpid()));
    bool found = false;
    for (pid_t pid = 0; children >> pid;) {
      if (std::find(except.begin(), except.end(), pid) != except.end()) continue;
      found = true;
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
    if (!found) return;
  }
}

ChildEnd run_child(const ChildProgram& program, const std::function<void(const std::string&)>& line,
                   const std::stop_token& stop) {
  if (program.arguments.empty() || program.arguments[0].empty())
    throw Error(ErrorCode::invalid_argument, "there is no program to run");
  std::array<int, 2> pipe{-1, -1};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) throw core::system_error(errno, "cannot make a pipe");
  Descriptor out(pipe[0]), in(pipe[1]), asked(::eventfd(0, EFD_CLOEXEC));
  if (asked.number < 0) throw core::system_error(errno, "cannot make an event");
  const pid_t pid = start(program, in.number);
  Started started(pid);
  in.close();
  const Descriptor ended(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (ended.number < 0) throw core::system_error(errno, "cannot wait for " + program.arguments[0]);
  const std::stop_callback on_stop(stop, [&] {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto n = ::write(asked.number, &one, sizeof one);
  });

  ChildEnd result;
  Lines lines(line);
  auto kill_at = Clock::time_point::max();
  std::array<char, 65536> buffer;
  // Until the program itself has ended and what it said is read; not until the last of its children lets go of the
  // pipe.
  for (bool open = true, over = false; open || !over;) {
    std::array<pollfd, 3> all{{{open ? out.number : -1, POLLIN, 0},
                               {over ? -1 : ended.number, POLLIN, 0},
                               {result.stopped ? -1 : asked.number, POLLIN, 0}}};
    int timeout_ms = over ? 0 : 1000;
    if (result.stopped && !over && kill_at != Clock::time_point::max())
      timeout_ms = static_cast<int>(std::clamp<std::int64_t>(
          std::chrono::duration_cast<std::chrono::milliseconds>(kill_at - Clock::now()).count() + 1, 0, 1000));
    if (::poll(all.data(), all.size(), timeout_ms) < 0 && errno != EINTR)
      throw core::system_error(errno, "cannot wait for " + program.arguments[0]);
    if (all[2].revents != 0) {
      result.stopped = true;
      ::kill(-pid, SIGTERM);
      kill_at = Clock::now() + program.grace;
    }
    if (Clock::now() >= kill_at) {
      ::kill(-pid, SIGKILL);
      kill_at = Clock::time_point::max();
    }
    if (all[0].revents != 0) {
      const ssize_t n = ::read(out.number, buffer.data(), buffer.size());
      if (n > 0) lines.take({buffer.data(), static_cast<std::size_t>(n)});
      else if (n == 0 || errno != EINTR) open = false;
    } else if (over) {
      open = false;
    }
    if (all[1].revents != 0) over = true;
  }
  lines.flush();
  result.exit_code = started.end();
  result.last_line = lines.last;
  return result;
}

}  // namespace farfield::services::compute
