// Blocks as processes of this machine. A block is a session of its own, named by the process id of its script and that
// process's time of start, so that another process with the same number is not taken for it.

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <csignal>
#include <ctime>
#include <fstream>
#include <limits>
#include <mutex>
#include <sstream>
#include <thread>

#include "farfield/core/error.hpp"
#include "farfield/core/system_error.hpp"
#include "farfield/services/compute/blocks/block_script.hpp"
#include "farfield/services/compute/command.hpp"

extern char** environ;

namespace farfield::services::compute {
namespace {

using core::Error;
using core::ErrorCode;
using Clock = std::chrono::steady_clock;

constexpr double kClockTick_s = 0.02;  ///< the kernel tells when a process began in hundredths of a second

/// Fields of /proc/PID/stat that matter; nothing for a process that is not there or only waits to be asked for its
/// code.
struct Process {
  long session = 0;
  unsigned long long start = 0;
};
std::optional<Process> look_at(long pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string text;
  std::getline(file, text);
  const std::size_t name_end = text.rfind(')');  // the name may hold anything
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream rest(text.substr(name_end + 1));
  std::string state;
  long parent = 0, group = 0;
  Process p;
  rest >> state >> parent >> group >> p.session;
  for (int field = 7; field < 22; ++field) rest >> text;
  rest >> p.start;
  if (!rest || state == "Z" || state == "X") return std::nullopt;
  return p;
}

class LocalBlocks final : public BlockProvider {
public:
  explicit LocalBlocks(const LocalOptions& options) : options_(options) {}

  bool on_this_machine() const override { return true; }

  std::string submit(const BlockRequest& r) override {
    validate(r);
    if (r.nodes != 1)
      throw Error(ErrorCode::invalid_argument, fmt::format("nodes {} must be 1 on this machine", r.nodes));
    for (const std::string* word : {&r.partition, &r.account, &r.qos, &r.reservation})
      if (!word->empty())
        throw Error(ErrorCode::invalid_argument,
                    fmt::format("\"{}\": this machine has no partitions, accounts, QOS or reservations", *word));
    if (!r.extra.empty()) throw Error(ErrorCode::invalid_argument, "this machine has no scheduler to read extra lines");
    const BlockFiles files = files_of(r);
    write_script(r, {},
                 {"timeout", "--signal=TERM", fmt::format("--kill-after={}", options_.grace_s),
                  fmt::format("{}", std::ceil(r.walltime_s))},
                 r.walltime_s);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
    ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, files.output().c_str(), O_WRONLY | O_CREAT | O_APPEND,
                                       0600);
    ::posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
    // Nothing else: a socket that this process listens at would stay open as long as the block.
    ::posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    // A session of its own, which hears signals even where this process has blocked or ignored them.
    sigset_t none, ours;
    ::sigemptyset(&none);
    ::sigemptyset(&ours);
    for (const int signal : {SIGTERM, SIGINT, SIGPIPE}) ::sigaddset(&ours, signal);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setsigdefault(&attributes, &ours);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    std::string shell = "/bin/sh", script = files.script();
    char* arguments[] = {shell.data(), script.data(), nullptr};
    pid_t pid = 0;
    const int failed = ::posix_spawn(&pid, "/bin/sh", &actions, &attributes, arguments, environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
    if (failed != 0) {
      ::unlink(script.c_str());
      throw core::system_error(failed, "cannot start block " + r.name);
    }
    const auto process = look_at(pid);  // gone only if it has ended
    return fmt::format("{}-{}:{}", pid, process ? process->start : 0, files.base);
  }

  std::string find(const std::string& folder, const std::string& name) override {
    const BlockFiles files{folder + "/" + name};
    if (::access(files.script().c_str(), F_OK) != 0) return {};
    const auto pid = read_number(files.pid());
    const auto process = pid ? look_at(*pid) : std::nullopt;
    return fmt::format("{}-{}:{}", pid.value_or(0), process && process->session == *pid ? process->start : 0,
                       files.base);
  }

  std::map<std::string, BlockStatus> query(std::span<const std::string> ids) override {
    std::map<std::string, BlockStatus> all;
    for (const std::string& id : ids) {
      try {
        all[id] = status(id);
      } catch (const Error& e) {  // of another provider, which had this folder before
        all[id].reason = e.message();
      }
    }
    return all;
  }

  void cancel(const std::string& id) override {
    const Parsed block = parse(id);
    if (!runs(block)) return;
    {
      const std::lock_guard lock(mutex_);
      cancelled_.emplace(id, Clock::now());
    }
    ::kill(static_cast<pid_t>(block.pid), SIGTERM);  // the script passes it on
    std::ofstream(block.files.base + ".cancelled") << "1\n";
  }

private:
  struct Parsed {
    long pid = 0;
    unsigned long long start = 0;
    BlockFiles files;
  };
  static Parsed parse(const std::string& id) {
    const BlockId parts = parse_id(id);
    Parsed p;
    char dash = 0;
    std::istringstream numbers(parts.first);
    if (!(numbers >> p.pid >> dash >> p.start) || dash != '-' || p.pid < 0)
      throw Error(ErrorCode::not_found, fmt::format("\"{}\" is not the id of a block of this machine", id));
    p.files.base = parts.base;
    return p;
  }
  static bool runs(const Parsed& block) {
    if (block.pid <= 1 || block.start == 0) return false;
    int ignored = 0;
    ::waitpid(static_cast<pid_t>(block.pid), &ignored, WNOHANG);  // if it is ours and has ended
    const auto process = look_at(block.pid);
    return process && process->start == block.start;
  }

  BlockStatus status(const std::string& id) {
    const Parsed block = parse(id);
    BlockStatus s;
    s.nodes = "localhost";
    const bool alive = runs(block);
    if (alive) {
      s.state = BlockState::running;
      const std::lock_guard lock(mutex_);
      const auto it = cancelled_.find(id);
      if (it != cancelled_.end() && Clock::now() - it->second > std::chrono::duration<double>(options_.grace_s))
        kill_session(block.pid);
      return s;
    }
    end_leftovers(block);
    const bool cancelled = ::access((block.files.base + ".cancelled").c_str(), F_OK) == 0;
    const auto code = read_number(block.files.exit());
    if (cancelled) {
      s.state = BlockState::cancelled;
    } else if (!code) {
      // The script itself was killed, or it is not there.
      const bool known = ::access(block.files.script().c_str(), F_OK) == 0;
      s.state = known ? BlockState::failed : BlockState::lost;
      s.reason = known ? "killed" : "no such block";
    } else if (*code == 124) {
      s.state = BlockState::timed_out;
      s.reason = "walltime is over";
    } else {
      s.state = *code == 0 ? BlockState::done : BlockState::failed;
      s.reason = fmt::format("exit code {}", *code);
    }
    return s;
  }

  /// What runs on after a block's program was killed is ended before the block counts as ended: its tasks are then
  /// begun elsewhere.
  static void end_leftovers(const Parsed& block) {
    struct stat exit{};
    if (block.pid <= 1 || ::stat(block.files.exit().c_str(), &exit) != 0) return;
    // The number may name somebody else's session by now: one that began after the block's end.
    const double until_s = static_cast<double>(exit.st_mtim.tv_sec) + 1e-9 * static_cast<double>(exit.st_mtim.tv_nsec);
    for (int round = 0; round < 200 && kill_session(block.pid, until_s + kClockTick_s) > 0; ++round)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }

  /// All processes of the block, whatever groups they made, that began until then (seconds since 1970). How many.
  static int kill_session(long session, double until_s = std::numeric_limits<double>::infinity()) {
    timespec now{}, up{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    ::clock_gettime(CLOCK_BOOTTIME, &up);
    const double boot_s =
        static_cast<double>(now.tv_sec - up.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec - up.tv_nsec);
    static const auto ticks_per_s = static_cast<double>(::sysconf(_SC_CLK_TCK));
    DIR* proc = ::opendir("/proc");
    if (proc == nullptr) return 0;
    int killed = 0;
    while (const dirent* entry = ::readdir(proc)) {  // NOLINT(concurrency-mt-unsafe): a stream of our own
      const long pid = std::strtol(entry->d_name, nullptr, 10);
      if (pid <= 1) continue;
      const auto process = look_at(pid);
      if (!process || process->session != session) continue;
      if (boot_s + static_cast<double>(process->start) / ticks_per_s > until_s) continue;
      if (::kill(static_cast<pid_t>(pid), SIGKILL) == 0) ++killed;
    }
    ::closedir(proc);
    return killed;
  }

  LocalOptions options_;
  std::mutex mutex_;
  std::map<std::string, Clock::time_point> cancelled_;  ///< since when
};

}  // namespace

std::unique_ptr<BlockProvider> make_local_blocks(const LocalOptions& options) {
  return std::make_unique<LocalBlocks>(options);
}

}  // namespace farfield::services::compute
