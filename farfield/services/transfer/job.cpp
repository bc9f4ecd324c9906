#include "farfield/services/transfer/job.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "farfield/services/transfer/copy_small.hpp"
#include "farfield/services/transfer/root.hpp"
#include "farfield/services/transfer/walk.hpp"

namespace farfield::services::transfer {

using core::Error;
using core::ErrorCode;

namespace {

constexpr std::size_t kQueue = 4096;
constexpr std::size_t kFailuresKept = 100;
constexpr auto kProgress = std::chrono::milliseconds(500);
constexpr auto kLook = std::chrono::milliseconds(250);
constexpr double kSettled_s = 1;    // a file unchanged for so long is copied, while others still come
constexpr double kBackOff_s = 0.2;  // doubled with each attempt
constexpr Index kWorthFollowing = 4;  // chunks

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

class Job {
public:
  Job(Provider& from, Provider& to, const std::vector<Item>& items, const JobOptions& options, JobObserver& observer,
      const core::Clock& clock)
      : from_(from),
        to_(to),
        items_(items),
        options_(options),
        observer_(observer),
        clock_(clock),
        walk_(from, to, items, options) {
    if (options.bandwidth_Bps > 0) limit_.emplace(options.bandwidth_Bps, clock);
  }

  JobResult run(std::stop_token stop) {
    const std::stop_callback forward(stop, [this] { stop_.request_stop(); });
    {
      std::vector<std::jthread> workers;
      for (int i = 0; i < options_.concurrency; ++i) workers.emplace_back([this] { guarded([this] { work(); }); });
      const std::jthread lister([this] {
        guarded([this] { options_.follow ? follow() : list(); });
        end_of_list();
      });
      report();
    }
    const std::lock_guard lock(mutex_);
    if (stop.stop_requested() && !result_.error)
      result_.error = Error(ErrorCode::cancelled, "the transfer was stopped");
    observer_.progress(count());
    result_.progress = count();
    return std::move(result_);
  }

private:
  struct Known {  // a file of a growing tree
    Version seen;
    double since_s = 0;
    std::optional<Version> copied;
    bool under_way = false, grows = false;
  };
  struct Task {
    Found found;
    bool growing = false, last_chance = true;
  };

  // --- finding
  void list() {
    walk_.run(
        stop_.get_token(), [this](Found found) { offer(std::move(found)); },
        [this](const auto& source, const auto& destination, Error e) { fail(source, destination, std::move(e)); });
    note_left_out();
  }

  void note_left_out() {
    const std::lock_guard lock(mutex_);
    result_.progress.links_left_out = std::ssize(walk_.links());
    result_.progress.others_left_out = std::ssize(walk_.others());
  }

  void offer(Found found) {
    {
      const std::lock_guard lock(mutex_);
      ++result_.progress.files_found;
      result_.progress.bytes_found += found.version.size_bytes;
    }
    if (found.need == Found::Need::nothing || observer_.copied_before(found.destination, found.version))
      finish({found.source, found.destination, Unit::Outcome::skipped, {}, {}, 0, 0});
    else push({std::move(found), false, true});
  }

  void push(Task task) {
    std::unique_lock lock(mutex_);
    room_.wait(lock, stop_.get_token(), [this] { return queue_.size() < kQueue; });
    queue_.push_back(std::move(task));
    work_.notify_one();
  }

  void end_of_list() {
    const std::lock_guard lock(mutex_);
    result_.progress.listing = false;
    work_.notify_all();
    idle_.notify_all();
  }

  /// Looks through the items until they are complete, and once more.
  void follow() {
    watch::CompleteJudge judge(*options_.follow, items_.front().source, clock_, seconds_since_1970);
    while (!stop_.stop_requested()) {
      const bool complete = judge.look(look(false), [] { return false; }) || has_marker_beside();
      if (complete) break;
      std::unique_lock lock(mutex_);
      room_.wait_for(lock, stop_.get_token(), kLook, [] { return false; });
    }
    {
      std::unique_lock lock(mutex_);
      complete_ = true;
      idle_.wait(lock, stop_.get_token(), [this] { return queue_.empty() && under_way_ == 0; });
    }
    if (!stop_.stop_requested()) look(true);
  }

  /// scan100.done beside scan100, for the marker `*.done`. What is away is asked again.
  bool has_marker_beside() {
    const auto star = options_.follow->marker.find('*');
    const std::string& source = items_.front().source;
    if (star == std::string::npos || source.empty()) return false;
    std::string marker = options_.follow->marker;
    marker.replace(star, 1, name_of(source));
    try {
      return from_.stat(join(folder_of(source), marker)).has_value();
    } catch (const Error& e) {
      if (!core::traits(e.code()).retryable) throw;
      return false;
    }
  }

  watch::Snapshot look(bool last) {
    watch::Snapshot snapshot;
    walk_.run(
        stop_.get_token(),
        [&](Found found) {
          // Paths as the judge wants them: below the item.
          const std::string_view whole = found.source;
          const auto& item = *std::find_if(items_.begin(), items_.end(), [&](const Item& i) {
            return whole == i.source || whole.starts_with(i.source + "/") || i.source.empty();
          });
          const auto below = whole.substr(std::min(whole.size(), item.source.size() + (item.source.empty() ? 0 : 1)));
          snapshot[below.empty() ? std::string(name_of(whole)) : std::string(below)] = {found.version.size_bytes,
                                                                                        found.version.mtime_ns};
          consider(std::move(found), last);
        },
        [&](const auto& source, const auto& destination, Error e) {
          if (last) fail(source, destination, std::move(e));  // what is not there yet may come
        });
    note_left_out();
    return snapshot;
  }

  void consider(Found found, bool last) {
    Task task{found, false, last};
    {
      const std::lock_guard lock(mutex_);
      auto [place, is_new] = known_.try_emplace(found.destination);
      Known& known = place->second;
      if (is_new) ++result_.progress.files_found;
      if (is_new || known.seen != found.version) {
        result_.progress.bytes_found += found.version.size_bytes - known.seen.size_bytes;
        known.grows = !is_new && found.version.size_bytes > known.seen.size_bytes;
        known.seen = found.version;
        known.since_s = clock_.now_s();
      }
      if (known.under_way || known.copied == found.version) return;
      const bool settled = last || clock_.now_s() - known.since_s >= kSettled_s;
      task.growing = !settled && known.grows &&
                     found.version.size_bytes >= kWorthFollowing * options_.copy.chunk_bytes &&
                     growing_ < std::max(1, options_.concurrency / 2);
      if (!settled && !task.growing) return;
      known.under_way = true;
      if (task.growing) ++growing_;
    }
    // What the destination had before, by the job's own rule or an earlier run, counts as copied.
    if (!task.growing &&
        (found.need == Found::Need::nothing || observer_.copied_before(found.destination, found.version))) {
      settle(found.destination, found.version, false);
      finish({found.source, found.destination, Unit::Outcome::skipped, {}, {}, 0, 0});
    } else {
      push(std::move(task));
    }
  }

  void settle(const std::string& destination, const std::optional<Version>& copied, bool growing) {
    const std::lock_guard lock(mutex_);
    const auto known = known_.find(destination);
    if (known == known_.end()) return;
    known->second.under_way = false;
    known->second.copied = copied;
    known->second.since_s = clock_.now_s();  // what failed is not tried again at once
    if (growing) --growing_;
  }

  // --- copying
  void work() {
    for (;;) {
      std::unique_lock lock(mutex_);
      work_.wait(lock, stop_.get_token(), [this] { return !queue_.empty() || !result_.progress.listing; });
      if (stop_.stop_requested() || queue_.empty()) return;
      const std::vector<Task> tasks = take();
      under_way_ += static_cast<int>(tasks.size());
      room_.notify_all();
      lock.unlock();
      std::vector<const Task*> alone;
      if (tasks.size() > 1) alone = together(tasks);
      else alone.push_back(&tasks.front());
      for (const Task* task : alone) done(*task, process(*task));
      lock.lock();
      under_way_ -= static_cast<int>(tasks.size());
      if (under_way_ == 0 && queue_.empty()) idle_.notify_all();
    }
  }

  /// The next file, or several small ones that go to the destination together; a worker's share of what waits, so that
  /// all have something to do. With the mutex.
  std::vector<Task> take() {
    const std::size_t workers = static_cast<std::size_t>(options_.concurrency);
    const std::size_t share = to_.stores_many() ? (queue_.size() + workers - 1) / workers : 1;
    const std::size_t most = std::min(share, kMostStored);
    // Where the bandwidth is limited, no more than goes in about a second.
    const Index room = options_.bandwidth_Bps > 0
                           ? static_cast<Index>(std::min(static_cast<double>(kSmallTogether_bytes),
                                                         options_.bandwidth_Bps / options_.concurrency))
                           : kSmallTogether_bytes;
    std::vector<Task> tasks;
    Index bytes = 0;
    do {
      bytes += queue_.front().found.version.size_bytes;
      tasks.push_back(std::move(queue_.front()));
      queue_.pop_front();
    } while (small(tasks.front()) && tasks.size() < most && !queue_.empty() && small(queue_.front()) &&
             queue_.front().found.version.size_bytes <= room - bytes);
    return tasks;
  }

  bool small(const Task& task) const {
    return !task.growing && task.found.need == Found::Need::copy &&
           goes_together(task.found.version.size_bytes, options_.copy);
  }

  /// Those of the files that must still be copied by themselves, which also finds out why.
  std::vector<const Task*> together(const std::vector<Task>& tasks) {
    const double started_s = clock_.now_s();
    std::vector<SmallFile> files;
    for (const Task& task : tasks)
      files.push_back({task.found.source, task.found.destination, task.found.version.size_bytes});
    auto copies = copy_small(from_, files, to_, options_.copy, context());
    const double seconds = clock_.now_s() - started_s;
    std::vector<const Task*> alone;
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      if (!copies[i]) alone.push_back(&tasks[i]);
      else
        done(tasks[i],
             {files[i].source, files[i].destination, Unit::Outcome::copied, *std::move(copies[i]), {}, 1, seconds});
    }
    return alone;
  }

  void done(const Task& task, Unit unit) {
    settle(task.found.destination,
           unit.outcome == Unit::Outcome::failed    ? std::nullopt
           : unit.outcome == Unit::Outcome::skipped ? std::optional(task.found.version)
                                                    : std::optional(unit.copy.source),
           task.growing);
    // In a growing tree a failure may be the writer's doing, and there will be another look.
    if (unit.outcome != Unit::Outcome::failed || task.last_chance) finish(std::move(unit));
  }

  CopyContext context() { return {limit_ ? &*limit_ : nullptr, &bytes_read_, stop_.get_token()}; }

  Unit process(const Task& task) {
    const double started_s = clock_.now_s();
    Unit unit{task.found.source, task.found.destination, Unit::Outcome::copied, {}, {}, 1, 0};
    for (;; ++unit.attempts) {
      try {
        attempt(task, unit);
        break;
      } catch (const Error& e) {
        const bool again = core::traits(e.code()).retryable || e.code() == ErrorCode::conflict;
        if (again && unit.attempts < options_.attempts && pause(kBackOff_s * std::exp2(unit.attempts - 1))) continue;
        if (ends_job(e.code())) throw;
        unit.outcome = Unit::Outcome::failed;
        unit.error = e;
        break;
      }
    }
    unit.seconds = clock_.now_s() - started_s;
    return unit;
  }

  void attempt(const Task& task, Unit& unit) {
    if (task.found.need == Found::Need::compare &&
        from_.digests(unit.source, false).crc32c == to_.digests(unit.destination, false).crc32c) {
      unit.outcome = Unit::Outcome::skipped;
      return;
    }
    CopyOptions options = options_.copy;
    options.complete = nullptr;
    if (task.growing) options.complete = settles();
    unit.copy = copy_file(from_, unit.source, to_, unit.destination, options, context());
  }

  /// Says that a growing file is done when all is, or when it has not changed for a while.
  std::function<bool(const Version&)> settles() {
    const double enough_s = std::max(2 * kSettled_s, options_.follow->quiet_s);
    return [this, enough_s, last = Version{}, since_s = clock_.now_s()](const Version& now) mutable {
      if (now != std::exchange(last, now)) since_s = clock_.now_s();
      const std::lock_guard lock(mutex_);
      return complete_ || clock_.now_s() - since_s >= enough_s;
    };
  }

  bool pause(double seconds) {
    std::unique_lock lock(mutex_);
    pause_.wait_for(lock, stop_.get_token(), std::chrono::duration<double>(seconds), [] { return false; });
    return !stop_.stop_requested();
  }

  // --- telling
  void fail(const std::string& source, const std::string& destination, Error error) {
    finish({source, destination, Unit::Outcome::failed, {}, std::move(error), 1, 0});
  }

  void finish(Unit unit) {
    observer_.unit(unit);
    const std::lock_guard lock(mutex_);
    auto& p = result_.progress;
    // A file of a growing tree may be copied more than once.
    if (options_.follow && unit.outcome != Unit::Outcome::failed && !counted_.insert(unit.destination).second) return;
    ++(unit.outcome == Unit::Outcome::copied    ? p.files_copied
       : unit.outcome == Unit::Outcome::skipped ? p.files_skipped
                                                : p.files_failed);
    if (unit.outcome == Unit::Outcome::failed && result_.failed.size() < kFailuresKept)
      result_.failed.push_back(std::move(unit));
  }

  /// On the caller's thread, until all is done.
  void report() {
    std::unique_lock lock(mutex_);
    while (!idle_.wait_for(lock, stop_.get_token(), kProgress, [this] {
      return stop_.stop_requested() || (!result_.progress.listing && queue_.empty() && under_way_ == 0);
    })) {
      if (stop_.stop_requested()) return;
      const Progress now = count();
      lock.unlock();
      guarded([&] { observer_.progress(now); });
      lock.lock();
    }
  }

  Progress count() {  // with the mutex
    Progress progress = result_.progress;
    progress.bytes_read = bytes_read_;
    return progress;
  }

  /// What a thread throws ends the job.
  void guarded(const std::function<void()>& action) {
    std::optional<Error> error;
    try {
      action();
    } catch (const Error& e) {
      error = e;
    } catch (const std::exception& e) {
      error = Error(ErrorCode::internal, e.what());
    }
    if (!error) return;
    {
      const std::lock_guard lock(mutex_);
      // The others then end with "stopped", which is not the reason.
      if (!result_.error && !(error->code() == ErrorCode::cancelled && stop_.stop_requested()))
        result_.error = std::move(error);
    }
    stop_.request_stop();
  }

  Provider& from_;
  Provider& to_;
  const std::vector<Item>& items_;
  const JobOptions& options_;
  JobObserver& observer_;
  const core::Clock& clock_;
  Walk walk_;
  std::optional<RateLimit> limit_;
  std::atomic<Index> bytes_read_{0};
  std::stop_source stop_;

  std::mutex mutex_;
  std::condition_variable_any work_, room_, idle_, pause_;
  std::deque<Task> queue_;
  std::map<std::string, Known> known_;
  std::set<std::string> counted_;
  int under_way_ = 0, growing_ = 0;
  bool complete_ = false;
  JobResult result_;
};

std::string full_name(const Provider& provider, const std::string& path) {
  std::string name = provider.name();
  while (name.ends_with('/')) name.pop_back();
  return path.empty() ? name : name + "/" + path;
}

[[noreturn]] void refuse(const std::string& what) { throw Error(ErrorCode::invalid_argument, what); }

}  // namespace

void check(const std::vector<Item>& items, const JobOptions& options) {
  if (items.empty()) refuse("a transfer without items");
  if (options.concurrency < 1 || options.concurrency > 1000)
    refuse(fmt::format("concurrency {} must be 1 to 1000", options.concurrency));
  if (options.attempts < 1) refuse(fmt::format("{} attempts; at least 1", options.attempts));
  if (options.bandwidth_Bps < 0 || !std::isfinite(options.bandwidth_Bps))
    refuse(fmt::format("a bandwidth of {} bytes/s; must be > 0, or 0 for none", options.bandwidth_Bps));
  if (options.copy.streams < 1) refuse(fmt::format("{} streams; at least 1", options.copy.streams));
  if (options.copy.chunk_bytes <= 0) refuse(fmt::format("chunks of {} bytes; must be > 0", options.copy.chunk_bytes));
  if (options.follow) watch::check(*options.follow);
  check(options.filter);
  for (const Item& item : items)
    if ((checked_path(item.source).empty() || checked_path(item.destination).empty()) && !item.recursive)
      refuse("a path is empty: the exported folder itself can only be copied recursively");
}

JobResult run_job(Provider& from, Provider& to, const std::vector<Item>& items, const JobOptions& options,
                  JobObserver& observer, const core::Clock& clock, std::stop_token stop) {
  check(items, options);
  std::vector<Item> plain = items;
  for (Item& item : plain) {
    item = {checked_path(item.source), checked_path(item.destination), item.recursive};
    // By their full names: one export may lie in another.
    const std::string source = full_name(from, item.source), destination = full_name(to, item.destination);
    if (source == destination || (item.recursive && destination.starts_with(source + "/")))
      refuse(fmt::format("{} would be copied into itself at {}", source, destination));
  }
  return Job(from, to, plain, options, observer, clock).run(std::move(stop));
}

}  // namespace farfield::services::transfer
