#include "farfield/services/compute/worker/worker.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "farfield/core/error.hpp"
#include "farfield/core/log.hpp"
#include "farfield/core/text.hpp"
#include "farfield/net/websocket.hpp"
#include "farfield/services/compute/command.hpp"
#include "farfield/services/compute/small_file.hpp"
#include "farfield/services/compute/worker/bench.hpp"
#include "farfield/services/compute/worker/journal.hpp"
#include "farfield/services/compute/worker/large_output.hpp"
#include "farfield/services/compute/worker/slots.hpp"
#include "farfield/services/compute/worker/teller.hpp"
#include "farfield/services/compute/worker/unpack.hpp"

namespace farfield::services::compute {
namespace {

namespace fs = std::filesystem;
using core::Error;
using core::ErrorCode;
using Clock = std::chrono::steady_clock;
using std::chrono::duration;
using std::chrono::milliseconds;

constexpr auto kLook = milliseconds(1000), kLookWhileLeaving = milliseconds(50);
constexpr auto kFirstPause = milliseconds(50), kLongestPause = milliseconds(2000);
constexpr auto kPatienceForAcknowledgement = std::chrono::seconds(5);
constexpr auto kLookAgain = std::chrono::seconds(1);  ///< at a disk that was full or read-only
constexpr std::size_t kProbe_bytes = 4096;

void make_folder(const std::string& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw Error(ErrorCode::io, fmt::format("cannot make {}: {}", folder, error.message()));
}

double now_s() { return duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

/// A failure of the system, to be tried again, as opposed to one of the task.
bool is_systems(ErrorCode code) {
  return code == ErrorCode::io || code == ErrorCode::resource_exhausted || code == ErrorCode::unavailable ||
         code == ErrorCode::timeout;
}

class Worker {
public:
  Worker(const WorkerPlace& place, TaskRunner& runner)
      : place_(place),
        runner_(runner),
        settings_(std::make_shared<const BlockSettings>(read_settings(place.folder))),
        journal_(journal_path(place.folder, place.node, place.place)),
        name_(fmt::format("{}.{}", place.place, journal_.incarnation())),
        by_(settings_->confine ? confinement() : ConfinedBy::nothing) {
    devices_ = settings_->devices;
    if (devices_.empty()) devices_ = core::between_commas(own_environment()["CUDA_VISIBLE_DEVICES"]);
    if (!devices_.empty() && !settings_->slots.empty())
      slots_.emplace(settings_->slots, static_cast<int>(devices_.size()) * settings_->slots_per_device);
  }

  void run(const std::stop_token& leave) {
    const std::stop_callback on_term(leave, [this] { ask_to_leave("the block is asked to end"); });
    std::thread working([this] { work(); });
    try {
      talk();
    } catch (...) {
      ask_to_leave("its line failed");
      working.join();
      throw;
    }
    working.join();
    journal_.flush();
  }

private:
  struct Queued {
    Assignment assignment;
    double assigned_s;
  };
  struct Running {
    TaskKey key;
    std::stop_source cancel, leave;
  };
  /// A task at work, with what it needs.
  struct Call {
    Queued queued;
    TaskEnd end;
    std::stop_source cancel, leave;
    std::shared_ptr<const BlockSettings> settings{};
    Work work{};
    std::optional<SlotLease> lease{};
    std::optional<Reach> reach{};
    bool ready = false;  ///< to be run

    const TaskRequest& request() const { return queued.assignment.request; }
  };

  // ---- the line to the endpoint: the thread that called run()

  void talk() {
    auto pause = kFirstPause;
    Clock::time_point alone_since = Clock::now();
    while (!may_go()) {
      const auto since = Clock::now();
      if (connect()) {
        serve_line();
        teller_.hang_up();
        if (may_go()) break;
        // An endpoint that closes each line at once is none, and not asked without a pause.
        if (Clock::now() - since > kLongestPause) {
          pause = kFirstPause;
          alone_since = Clock::now();
        }
      } else if (leaving() && nothing_to_do()) {
        return;  // the journal tells the rest
      }
      std::unique_lock lock(mutex_);
      if (!leaving_ && !running_ && waiting_.empty() &&
          Clock::now() - alone_since > duration<double>(settings_->alone_s)) {
        lock.unlock();
        ask_to_leave("the endpoint is gone");
        continue;
      }
      const bool knew = leaving_;
      wake_.wait_for(lock, pause, [&] { return leaving_ && !knew && !running_; });
      pause = std::min<milliseconds>(2 * pause, kLongestPause);
    }
    teller_.hang_up();
  }

  bool connect() {
    try {
      const auto settings = std::make_shared<const BlockSettings>(read_settings(place_.folder));
      const int line = ++line_;
      net::WebSocketOptions options;
      options.trust.authorities = settings->certificate;
      options.headers.add("Authorization", "Bearer " + settings->secret);
      options.limits.message_bytes = core::Index{64} << 20;
      auto socket = net::connect_websocket(settings->link,
                                           {[this, line](const std::string& text, bool) { hear(line, text); },
                                            [this, line](const std::string&) { lost(line); }, kQuickBytes},
                                           options);
      {
        const std::lock_guard lock(mutex_);
        settings_ = settings;
      }
      return greet(std::move(socket));
    } catch (const Error& e) {
      core::log(core::LogLevel::debug, "endpoint_not_reached", {{"reason", e.what()}});
      return false;
    }
  }

  /// What this worker has; and what it ended, as long as nobody acknowledged it.
  bool greet(std::shared_ptr<net::WebSocket> socket) {
    teller_.restart();
    Hello hello;
    hello.block = block_;
    hello.node = place_.node;
    hello.worker = name_;
    {
      const std::lock_guard lock(mutex_);
      for (const Queued& q : waiting_) hello.known.push_back(q.assignment.key);
      if (running_) hello.known.push_back(running_->key);
      hello.capacity.workers = leaving_ || troubled_ ? 0 : 1;
      greet_again_ = false;
    }
    const std::vector<TaskEnd> ended = journal_.ended();
    for (const TaskEnd& end : ended) hello.known.push_back(end.key);
    hello.capacity.gpu_slots = slots_ ? slots_->slots() : 0;
    hello.capacity.nodes_per_block = settings_->nodes;
    hello.capacity.longest_s = std::max(0.0, place_.began_s + settings_->walltime_s - settings_->notice_s - now_s());
    hello.capacity.confines = by_ != ConfinedBy::nothing;
    return teller_.greet(std::move(socket), hello, ended);
  }

  void serve_line() {
    std::optional<Clock::time_point> leave_by;
    while (teller_.tell() && !is_lost() && !may_go()) {
      if (leaving() && nothing_to_do()) {  // only acknowledgements are missing
        if (!leave_by) leave_by = Clock::now() + kPatienceForAcknowledgement;
        if (Clock::now() > *leave_by) {
          given_up_ = true;
          return;
        }
      }
      teller_.wait(Clock::now() + (leaving() ? kLookWhileLeaving : kLook));
    }
  }

  /// On the line's own thread.
  void hear(int line, const std::string& text) {
    if (line != line_) return;  // what an earlier one said does not count
    try {
      take(decode(text));
    } catch (const Error&) {  // an endpoint that speaks nonsense: the worker ends, and is started anew
      {
        const std::lock_guard lock(mutex_);
        nonsense_ = std::current_exception();
      }
      teller_.stir();
    }
  }
  void lost(int line) {
    {
      const std::lock_guard lock(mutex_);
      lost_ = std::max(lost_, line);
    }
    teller_.stir();
  }
  bool is_lost() {
    const std::lock_guard lock(mutex_);
    if (nonsense_) std::rethrow_exception(nonsense_);
    return lost_ >= line_ || greet_again_;
  }

  void take(Message message) {
    if (auto* assign = std::get_if<Assign>(&message)) {
      const std::lock_guard lock(mutex_);
      for (Assignment& a : assign->tasks) enqueue(std::move(a));
      wake_.notify_all();
    } else if (const auto* cancel = std::get_if<Cancel>(&message)) {
      for (const std::string& task : cancel->tasks) this->cancel(task);
    } else if (const auto* stored = std::get_if<Stored>(&message)) {
      journal_.acknowledged(stored->ends);
      if (leaving()) teller_.stir();  // it may be what it waits for
    } else if (const auto* watch = std::get_if<Watch>(&message)) {
      const std::lock_guard lock(mutex_);
      if (watch->on) watched_.insert(watch->task);
      else watched_.erase(watch->task);
    } else if (const auto* wish = std::get_if<Leave>(&message)) {
      ask_to_leave(wish->reason);
    }
  }

  /// Under the lock.
  void enqueue(Assignment a) {
    if (journal_.has_ended(a.key) || (running_ && running_->key == a.key)) return;  // it has been told, or will be
    if (std::any_of(waiting_.begin(), waiting_.end(), [&](const Queued& q) { return q.assignment.key == a.key; }))
      return;
    if (leaving_ || troubled_) return give_back({std::move(a), now_s()});
    // The more urgent first; else as they came.
    const auto place =
        std::upper_bound(waiting_.begin(), waiting_.end(), a.request.priority,
                         [](Priority priority, const Queued& q) { return q.assignment.request.priority < priority; });
    waiting_.insert(place, {std::move(a), now_s()});
  }

  /// A task that was never begun: the endpoint gives it to another worker. Under the lock.
  void give_back(const Queued& q) {
    TaskEnd end;
    end.key = q.assignment.key;
    end.ending = Ending::interrupted;
    end.problem = "its worker left before it began";
    end.times.assigned_s = q.assigned_s;
    teller_.ended(std::move(end), false);
    teller_.stir();
  }

  void cancel(const std::string& task) {
    const std::lock_guard lock(mutex_);
    if (running_ && running_->key.task == task) running_->cancel.request_stop();
    for (auto q = waiting_.begin(); q != waiting_.end();) {
      if (q->assignment.key.task != task) {
        ++q;
        continue;
      }
      TaskEnd end = ending(q->assignment.key, q->assigned_s);
      end.ending = Ending::cancelled;
      q = waiting_.erase(q);
      keep(std::move(end));
      teller_.stir();
    }
  }

  void ask_to_leave(const std::string& reason) {
    const std::lock_guard lock(mutex_);
    if (leaving_) return;
    leaving_ = true;
    teller_.leaves();
    core::log(core::LogLevel::info, "worker_leaves", {{"reason", reason}});
    if (running_) running_->leave.request_stop();
    for (const Queued& q : std::exchange(waiting_, {})) give_back(q);
    wake_.notify_all();
  }

  std::shared_ptr<const BlockSettings> settings() {
    const std::lock_guard lock(mutex_);
    return settings_;
  }
  bool leaving() {
    const std::lock_guard lock(mutex_);
    return leaving_;
  }
  bool nothing_to_do() {
    const std::lock_guard lock(mutex_);
    return !running_ && waiting_.empty();
  }
  bool may_go() {
    if (given_up_) return true;
    const std::lock_guard lock(mutex_);
    return leaving_ && !running_ && waiting_.empty() && teller_.empty() && journal_.empty();
  }

  // ---- the tasks: a thread of their own

  void work() {
    Bench bench(by_);
    while (auto call = next(nullptr)) {
      attempt(*call, [&] { prepare(*call); });
      if (call->ready) attempt(*call, [&] { bench.run(call->reach, [&] { work_off(call); }); });
      if (!call) continue;
      if (is_large(call->end.output))
        attempt(*call, [&] { call->end.output = put_aside(call->end.output, place_.folder, call->end.key); });
      call->lease.reset();
      finish(*call);
    }
  }

  /// On the bench: runs the call, and those after it that are alike. Changing threads costs more than a short task, so
  /// that it stays here while only memory and open files are needed. What is left in `call` is to be finished.
  void work_off(std::optional<Call>& call) {
    for (;;) {
      if (call->ready) attempt(*call, [&] { perform(*call); });
      // What failed, too: whether something can be written is seen by who is not confined.
      if (!is_plain(call->queued.assignment) || is_large(call->end.output) || has_failed(*call)) return;
      finish(*call);
      std::optional<Call> after = next(&*call);
      if (after) attempt(*after, [&] { describe(*after); });
      call = std::move(after);
      if (!call) return;
    }
  }

  /// The next task. None: this worker leaves; or, `after` a call, what comes next is not like it.
  std::optional<Call> next(const Call* after) {
    std::unique_lock lock(mutex_);
    if (troubled_ && after != nullptr) return std::nullopt;
    while (troubled_ && !leaving_) mend(lock);
    wake_.wait(lock, [&] { return leaving_ || !waiting_.empty(); });
    if (leaving_ || (after != nullptr && !is_alike(waiting_.front().assignment, *after))) return std::nullopt;
    running_.emplace();
    Call call{std::move(waiting_.front()), {}, running_->cancel, running_->leave, settings_};
    waiting_.pop_front();
    running_->key = call.queued.assignment.key;
    lock.unlock();
    call.end = ending(call.queued.assignment.key, call.queued.assigned_s);
    return call;
  }

  /// Looks whether something can be written again.
  void mend(std::unique_lock<std::mutex>& lock) {
    wake_.wait_for(lock, kLookAgain, [&] { return leaving_; });
    lock.unlock();
    const bool good = trouble().empty();
    lock.lock();
    if (!good) return;
    core::log(core::LogLevel::info, "worker_goes_on", {});
    groups_.clear();
    troubled_ = false;
    greet_again_ = true;
    teller_.stir();
  }

  /// Why nothing can be kept where tasks have their folders; empty: it can.
  std::string trouble() {
    const auto settings = this->settings();
    try {
      for (const std::string& folder : {settings->tasks, place_.folder}) {
        make_folder(folder);
        const std::string probe = fmt::format("{}/.{}-{}-{}", folder, settings->block, place_.node, place_.place);
        struct Gone {
          ~Gone() { ::unlink(path.c_str()); }
          const std::string& path;
        } const gone{probe};
        write_private(probe, std::string(kProbe_bytes, ' '));
      }
    } catch (const std::exception& e) {
      return e.what();
    }
    return {};
  }

  /// Whether the system is to blame: a task that has kept nothing is tried again and nothing is counted, any other,
  /// which may have filled the disk itself, is lost; and this worker takes nothing until something can be written.
  void look_for_trouble(Call& call) {
    const std::string why = trouble();
    if (why.empty()) return;
    TaskEnd& end = call.end;
    std::error_code ignored;
    const bool kept = !call.work.folder.empty() && fs::exists(call.work.folder, ignored);
    if (end.problem.find(why) == std::string::npos)
      end.problem = end.problem.empty() ? why : fmt::format("{}; the folder of tasks: {}", end.problem, why);
    end.ending = kept ? Ending::lost : Ending::interrupted;
    if (end.times.started_s <= 0) end.times.started_s = now_s();  // the service shall hear why
    core::log(core::LogLevel::error, "worker_cannot_write", {{"reason", why}});
    const std::lock_guard lock(mutex_);
    troubled_ = true;
    teller_.leaves();
    for (const Queued& q : std::exchange(waiting_, {})) give_back(q);
  }

  static bool has_failed(const Call& call) {
    return call.end.ending == Ending::failed || call.end.ending == Ending::lost;
  }

  /// Needs nothing that only an unconfined thread can get.
  static bool is_plain(const Assignment& a) {
    const TaskResources& r = a.request.resources;
    return a.function.kind == FunctionKind::verb && r.gpu_slots == 0 && r.ranks == 1 && r.nodes == 1;
  }
  /// Whether it has the same reach. Under the lock.
  bool is_alike(const Assignment& a, const Call& call) const {
    return is_plain(a) && a.request.experiment == call.queued.assignment.request.experiment &&
           settings_ == call.settings;
  }

  template <class F>
  static void attempt(Call& call, F part) {
    try {
      return part();
    } catch (const Error& e) {
      call.end.ending = is_systems(e.code()) ? Ending::lost : Ending::failed;
      call.end.problem = e.what();
    } catch (const std::exception& e) {
      call.end.ending = Ending::failed;
      call.end.problem = e.what();
    }
    call.end.output = "null";
    call.ready = false;
  }

  /// Begins the task, as far as the journal is concerned; says what a plain one needs.
  void describe(Call& call) {
    const Assignment& a = call.queued.assignment;
    const TaskEnd& end = call.end;
    journal_.begin({end.key, end.times, end.block, end.node, end.worker});
    Work& work = call.work;
    work.key = a.key;
    work.function = a.function;
    work.arguments = a.request.arguments;
    work.ranks = a.request.resources.ranks;
    work.resume = a.resume;
    if (!a.request.experiment.empty()) work.root = call.settings->roots.find(a.request.experiment);
    work.folder = group_folder(call) + "/" + a.key.task;
    work.nodes = {place_.node};
    call.ready = true;
  }
  static std::string group_folder(const Call& call) {
    const std::string& experiment = call.queued.assignment.request.experiment;
    return call.settings->tasks + "/" + (experiment.empty() ? "-" : experiment);
  }

  /// The same, and gets what any other task needs.
  void prepare(Call& call) {
    const Assignment& a = call.queued.assignment;
    const FunctionRecord& f = a.function;
    describe(call);
    call.ready = false;
    if (f.kind != FunctionKind::verb && by_ == ConfinedBy::nothing)
      throw Error(ErrorCode::unsupported,
                  "this endpoint has no means to confine programs, and runs none but its own (Landlock is missing)");
    Work& work = call.work;
    if (f.kind == FunctionKind::code) work.code = unpacked(call.settings->archives, f.archive);
    if (const int slots = a.request.resources.gpu_slots; slots > 0) {
      call.lease = acquire(slots, a.key.task, call.cancel, call.leave);
      if (!call.lease) {
        call.end.ending = call.cancel.stop_requested() ? Ending::cancelled : Ending::interrupted;
        return;
      }
      work.devices =
          core::between_commas(visible_devices(call.lease->slots(), devices_, call.settings->slots_per_device));
    }
    // Ranks on other nodes are started by daemons there that nobody confines.
    if (f.kind == FunctionKind::verb && call.settings->nodes > 1) work.nodes = nodes();
    if (by_ != ConfinedBy::nothing) {
      call.reach.emplace();
      call.reach->read = call.settings->readable;
      call.reach->unix_sockets = f.kind == FunctionKind::verb;
      // Programs of different users run without an experiment: each sees its own folder.
      const bool alone = a.request.experiment.empty() && f.kind != FunctionKind::verb;
      const std::string group = group_folder(call);
      if (!alone && !groups_.contains(group)) {
        make_folder(group);  // only what is there can be reached
        groups_.insert(group);
      }
      call.reach->write = {alone ? work.own_folder() : group};
      if (!work.code.empty()) call.reach->read.push_back(work.code);
      if (!work.root.empty()) call.reach->write.push_back(work.root);
    }
    call.ready = true;
  }

  void perform(Call& call) {
    TaskEnd& end = call.end;
    end.times.started_s = now_s();
    teller_.begun({end.key, end.times, end.block, end.node, end.worker});
    Report report(*this, end.key);
    WorkEnd result = runner_.run(call.work, report, call.cancel.get_token(), call.leave.get_token());
    end.ending = result.ending;
    end.problem = std::move(result.problem);
    end.output = compact_output(std::move(result.output));
  }

  /// Stored, then told.
  void finish(Call& call) {
    if (has_failed(call)) look_for_trouble(call);
    call.end.times.ended_s = now_s();
    {
      const std::lock_guard lock(mutex_);
      keep(std::move(call.end));
      running_.reset();
      if (leaving_) {
        wake_.notify_all();
        teller_.stir();
      }
    }
    teller_.tell();
  }

  TaskEnd ending(const TaskKey& key, double assigned_s) const {
    TaskEnd end;
    end.key = key;
    end.times.assigned_s = assigned_s;
    end.block = block_;
    end.node = place_.node;
    end.worker = name_;
    return end;
  }
  /// Under the lock.
  void keep(TaskEnd end) {
    try {
      journal_.end(end);
    } catch (const Error& e) {
      // A full disk: the endpoint still hears of it from here; a worker that dies before that has lost the task.
      core::log(core::LogLevel::error, "journal_not_written", {{"reason", e.what()}});
    }
    teller_.ended(std::move(end), !waiting_.empty());
  }

  /// User code, once in each block; whoever comes second finds it there.
  std::string unpacked(const std::string& archives, const std::string& sha256) const {
    const std::string target = fmt::format("{}/code/{}", place_.folder, sha256);
    std::error_code error;
    if (fs::exists(target, error)) return target;
    make_folder(place_.folder + "/code");
    try {
      unpack(fmt::format("{}/{}.tar.zst", archives, sha256), target);
    } catch (const Error& e) {
      if (e.code() != ErrorCode::conflict) throw;  // another worker of the block was quicker
    }
    return target;
  }

  std::optional<SlotLease> acquire(int count, const std::string& task, const std::stop_source& cancel,
                                   const std::stop_source& leave) const {
    if (!slots_) throw Error(ErrorCode::invalid_argument, "the task needs GPU slots, this node has no GPU");
    std::stop_source either;
    const std::stop_callback on_cancel(cancel.get_token(), [&] { either.request_stop(); });
    const std::stop_callback on_leave(leave.get_token(), [&] { either.request_stop(); });
    for (;;) {
      auto lease = slots_->acquire(count, task, Clock::now() + std::chrono::hours(1), either.get_token());
      if (lease || either.stop_requested()) return lease;
    }
  }

  /// Of the block, for MPI.
  std::vector<std::string> nodes() const {
    std::vector<std::string> all;
    for (const JournalName& journal : find_journals(place_.folder)) all.push_back(journal.node);
    std::sort(all.begin(), all.end());
    all.erase(std::unique(all.begin(), all.end()), all.end());
    return all;
  }

  class Report final : public Reporter {
  public:
    Report(Worker& worker, TaskKey key) : worker_(worker), key_(std::move(key)) {}
    void progress(double fraction, const std::string& message) override {
      worker_.teller_.progress({key_, fraction, message});
    }
    void log(const std::string& line) override { worker_.teller_.log({key_, line}); }
    void preview(Preview preview) override {
      preview.task = key_.task;
      worker_.teller_.preview(preview);
    }
    bool watched() const override {
      const std::lock_guard lock(worker_.mutex_);
      return worker_.watched_.contains(key_.task);
    }

  private:
    Worker& worker_;
    TaskKey key_;
  };

  WorkerPlace place_;
  TaskRunner& runner_;
  std::shared_ptr<const BlockSettings> settings_;  ///< replaced by the talking thread, under the lock
  const std::string block_ = settings_->block;
  Journal journal_;
  std::string name_;
  ConfinedBy by_;
  std::vector<std::string> devices_;
  std::optional<SlotFile> slots_;
  std::set<std::string> groups_;  ///< folders of experiments that were made; of the working thread

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Queued> waiting_;
  std::optional<Running> running_;
  std::exception_ptr nonsense_;
  int lost_ = 0;  ///< the last line that ended
  std::set<std::string> watched_;
  bool leaving_ = false;
  bool troubled_ = false;  ///< nothing can be written: no task is taken until something can
  bool greet_again_ = false;
  std::atomic<bool> given_up_ = false;
  std::atomic<int> line_ = 0;
  Teller teller_;
};

}  // namespace

const std::string& Work::own_folder() const {
  make_folder(folder);
  return folder;
}

void run_worker(const WorkerPlace& place, TaskRunner& runner, const std::stop_token& leave) {
  Worker(place, runner).run(leave);
}

}  // namespace farfield::services::compute
