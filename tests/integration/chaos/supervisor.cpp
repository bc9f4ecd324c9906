#include "tests/integration/chaos/supervisor.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <fstream>
#include <set>
#include <sstream>
#include <stdexcept>
#include <system_error>
#include <thread>

namespace farfield::chaos {
namespace {
namespace fs = std::filesystem;
using namespace std::chrono_literals;

std::string contents(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  for (auto& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

/// Parent of each process of this machine.
std::map<pid_t, pid_t> parents() {
  std::map<pid_t, pid_t> out;
  std::error_code gone;
  for (const auto& entry : fs::directory_iterator("/proc", gone)) {
    const std::string name = entry.path().filename();
    pid_t pid = 0;
    if (std::from_chars(name.data(), name.data() + name.size(), pid).ec != std::errc()) continue;
    // pid (name, with anything in it) state ppid ...
    const std::string stat = contents(entry.path() / "stat");
    const auto bracket = stat.rfind(')');
    if (bracket == std::string::npos) continue;
    std::istringstream rest(stat.substr(bracket + 1));
    char state = 0;
    pid_t parent = 0;
    if (rest >> state >> parent && state != 'Z') out[pid] = parent;
  }
  return out;
}

std::string ending(int status) {
  if (WIFSIGNALED(status)) return fmt::format("signal {}", WTERMSIG(status));
  return fmt::format("exit code {}", WEXITSTATUS(status));
}

}  // namespace

Supervisor::Supervisor(fs::path logs) : logs_(std::move(logs)) {
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) throw std::system_error(errno, std::generic_category(), "prctl");
  fs::create_directories(logs_);
}

Supervisor::~Supervisor() {
  for (auto& [name, kept] : programs_) {
    kept.wanted = false;
    if (kept.pid > 0) ::kill(kept.pid, SIGKILL);
  }
  try {
    // What is killed may just have started another.
    for (int i = 0; i < 100; ++i) {
      tend();
      const auto left = offspring();
      if (left.empty() && std::ranges::none_of(programs_, [](const auto& p) { return p.second.pid > 0; })) break;
      for (const auto& process : left) ::kill(process.pid, SIGKILL);
      std::this_thread::sleep_for(20ms);
    }
  } catch (const std::exception& e) {
    fmt::print(stderr, "processes may be left: {}\n", e.what());
  }
  ::prctl(PR_SET_CHILD_SUBREAPER, 0);
}

void Supervisor::spawn(Kept& kept) {
  std::vector<std::string> words = kept.program.command, variables;
  for (char** v = environ; *v != nullptr; ++v)
    if (std::string_view(*v).substr(0, 9) != "FARFIELD_") variables.emplace_back(*v);
  for (const auto& [name, value] : kept.program.environment) variables.push_back(fmt::format("{}={}", name, value));
  const std::string log = logs_ / (kept.program.name + ".log");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  auto argv = pointers(words), env = pointers(variables);
  const int failed = ::posix_spawn(&kept.pid, words.at(0).c_str(), &actions, nullptr, argv.data(), env.data());
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) {
    kept.pid = -1;
    throw std::system_error(failed, std::generic_category(), words.at(0));
  }
  kept.killed = false;
  ++starts_;
}

void Supervisor::start(const Program& program) {
  auto& kept = programs_[program.name];
  if (kept.pid > 0) throw std::logic_error(program.name + " runs already");
  kept = {program, -1, true, false, {}};
  spawn(kept);
}

bool Supervisor::kill(const std::string& name, std::chrono::milliseconds pause) {
  tend();
  auto& kept = programs_.at(name);
  if (kept.pid <= 0) return false;
  kept.killed = true;
  kept.due = Clock::now() + pause;
  ::kill(kept.pid, SIGKILL);
  return true;
}

bool Supervisor::stop(const std::string& name, std::chrono::milliseconds limit) {
  auto& kept = programs_.at(name);
  kept.wanted = false;
  kept.killed = true;
  if (kept.pid > 0) ::kill(kept.pid, SIGTERM);
  const auto last = Clock::now() + limit;
  for (tend(); kept.pid > 0; tend()) {
    if (Clock::now() > last) {
      ::kill(kept.pid, SIGKILL);
      return false;
    }
    std::this_thread::sleep_for(10ms);
  }
  return true;
}

bool Supervisor::runs(const std::string& name) const { return programs_.at(name).pid > 0; }

bool Supervisor::is_program(pid_t pid) const {
  return std::ranges::any_of(programs_, [&](const auto& p) { return p.second.pid == pid; });
}

void Supervisor::tend() {
  int status = 0;
  for (pid_t ended; (ended = ::waitpid(-1, &status, WNOHANG)) > 0;)
    for (auto& [name, kept] : programs_) {
      if (kept.pid != ended) continue;
      kept.pid = -1;
      if (kept.killed) break;
      falls_.push_back(name + ": " + ending(status));
      kept.due = Clock::now() + 1s;
    }
  for (auto& [name, kept] : programs_)
    if (kept.wanted && kept.pid < 0 && Clock::now() >= kept.due) spawn(kept);
}

void Supervisor::tend_for(std::chrono::milliseconds limit) {
  const auto last = Clock::now() + limit;
  do {
    tend();
    std::this_thread::sleep_for(std::min<Clock::duration>(10ms, std::max<Clock::duration>(last - Clock::now(), 0ms)));
  } while (Clock::now() < last);
}

std::vector<Process> Supervisor::offspring() const {
  const auto parent_of = parents();
  std::vector<Process> out;
  for (const auto& [pid, parent] : parent_of) {
    if (is_program(pid)) continue;
    pid_t at = parent;
    for (int i = 0; i < 64 && at > 1 && at != ::getpid(); ++i) {
      const auto next = parent_of.find(at);
      at = next == parent_of.end() ? 0 : next->second;
    }
    if (at != ::getpid()) continue;
    std::string command = contents(fs::path("/proc") / std::to_string(pid) / "cmdline");
    while (!command.empty() && command.back() == '\0') command.pop_back();
    std::ranges::replace(command, '\0', ' ');
    out.push_back({pid, command});
  }
  return out;
}

}  // namespace farfield::chaos
