#include "farfield/services/compute/worker/launcher.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "farfield/core/error.hpp"
#include "farfield/core/log.hpp"
#include "farfield/core/system_error.hpp"
#include "farfield/services/compute/blocks/block_settings.hpp"
#include "farfield/services/compute/command.hpp"
#include "farfield/services/compute/small_file.hpp"
#include "farfield/services/compute/worker/child.hpp"
#include "farfield/services/compute/worker/worker.hpp"

extern char** environ;

namespace farfield::services::compute {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::duration;
using std::chrono::milliseconds;

constexpr const char* kPlace = "FARFIELD_WORKER_PLACE";
constexpr const char* kBegan = "FARFIELD_BLOCK_BEGAN";
constexpr auto kSettled = std::chrono::seconds(5);  ///< a worker that dies sooner is started again with a pause
constexpr auto kLongestPause = milliseconds(30'000);

std::string environment(const char* name) { return own_environment()[name]; }

std::vector<std::string> own_arguments() {
  const std::string text = read_small("/proc/self/cmdline", std::size_t{1} << 20);
  std::vector<std::string> arguments;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\0', begin), text.size());
    arguments.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return arguments;
}

pid_t start(const std::vector<std::string>& added) {
  std::vector<std::string> arguments = own_arguments(), variables = added;
  for (char** e = environ; *e != nullptr; ++e) {
    const std::string variable = *e;
    if (!variable.starts_with(std::string(kPlace) + "=") && !variable.starts_with(std::string(kBegan) + "="))
      variables.push_back(variable);
  }
  std::vector<char*> argv, envp;
  for (std::string& a : arguments) argv.push_back(a.data());
  for (std::string& v : variables) envp.push_back(v.data());
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
  sigset_t none, ours;
  ::sigemptyset(&none);
  ::sigemptyset(&ours);
  for (const int signal : {SIGTERM, SIGINT}) ::sigaddset(&ours, signal);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &ours);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t pid = 0;
  const int failed = ::posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, argv.data(), envp.data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (failed != 0) throw core::system_error(failed, "cannot start a worker");
  return pid;
}

class Launcher {
public:
  Launcher(std::string folder, const std::stop_token& leave)
      : folder_(std::move(folder)), settings_(read_settings(folder_)), event_(::eventfd(0, EFD_CLOEXEC)) {
    if (event_ < 0) throw core::system_error(errno, "cannot make an event");
    // What a worker leaves running when it dies becomes ours, to be ended.
    if (::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
      throw core::system_error(errno, "cannot look after the processes of workers");
    began_s_ = duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    on_leave_.emplace(leave, [this] {
      const std::uint64_t one = 1;
      [[maybe_unused]] const auto n = ::write(event_, &one, sizeof one);
    });
  }
  ~Launcher() {
    on_leave_.reset();
    ::close(event_);
  }
  Launcher(const Launcher&) = delete;
  Launcher& operator=(const Launcher&) = delete;

  int run(const std::stop_token& leave) {
    const auto notice = Clock::now() + duration<double>(std::max(0.0, settings_.walltime_s - settings_.notice_s));
    std::vector<Place> places(static_cast<std::size_t>(settings_.workers));
    std::error_code ignored;
    bool leaving = false;
    for (;;) {
      if (!leaving && (leave.stop_requested() || Clock::now() >= notice)) {
        leaving = true;
        for (const Place& p : places)
          if (p.pid > 0) ::kill(p.pid, SIGTERM);
      }
      Clock::time_point next =
          leaving ? Clock::time_point::max() : std::chrono::time_point_cast<Clock::duration>(notice);
      bool all_gone = true;
      for (std::size_t i = 0; i < places.size(); ++i) {
        Place& p = places[i];
        // An endpoint that has forgotten the block has removed its settings: nobody would hear another worker.
        if (p.pid == 0 && !p.left && !leaving && !std::filesystem::exists(settings_path(folder_), ignored) && !ignored)
          give_up(p);
        if (p.pid == 0 && !p.left && !leaving) {
          if (Clock::now() >= p.again) begin(p, i);
          else next = std::min(next, p.again);
        }
        all_gone &= p.left || (leaving && p.pid == 0);
      }
      if (all_gone) break;
      wait(places, next);
      reap(places);
    }
    end_strangers(places);
    return std::any_of(places.begin(), places.end(), [](const Place& p) { return p.gave_up; }) ? 1 : 0;
  }

private:
  struct Place {
    pid_t pid = 0;
    int handle = -1;  ///< pidfd
    Clock::time_point started{}, again{};
    milliseconds pause{0};
    Clock::time_point failing{};  ///< since when workers die before they settle; none: they do not
    bool left = false;     ///< of its own will, or given up: nobody follows it
    bool gave_up = false;
  };

  void begin(Place& p, std::size_t number) const {
    p.pid = start({fmt::format("{}={}", kPlace, number), fmt::format("{}={:.3f}", kBegan, began_s_)});
    p.handle = static_cast<int>(::syscall(SYS_pidfd_open, p.pid, 0));
    p.started = Clock::now();
  }

  static void give_up(Place& p) {
    p.left = p.gave_up = true;
    core::log(core::LogLevel::error, "worker_given_up", {});
  }

  void wait(const std::vector<Place>& places, Clock::time_point until) const {
    std::vector<pollfd> all{{event_, POLLIN, 0}};
    for (const Place& p : places)
      if (p.handle >= 0) all.push_back({p.handle, POLLIN, 0});
    // The event stays raised: it is looked at once, while nobody leaves yet.
    int timeout_ms = 1000;
    if (until != Clock::time_point::max()) {
      const auto left = std::chrono::duration_cast<milliseconds>(until - Clock::now()).count() + 1;
      timeout_ms = static_cast<int>(std::clamp<std::int64_t>(left, 0, timeout_ms));
    } else {
      all[0].fd = -1;
    }
    if (::poll(all.data(), all.size(), timeout_ms) < 0 && errno != EINTR)
      throw core::system_error(errno, "cannot wait for workers");
  }

  void reap(std::vector<Place>& places) const {
    int status = 0;
    bool died = false;
    for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
      const auto p = std::find_if(places.begin(), places.end(), [&](const Place& x) { return x.pid == pid; });
      if (p == places.end()) continue;  // somebody's orphan
      if (p->handle >= 0) ::close(std::exchange(p->handle, -1));
      p->pid = 0;
      p->left = WIFEXITED(status) && WEXITSTATUS(status) == 0;
      died = true;
      if (p->left) continue;
      core::log(core::LogLevel::warning, "worker_died",
                {{"place", std::to_string(p - places.begin())},
                 {"how", WIFSIGNALED(status) ? fmt::format("signal {}", WTERMSIG(status))
                                             : fmt::format("exit code {}", WEXITSTATUS(status))}});
      const bool settled = Clock::now() - p->started > kSettled;
      p->pause = settled || p->pause == milliseconds(0) ? milliseconds(settled ? 0 : 100)
                                                        : std::min<milliseconds>(2 * p->pause, kLongestPause);
      p->again = Clock::now() + p->pause;
      if (settled) p->failing = {};
      else if (p->failing == Clock::time_point{}) p->failing = p->started;
      // Workers that cannot even start never see that they are alone, and hold the block to the end of its walltime.
      if (!settled && Clock::now() - p->failing > duration<double>(settings_.alone_s)) give_up(*p);
    }
    if (died) end_strangers(places);
  }

  /// Ends the children that are no workers: what a worker that died had started.
  static void end_strangers(const std::vector<Place>& places) {
    std::vector<pid_t> workers;
    for (const Place& p : places) workers.push_back(p.pid);
    end_children(workers);
  }

  std::string folder_;
  BlockSettings settings_;
  int event_;
  double began_s_ = 0;
  std::optional<std::stop_callback<std::function<void()>>> on_leave_;
};

/// What a task leaves running ends with it, whatever group or session it made: it holds cores and GPUs, and it would
/// write to files that the next attempt writes to.
class TidyRunner final : public TaskRunner {
public:
  explicit TidyRunner(std::unique_ptr<TaskRunner> runner) : runner_(std::move(runner)) {}
  std::vector<FunctionRecord> verbs() const override { return runner_->verbs(); }
  WorkEnd run(const Work& work, Reporter& reporter, const std::stop_token& cancel,
              const std::stop_token& leave) override {
    struct Tidy {
      ~Tidy() { end_children({}); }
    };
    const Tidy tidy;
    return runner_->run(work, reporter, cancel, leave);
  }

private:
  std::unique_ptr<TaskRunner> runner_;
};

}  // namespace

std::string node_name() {
  std::string name = environment("SLURMD_NODENAME");
  if (name.empty()) {
    std::array<char, 256> host{};
    if (::gethostname(host.data(), host.size() - 1) != 0) throw core::system_error(errno, "the host has no name");
    name = host.data();
  }
  constexpr std::string_view kName = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
  for (char& c : name)
    if (kName.find(c) == std::string_view::npos) c = '_';
  return name;
}

int run_in_block(const std::string& folder, const std::function<std::unique_ptr<TaskRunner>()>& make,
                 const std::stop_token& leave) {
  const std::string place = environment(kPlace);
  if (place.empty()) return Launcher(folder, leave).run(leave);
  const pid_t launcher = ::getppid();
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != launcher) return 1;  // it went before that counted
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
    throw core::system_error(errno, "cannot look after the processes of tasks");
  const auto runner = std::make_unique<TidyRunner>(make());
  run_worker({folder, node_name(), std::atoi(place.c_str()), std::strtod(environment(kBegan).c_str(), nullptr)},
             *runner, leave);
  return 0;
}

}  // namespace farfield::services::compute
