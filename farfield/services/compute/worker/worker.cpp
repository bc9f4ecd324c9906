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
#include "farfield/services/compute/worker/bench.hpp"
#include "farfield/services/compute/worker/journal.hpp"
#include "farfield/services/compute/worker/large_output.hpp"
#include "farfield/services/compute/worker/slots.hpp"
#include "farfield/services/compute/worker/unpack.hpp"

namespace farfield::services::compute {
namespace {

namespace fs = std::filesystem;
using core::Error;
using core::ErrorCode;
using Clock = std::chrono::steady_clock;
using std::chrono::duration;
using std::chrono::milliseconds;

constexpr auto kProgressEvery = milliseconds(50);
constexpr auto kFirstPause = milliseconds(50), kLongestPause = milliseconds(2000);
constexpr auto kPatienceForAcknowledgement = std::chrono::seconds(5);
constexpr std::size_t kMostLines = 1000;          ///< of a log, waiting to be sent
constexpr std::size_t kMostInMessage = 4096;      ///< tasks
constexpr std::size_t kMostBytesInMessage = std::size_t{4} << 20;

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
  struct Mail {
    int line;  ///< the connection's number: what an earlier one said does not count
    std::string text;
    bool closed = false;
  };

  // ---- the line to the endpoint: the thread that called run()

  void talk() {
    auto pause = kFirstPause;
    Clock::time_point alone_since = Clock::now();
    while (!may_go()) {
      if (!connect()) {
        if (leaving() && nothing_to_do()) return;  // the journal tells the rest
        std::unique_lock lock(mutex_);
        if (!running_ && waiting_.empty() && Clock::now() - alone_since > duration<double>(settings_->alone_s)) {
          lock.unlock();
          ask_to_leave("the endpoint is gone");
          continue;
        }
        wake_.wait_for(lock, pause, [&] { return leaving_ && !running_; });
        pause = std::min<milliseconds>(2 * pause, kLongestPause);
        continue;
      }
      pause = kFirstPause;
      serve_line();
      hang_up();
      alone_since = Clock::now();
    }
    hang_up();
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
                                           {[this, line](std::string text, bool) { post({line, std::move(text)}); },
                                            [this, line](const std::string&) { post({line, {}, true}); }},
                                           options);
      {
        const std::lock_guard lock(mutex_);
        settings_ = settings;
        socket_.swap(socket);  // one before goes outside the lock, which its callbacks take
        begun_.clear();  // said anew below
        ended_.clear();
        if (running_ && started_) begun_.push_back(*started_);
      }
      return greet();
    } catch (const Error& e) {
      core::log(core::LogLevel::debug, "endpoint_not_reached", {{"reason", e.what()}});
      return false;
    }
  }

  /// What this worker has; and what it ended, as long as nobody acknowledged it.
  bool greet() {
    Hello hello;
    hello.block = block_;
    hello.node = place_.node;
    hello.worker = name_;
    {
      const std::lock_guard lock(mutex_);
      for (const Queued& q : waiting_) hello.known.push_back(q.assignment.key);
      if (running_) hello.known.push_back(running_->key);
      hello.capacity.workers = leaving_ ? 0 : 1;
    }
    const std::vector<TaskEnd> ended = journal_.ended();
    for (const TaskEnd& end : ended) hello.known.push_back(end.key);
    hello.capacity.gpu_slots = slots_ ? slots_->slots() : 0;
    hello.capacity.nodes_per_block = settings_->nodes;
    hello.capacity.longest_s = std::max(0.0, place_.began_s + settings_->walltime_s - settings_->notice_s - now_s());
    hello.capacity.confines = by_ != ConfinedBy::nothing;
    return say(hello) && say_ended(ended);
  }

  void serve_line() {
    std::unique_lock lock(mutex_);
    Clock::time_point told = Clock::now();
    std::optional<Clock::time_point> leave_by;
    for (;;) {
      const bool chatter = !progress_.empty() || !lines_.empty();
      const auto something = [&] { return !inbox_.empty() || !begun_.empty() || !ended_.empty() || say_leaving_; };
      if (chatter) wake_.wait_until(lock, told + kProgressEvery, something);
      else
        wake_.wait_for(lock, leaving_ ? kProgressEvery : milliseconds(1000),
                       [&] { return something() || !progress_.empty() || !lines_.empty(); });

      std::vector<Mail> mail;
      mail.swap(inbox_);
      const auto begun = std::exchange(begun_, {});
      auto ended = std::exchange(ended_, {});
      const bool say_leaving = std::exchange(say_leaving_, false);
      Progressed progressed;
      Logged logged;
      if (Clock::now() - told >= kProgressEvery || !ended.empty()) {
        for (auto& [key, p] : std::exchange(progress_, {})) progressed.tasks.push_back(std::move(p));
        for (TaskLog& line : std::exchange(lines_, {})) logged.lines.push_back(std::move(line));
        told = Clock::now();
      }
      lock.unlock();

      bool good = true;
      if (say_leaving) {
        CapacityNow none;
        good = say(none);
      }
      // A beginning whose end goes out with it is told by the end.
      Begun news;
      for (const TaskBegin& b : begun)
        if (std::none_of(ended.begin(), ended.end(), [&](const TaskEnd& e) { return e.key == b.key; }))
          news.tasks.push_back(b);
      if (good && !news.tasks.empty()) good = say(news);
      if (good && !progressed.tasks.empty()) good = say(progressed);
      if (good && !logged.lines.empty()) good = say(logged);
      if (good && !ended.empty()) good = say_ended(ended);
      for (const Mail& m : mail) {
        if (m.line != line_) continue;
        if (m.closed) good = false;
        else take(m.text);
      }
      if (!good || may_go()) return;
      if (leaving() && nothing_to_do()) {  // only acknowledgements are missing
        if (!leave_by) leave_by = Clock::now() + kPatienceForAcknowledgement;
        if (Clock::now() > *leave_by) {
          given_up_ = true;
          return;
        }
      }
      lock.lock();
    }
  }

  void hang_up() {
    std::shared_ptr<net::WebSocket> socket;
    {
      const std::lock_guard lock(mutex_);
      socket.swap(socket_);
    }
    if (socket) socket->close();
    ++line_;
  }

  bool say(const Message& message) {
    std::shared_ptr<net::WebSocket> socket;
    {
      const std::lock_guard lock(mutex_);
      socket = socket_;
    }
    return socket && socket->send_text(encode(message));
  }

  bool say_ended(const std::vector<TaskEnd>& ends) {
    Ended message;
    std::size_t bytes = 0;
    for (const TaskEnd& end : ends) {
      bytes += end.output.size() + end.problem.size();
      message.tasks.push_back(end);
      if (bytes < kMostBytesInMessage && message.tasks.size() < kMostInMessage) continue;
      if (!say(message)) return false;
      message.tasks.clear();
      bytes = 0;
    }
    return message.tasks.empty() || say(message);
  }

  void take(const std::string& text) {
    const Message message = decode(text);  // an endpoint that speaks nonsense: the worker ends, and is started anew
    if (const auto* assign = std::get_if<Assign>(&message)) {
      for (const Assignment& a : assign->tasks) enqueue(a);
    } else if (const auto* cancel = std::get_if<Cancel>(&message)) {
      for (const std::string& task : cancel->tasks) this->cancel(task);
    } else if (const auto* stored = std::get_if<Stored>(&message)) {
      journal_.acknowledged(stored->ends);
    } else if (const auto* watch = std::get_if<Watch>(&message)) {
      const std::lock_guard lock(mutex_);
      if (watch->on) watched_.insert(watch->task);
      else watched_.erase(watch->task);
    } else if (const auto* wish = std::get_if<Leave>(&message)) {
      ask_to_leave(wish->reason);
    }
  }

  void enqueue(const Assignment& a) {
    const bool ended = journal_.has_ended(a.key);
    const std::lock_guard lock(mutex_);
    if (ended || (running_ && running_->key == a.key)) return;  // it has been told, or will be
    if (std::any_of(waiting_.begin(), waiting_.end(), [&](const Queued& q) { return q.assignment.key == a.key; }))
      return;
    if (leaving_) return give_back({a, now_s()});
    // The more urgent first; else as they came.
    const auto place = std::find_if(waiting_.begin(), waiting_.end(), [&](const Queued& q) {
      return q.assignment.request.priority < a.request.priority;
    });
    waiting_.insert(place, {a, now_s()});
    wake_.notify_all();
  }

  /// A task that was never begun: the endpoint gives it to another worker. Under the lock.
  void give_back(const Queued& q) {
    TaskEnd end;
    end.key = q.assignment.key;
    end.ending = Ending::interrupted;
    end.problem = "its worker left before it began";
    end.times.assigned_s = q.assigned_s;
    ended_.push_back(std::move(end));
    wake_.notify_all();
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
      keep(end);
    }
  }

  void ask_to_leave(const std::string& reason) {
    const std::lock_guard lock(mutex_);
    if (leaving_) return;
    leaving_ = say_leaving_ = true;
    core::log(core::LogLevel::info, "worker_leaves", {{"reason", reason}});
    if (running_) running_->leave.request_stop();
    for (const Queued& q : std::exchange(waiting_, {})) give_back(q);
    wake_.notify_all();
  }

  void post(Mail mail) {
    const std::lock_guard lock(mutex_);
    inbox_.push_back(std::move(mail));
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
    return leaving_ && !running_ && waiting_.empty() && ended_.empty() && !say_leaving_ && journal_.empty();
  }

  // ---- the tasks: a thread of their own

  void work() {
    Bench bench(by_);
    for (;;) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return leaving_ || !waiting_.empty(); });
      if (leaving_) return;
      const Queued next = std::move(waiting_.front());
      waiting_.pop_front();
      running_.emplace();
      running_->key = next.assignment.key;
      started_.reset();
      const std::stop_source cancel = running_->cancel, leave = running_->leave;
      lock.unlock();

      TaskEnd end = ending(next.assignment.key, next.assigned_s);
      try {
        TaskBegin begin{end.key, end.times, end.block, end.node, end.worker};
        journal_.begin(begin);
        perform(bench, next.assignment, end, cancel, leave);
      } catch (const Error& e) {
        end.ending = is_systems(e.code()) ? Ending::lost : Ending::failed;
        end.problem = e.what();
      } catch (const std::exception& e) {
        end.ending = Ending::failed;
        end.problem = e.what();
      }
      end.times.ended_s = now_s();

      lock.lock();
      keep(end);
      progress_.erase(end.key);
      running_.reset();
      wake_.notify_all();
    }
  }

  /// Prepares what the task needs and calls the runner.
  void perform(Bench& bench, const Assignment& a, TaskEnd& end, const std::stop_source& cancel,
               const std::stop_source& leave) {
    const FunctionRecord& f = a.function;
    const auto settings = this->settings();
    if (f.kind != FunctionKind::verb && by_ == ConfinedBy::nothing)
      throw Error(ErrorCode::unsupported,
                  "this endpoint has no means to confine programs, and runs none but its own (Landlock is missing)");
    Work work;
    work.key = a.key;
    work.function = f;
    work.arguments = a.request.arguments;
    work.ranks = a.request.resources.ranks;
    work.resume = a.resume;
    const std::string group = a.request.experiment.empty() ? "-" : a.request.experiment;
    if (!a.request.experiment.empty()) work.root = settings->roots.find(a.request.experiment);
    const std::string group_folder = settings->tasks + "/" + group;
    work.folder = group_folder + "/" + a.key.task;
    make_folder(work.folder);
    if (f.kind == FunctionKind::code) work.code = unpacked(settings->archives, f.archive);
    const int slots = a.request.resources.gpu_slots;
    std::optional<SlotLease> lease;
    if (slots > 0) {
      lease = acquire(slots, a.key.task, cancel, leave);
      if (!lease) {
        end.ending = cancel.stop_requested() ? Ending::cancelled : Ending::interrupted;
        return;
      }
      work.devices = core::between_commas(visible_devices(lease->slots(), devices_, settings->slots_per_device));
    }
    // Ranks on other nodes are started by daemons there that nobody confines.
    work.nodes = nodes(f.kind == FunctionKind::verb ? settings->nodes : 1);

    end.times.started_s = now_s();
    {
      const std::lock_guard lock(mutex_);
      started_ = TaskBegin{end.key, end.times, end.block, end.node, end.worker};
      begun_.push_back(*started_);
      wake_.notify_all();
    }
    std::optional<Reach> reach;
    if (by_ != ConfinedBy::nothing) {
      reach.emplace();
      reach->read = settings->readable;
      // Programs of different users run without an experiment: each sees its own folder.
      reach->write = {a.request.experiment.empty() && f.kind != FunctionKind::verb ? work.folder : group_folder};
      if (!work.code.empty()) reach->read.push_back(work.code);
      if (!work.root.empty()) reach->write.push_back(work.root);
    }
    Report report(*this, a.key);
    WorkEnd result;
    bench.run(reach, [&] { result = runner_.run(work, report, cancel.get_token(), leave.get_token()); });
    end.ending = result.ending;
    end.problem = std::move(result.problem);
    end.output = inline_output(std::move(result.output), place_.folder, a.key);
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
  /// Stored, then told. Under the lock.
  void keep(const TaskEnd& end) {
    try {
      journal_.end(end);
    } catch (const Error& e) {
      // A full disk: the endpoint still hears of it from here; a worker that dies before that has lost the task.
      core::log(core::LogLevel::error, "journal_not_written", {{"reason", e.what()}});
    }
    ended_.push_back(end);
    wake_.notify_all();
  }

  static void make_folder(const std::string& folder) {
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) throw Error(ErrorCode::io, fmt::format("cannot make {}: {}", folder, error.message()));
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

  /// Of the block, for MPI: as the scheduler says, or this one.
  std::vector<std::string> nodes(int count) const {
    if (count == 1) return {place_.node};
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
      const std::lock_guard lock(worker_.mutex_);
      worker_.progress_[key_] = {key_, fraction, message};
      worker_.wake_.notify_all();
    }
    void log(const std::string& line) override {
      const std::lock_guard lock(worker_.mutex_);
      if (worker_.lines_.size() >= kMostLines) worker_.lines_.pop_front();  // the newest count
      worker_.lines_.push_back({key_, line});
      worker_.wake_.notify_all();
    }
    void preview(Preview preview) override {
      preview.task = key_.task;
      const std::string channel = preview.task + "/" + preview.name;
      std::shared_ptr<net::WebSocket> socket;
      {
        const std::lock_guard lock(worker_.mutex_);
        socket = worker_.socket_;
      }
      if (socket) socket->send_latest(channel, encode_preview(preview));
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

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Queued> waiting_;
  std::optional<Running> running_;
  std::optional<TaskBegin> started_;  ///< of what runs
  std::vector<Mail> inbox_;
  std::vector<TaskBegin> begun_;
  std::vector<TaskEnd> ended_;
  std::map<TaskKey, TaskProgress> progress_;
  std::deque<TaskLog> lines_;
  std::set<std::string> watched_;
  std::shared_ptr<net::WebSocket> socket_;
  bool leaving_ = false, say_leaving_ = false;
  std::atomic<bool> given_up_ = false;
  std::atomic<int> line_ = 0;
};

}  // namespace

void run_worker(const WorkerPlace& place, TaskRunner& runner, const std::stop_token& leave) {
  Worker(place, runner).run(leave);
}

}  // namespace farfield::services::compute
