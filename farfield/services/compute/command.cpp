#include "farfield/services/compute/command.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "farfield/core/error.hpp"
#include "farfield/core/system_error.hpp"

extern char** environ;

namespace farfield::services::compute {
namespace {

using core::Error;
using core::ErrorCode;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kMostOutput = std::size_t{4} << 20;

/// Both ends are closed on exec and when this goes.
struct Pipe {
  Pipe() {
    if (::pipe2(end.data(), O_CLOEXEC) != 0) throw core::system_error(errno, "cannot make a pipe");
  }
  ~Pipe() {
    for (const int e : end)
      if (e >= 0) ::close(e);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  void close(int which) { ::close(std::exchange(end[static_cast<std::size_t>(which)], -1)); }
  std::array<int, 2> end{-1, -1};
};

std::vector<std::string> merged(const std::map<std::string, std::string>& added) {
  std::map<std::string, std::string> all = own_environment();
  for (const auto& [name, value] : added) all[name] = value;
  std::vector<std::string> entries;
  for (const auto& [name, value] : all) entries.push_back(fmt::format("{}={}", name, value));
  return entries;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> list;
  for (std::string& text : texts) list.push_back(text.data());
  list.push_back(nullptr);
  return list;
}

/// False at the end of the pipe.
bool take(int from, std::string& to) {
  std::array<char, 65536> buffer;
  const ssize_t n = ::read(from, buffer.data(), buffer.size());
  if (n < 0) return errno == EINTR || errno == EAGAIN;
  to.append(buffer.data(), std::min(static_cast<std::size_t>(n), kMostOutput - std::min(to.size(), kMostOutput)));
  return n > 0;
}

}  // namespace

std::map<std::string, std::string> own_environment() {
  std::map<std::string, std::string> all;
  for (char** e = environ; *e != nullptr; ++e) {
    const std::string entry = *e;
    const std::size_t equals = entry.find('=');
    if (equals != std::string::npos) all[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  return all;
}

CommandResult run_command(const std::vector<std::string>& arguments,
                          const std::map<std::string, std::string>& environment, std::chrono::milliseconds limit) {
  if (arguments.empty()) throw Error(ErrorCode::internal, "no program to run");
  Pipe out, err;
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, out.end[1], STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, err.end[1], STDERR_FILENO);
  ::posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);  // so that its children can be killed with it
  ::posix_spawnattr_setpgroup(&attributes, 0);
  std::vector<std::string> args = arguments, entries = merged(environment);
  pid_t pid = 0;
  const int failed =
      ::posix_spawnp(&pid, args[0].c_str(), &actions, &attributes, pointers(args).data(), pointers(entries).data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (failed == ENOENT) throw Error(ErrorCode::not_found, fmt::format("no program {}", arguments[0]));
  if (failed != 0) throw core::system_error(failed, "cannot run " + arguments[0]);
  out.close(1);
  err.close(1);

  CommandResult result;
  const auto deadline = Clock::now() + limit;
  bool late = false;
  for (bool out_open = true, err_open = true; out_open || err_open;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) {
      late = true;
      break;
    }
    std::array<pollfd, 2> fds{{{out_open ? out.end[0] : -1, POLLIN, 0}, {err_open ? err.end[0] : -1, POLLIN, 0}}};
    if (::poll(fds.data(), fds.size(), static_cast<int>(std::min<std::int64_t>(left, 1000))) < 0 && errno != EINTR)
      throw core::system_error(errno, "cannot wait for " + arguments[0]);
    if (fds[0].revents != 0) out_open = take(out.end[0], result.out);
    if (fds[1].revents != 0) err_open = take(err.end[0], result.err);
  }
  if (late) ::kill(-pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
  if (late)
    throw Error(ErrorCode::timeout,
                fmt::format("{} took longer than {} ms and was ended", arguments[0], limit.count()));
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

std::string shell_quoted(const std::string& argument) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=:,@%+";
  if (!argument.empty() && argument.find_first_not_of(kPlain) == std::string::npos) return argument;
  std::string quoted = "'";
  for (const char c : argument) {
    if (c == '\'') quoted += "'\\''";
    else quoted += c;
  }
  return quoted + "'";
}

}  // namespace farfield::services::compute
