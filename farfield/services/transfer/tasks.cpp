#include "farfield/services/transfer/tasks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <list>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <utility>

#include "farfield/core/log.hpp"
#include "farfield/services/transfer/walk.hpp"

namespace farfield::services::transfer {

using core::Error;
using core::ErrorCode;
using store::Transaction;

namespace {

const std::vector<store::Migration> kTables{{1, "tasks and units", R"(
CREATE TABLE transfer_task (
  id TEXT PRIMARY KEY, number {int64} NOT NULL, submit_key TEXT UNIQUE, owner TEXT NOT NULL, request TEXT NOT NULL, state TEXT NOT NULL,
  problem TEXT NOT NULL, attempt {int64} NOT NULL, submitted_s {float64} NOT NULL, changed_s {float64} NOT NULL,
  files_found {int64} NOT NULL, files_copied {int64} NOT NULL, files_skipped {int64} NOT NULL, files_failed {int64} NOT NULL,
  bytes_found {int64} NOT NULL, bytes_read {int64} NOT NULL, links_left_out {int64} NOT NULL, others_left_out {int64} NOT NULL);
CREATE INDEX transfer_task_by_owner ON transfer_task (owner, number);
CREATE INDEX transfer_task_by_state ON transfer_task (state, number);
CREATE TABLE transfer_unit (
  task TEXT NOT NULL, destination TEXT NOT NULL, source TEXT NOT NULL, outcome TEXT NOT NULL, problem TEXT NOT NULL,
  size_bytes {int64} NOT NULL, mtime_ns {int64} NOT NULL, tag TEXT NOT NULL, crc32c {int64} NOT NULL, sha256 TEXT NOT NULL,
  PRIMARY KEY (task, destination));
)"},
                                            {2, "grants", R"(
ALTER TABLE transfer_task ADD COLUMN grant_id TEXT NOT NULL DEFAULT '';
)"},
                                            {3, "adler32", R"(
ALTER TABLE transfer_unit ADD COLUMN adler32 {int64} NOT NULL DEFAULT -1;
)"}};

constexpr std::size_t kBatch = 256;        // files in one stored change
constexpr double kStoreWithin_s = 0.1;     // what a kill can cost
constexpr int kBatchesUnderWay = 8;
constexpr const char* kColumns =
    "id, request, state, problem, attempt, submitted_s, changed_s, files_found, files_copied, files_skipped, "
    "files_failed, bytes_found, bytes_read, links_left_out, others_left_out, grant_id";

double system_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string new_id() {
  std::random_device random;  // the kernel's
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

TaskState state_named(const std::string& name) {
  for (const auto state :
       {TaskState::queued, TaskState::active, TaskState::succeeded, TaskState::failed, TaskState::cancelled})
    if (name_of(state) == name) return state;
  throw Error(ErrorCode::corrupt_data, fmt::format("a transfer task is stored with the state \"{}\"", name));
}

TaskStatus status_from(const store::Rows::Row& row) {
  TaskStatus status;
  status.id = row.text(0);
  status.request = request_from_json(row.text(1));
  status.request.grant = row.text(15);
  status.state = state_named(row.text(2));
  status.problem = row.text(3);
  status.attempt = static_cast<int>(row.integer(4));
  status.submitted_s = row.real(5);
  status.changed_s = row.real(6);
  status.progress = {row.integer(7),  row.integer(8),  row.integer(9),  row.integer(10),        row.integer(11),
                     row.integer(12), row.integer(13), row.integer(14), !is_final(status.state)};
  return status;
}

/// Only a task that has not ended: whoever ends it first has the last word. True where that was so.
bool store_status(Transaction& t, const TaskStatus& s) {
  const Progress& p = s.progress;
  return t.execute(
             "UPDATE transfer_task SET state = ?, problem = ?, attempt = ?, changed_s = ?, files_found = ?, "
             "files_copied = ?, "
             "files_skipped = ?, files_failed = ?, bytes_found = ?, bytes_read = ?, links_left_out = ?, "
             "others_left_out = ? "
             "WHERE id = ? AND state IN ('queued', 'active')",
             name_of(s.state), s.problem, s.attempt, s.changed_s, p.files_found, p.files_copied, p.files_skipped,
             p.files_failed, p.bytes_found, p.bytes_read, p.links_left_out, p.others_left_out, s.id) == 1;
}

void store_units(Transaction& t, const std::string& task, const std::vector<Unit>& units) {
  for (const Unit& unit : units) {
    const bool copied = unit.outcome == Unit::Outcome::copied;
    const Version& source = unit.copy.source;
    t.execute(
        "INSERT INTO transfer_unit (task, destination, source, outcome, problem, size_bytes, mtime_ns, tag, crc32c, "
        "sha256, adler32) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (task, destination) DO UPDATE SET source = "
        "excluded.source, "
        "outcome = excluded.outcome, problem = excluded.problem, size_bytes = excluded.size_bytes, "
        "mtime_ns = excluded.mtime_ns, tag = excluded.tag, crc32c = excluded.crc32c, sha256 = excluded.sha256, "
        "adler32 = excluded.adler32",
        task, unit.destination, unit.source, copied ? "copied" : "failed",
        unit.error ? std::string(unit.error->what()) : std::string(), source.size_bytes, source.mtime_ns, source.tag,
        std::int64_t{unit.copy.digests.crc32c}, unit.copy.digests.sha256,
        unit.copy.digests.adler32 ? std::int64_t{*unit.copy.digests.adler32} : std::int64_t{-1});
  }
}

}  // namespace

std::string_view name_of(TaskEvent::Kind kind) {
  switch (kind) {
    case TaskEvent::Kind::submitted: return "submitted";
    case TaskEvent::Kind::started: return "started";
    case TaskEvent::Kind::progress: return "progress";
    case TaskEvent::Kind::waiting: return "waiting";
    case TaskEvent::Kind::ended: return "ended";
  }
  return "";
}

namespace {
/// Who hears of events. Its handles may outlive the tasks.
class Listening {
public:
  using Listener = std::function<void(const TaskEvent&)>;
  int add(Listener listener) {
    const std::lock_guard lock(mutex_);
    listeners_[next_] = std::make_shared<const Listener>(std::move(listener));
    return next_++;
  }
  void remove(int id) {
    const std::lock_guard lock(mutex_);
    listeners_.erase(id);
  }
  /// To be called without the lock: a listener may end another one, or itself.
  std::vector<std::shared_ptr<const Listener>> all() {
    const std::lock_guard lock(mutex_);
    std::vector<std::shared_ptr<const Listener>> all;
    for (const auto& [id, listener] : listeners_) all.push_back(listener);
    return all;
  }

private:
  std::mutex mutex_;
  std::map<int, std::shared_ptr<const Listener>> listeners_;
  int next_ = 0;
};
}  // namespace

struct Tasks::State {
  struct Live {  // a task that has not ended
    TaskStatus status;
    std::stop_source stop;
    double not_before_s = 0, patience_s = 0;
    bool running = false;
  };
  using LivePtr = std::shared_ptr<Live>;

  State(store::Database& db, Resolve resolver, const core::Clock& c, TasksOptions o,
        std::function<void(const TaskEvent&)> observer)
      : database(db), resolve(std::move(resolver)), clock(c), options(std::move(o)), observe(std::move(observer)) {
    if (options.active < 1)
      throw Error(ErrorCode::invalid_argument, fmt::format("{} active transfers; at least 1", options.active));
    if (!options.wall_s) options.wall_s = system_seconds;
    database.migrate("transfer", kTables);
    for (const auto row : database.query(
             fmt::format("SELECT {} FROM transfer_task WHERE state IN ('queued', 'active') ORDER BY number", kColumns)))
      enqueue(status_from(row));
    for (int i = 0; i < options.active; ++i) threads.emplace_back([this] { work(); });
  }

  ~State() {
    {
      const std::lock_guard lock(mutex);
      closing = true;
      for (const auto& [id, live] : tasks) live->stop.request_stop();
    }
    changed.notify_all();
    threads.clear();  // joins
  }

  LivePtr enqueue(TaskStatus status) {
    auto live = std::make_shared<Live>();
    live->patience_s = options.patience_s;
    const std::string id = status.id;
    live->status = std::move(status);
    const std::lock_guard lock(mutex);
    tasks[id] = live;
    queue.push_back(live);
    changed.notify_all();
    return live;
  }

  void tell(TaskEvent::Kind kind, const TaskStatus& status) {
    const TaskEvent event{kind, status};
    if (observe) observe(event);
    for (const auto& listener : listening->all()) (*listener)(event);
  }

  TaskStatus snapshot(const LivePtr& live) {
    const std::lock_guard lock(mutex);
    return live->status;
  }

  /// What each thread does: the first task whose time has come, again and again.
  void work() {
    std::unique_lock lock(mutex);
    while (!closing) {
      const double now_s = clock.now_s();
      double next_s = now_s + 3600;
      auto place = queue.begin();
      for (; place != queue.end() && (*place)->not_before_s > now_s; ++place)
        next_s = std::min(next_s, (*place)->not_before_s);
      if (place == queue.end()) {
        changed.wait_for(lock, std::chrono::duration<double>(next_s - now_s));
        continue;
      }
      const LivePtr live = *place;
      queue.erase(place);
      live->running = true;
      lock.unlock();
      try {
        run(live);
      } catch (const std::exception& e) {  // the database is away: the task stays as it is stored
        core::log(core::LogLevel::error, "transfer.not_stored", {{"task", live->status.id}, {"error", e.what()}});
        wait_and_retry(live, e.what());
      }
      lock.lock();
      live->running = false;
      changed.notify_all();
    }
  }

  void run(const LivePtr& live);
  JobResult run_once(const LivePtr& live, const TaskRequest& request);

  void wait_and_retry(const LivePtr& live, const std::string& problem) {
    const std::lock_guard lock(mutex);
    live->status.problem = problem;
    live->not_before_s = clock.now_s() + live->patience_s;
    live->patience_s = std::min(2 * live->patience_s, options.longest_patience_s);
    queue.push_back(live);
    changed.notify_all();
  }

  void ended(const TaskStatus& status) {
    tell(TaskEvent::Kind::ended, status);
    const std::lock_guard lock(mutex);
    tasks.erase(status.id);
    changed.notify_all();
  }

  store::Database& database;
  Resolve resolve;
  const core::Clock& clock;
  TasksOptions options;
  std::function<void(const TaskEvent&)> observe;
  std::shared_ptr<Listening> listening = std::make_shared<Listening>();

  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::string, LivePtr> tasks;
  std::list<LivePtr> queue;
  bool closing = false;
  std::vector<std::jthread> threads;
};

namespace {

/// Stores the files of a job as they are done, many in one change.
class Recorder final : public JobObserver {
public:
  Recorder(store::Database& database, const core::Clock& clock, std::string task, bool again,
           std::function<void(const Progress&)> progress)
      : database_(database), clock_(clock), task_(std::move(task)), again_(again), progress_(std::move(progress)) {}
  ~Recorder() override {  // answers still come to this object
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return under_way_ == 0; });
  }

  void unit(const Unit& unit) override {
    std::unique_lock lock(mutex_);
    if (error_) throw Error(*error_);
    if (unit.outcome == Unit::Outcome::skipped) return;
    units_.push_back(unit);
    if (units_.size() >= kBatch || clock_.now_s() - sent_s_ >= kStoreWithin_s) send(lock);
  }

  void progress(const Progress& progress) override {
    Progress sum = progress;
    {
      std::unique_lock lock(mutex_);
      if (!units_.empty()) send(lock);
      // Copied by an earlier attempt, which this one found when it came to them.
      sum.files_copied += known_;
      sum.files_skipped -= known_;
    }
    progress_(sum);
  }

  bool copied_before(const std::string& destination, const Version& source) override {
    if (!again_) return false;
    const auto rows = database_.query(
        "SELECT size_bytes, mtime_ns, tag FROM transfer_unit WHERE task = ? AND destination = ? AND outcome = 'copied'",
        task_, destination);
    if (rows.empty() || Version{rows[0].integer(0), rows[0].integer(1), rows[0].text(2)} != source) return false;
    const std::lock_guard lock(mutex_);
    ++known_;
    return true;
  }

  /// Returns when all is stored.
  void flush() {
    std::unique_lock lock(mutex_);
    if (!units_.empty()) send(lock);
    changed_.wait(lock, [this] { return under_way_ == 0; });
    if (error_) throw Error(*error_);
  }
  Index known() const { return known_; }

private:
  void send(std::unique_lock<std::mutex>& lock) {
    auto units = std::make_shared<std::vector<Unit>>(std::exchange(units_, {}));
    sent_s_ = clock_.now_s();
    ++under_way_;
    changed_.wait(lock, [this] { return under_way_ <= kBatchesUnderWay; });
    lock.unlock();
    try {
      database_.submit([units, task = task_](Transaction& t) { store_units(t, task, *units); },
                       [this](core::Result<void> result) { stored(std::move(result)); });
    } catch (const Error& e) {
      stored(tl::unexpected<Error>(e));
    }
    lock.lock();
  }
  void stored(core::Result<void> result) {
    const std::lock_guard lock(mutex_);
    if (!result && !error_) error_ = result.error();
    --under_way_;
    changed_.notify_all();
  }

  store::Database& database_;
  const core::Clock& clock_;
  const std::string task_;
  const bool again_;
  std::function<void(const Progress&)> progress_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Unit> units_;
  double sent_s_ = 0;
  int under_way_ = 0;
  Index known_ = 0;
  std::optional<Error> error_;
};

std::string describe(const JobResult& result) {
  if (result.error) return result.error->what();
  if (result.progress.files_failed == 0) return {};
  const Unit& first = result.failed.front();
  return fmt::format("{} of {} files failed; the first is {}: {}", result.progress.files_failed,
                     std::max(result.progress.files_found, result.progress.files_failed), first.source,
                     first.error->what());
}

}  // namespace

JobResult Tasks::State::run_once(const LivePtr& live, const TaskRequest& request) {
  const TaskStatus begun = snapshot(live);
  JobResult result;
  try {
    const auto from = resolve(request.source, request), to = resolve(request.destination, request);
    Recorder recorder(database, clock, begun.id, begun.attempt > 1, [&](const Progress& progress) {
      {
        const std::lock_guard lock(mutex);
        live->status.progress = progress;
      }
      tell(TaskEvent::Kind::progress, snapshot(live));
    });
    result = run_job(*from, *to, request.items, request.options, recorder, clock, live->stop.get_token());
    recorder.flush();
    result.progress.files_copied += recorder.known();
    result.progress.files_skipped -= recorder.known();
  } catch (const Error& e) {
    result.error = e;
    result.progress = begun.progress;
  }
  return result;
}

void Tasks::State::run(const LivePtr& live) {
  TaskStatus status = snapshot(live);
  status.state = TaskState::active;
  ++status.attempt;
  status.problem.clear();
  status.changed_s = options.wall_s();
  const auto keep = [&] {
    const bool was_open = database.write([&](Transaction& t) { return store_status(t, status); });
    if (!was_open) {  // meanwhile a caller of cancel() ended it
      status.state = TaskState::cancelled;
      status.problem.clear();
    }
    const std::lock_guard lock(mutex);
    live->status = status;
    return was_open;
  };
  if (!keep()) return ended(status);
  tell(TaskEvent::Kind::started, status);

  const JobResult result = run_once(live, status.request);
  {
    const std::lock_guard lock(mutex);
    if (closing && result.error) return;  // goes on at the next start
  }
  status.progress = result.progress;
  status.problem = describe(result);
  status.changed_s = options.wall_s();
  const bool may_pass = result.error && ends_job(result.error->code()) &&
                        result.error->code() != ErrorCode::unauthenticated && !live->stop.stop_requested();
  if (may_pass && status.changed_s < status.submitted_s + status.request.deadline_s) {
    if (!keep()) return ended(status);
    tell(TaskEvent::Kind::waiting, status);
    wait_and_retry(live, status.problem);
    return;
  }
  status.state = result.ok() ? TaskState::succeeded : TaskState::failed;
  keep();
  ended(status);
}

Tasks::Tasks(store::Database& database, Resolve resolve, const core::Clock& clock, TasksOptions options,
             std::function<void(const TaskEvent&)> observe)
    : state_(std::make_unique<State>(database, std::move(resolve), clock, std::move(options), std::move(observe))) {}
Tasks::~Tasks() = default;

std::string Tasks::submit(const TaskRequest& request, const std::string& key) {
  check(request.items, request.options);
  if (request.options.follow && request.options.follow->test)
    throw Error(ErrorCode::invalid_argument,
                "a task cannot be stored with a test of completeness; give a marker or a time");
  const std::string json = to_json(request);
  TaskStatus status;
  status.request = request_from_json(json);  // refuses what could not be read again
  status.request.grant = request.grant;
  status.id = new_id();
  status.submitted_s = status.changed_s = state_->options.wall_s();
  const std::string id = state_->database.write([&](Transaction& t) {
    if (!key.empty())
      for (const auto row : t.query("SELECT id, request FROM transfer_task WHERE submit_key = ?", key)) {
        if (row.text(1) != json)
          throw Error(ErrorCode::conflict, fmt::format("another transfer was submitted with the key \"{}\"", key));
        return row.text(0);
      }
    t.execute(
        "INSERT INTO transfer_task (id, number, submit_key, owner, request, grant_id, state, problem, attempt, "
        "submitted_s, changed_s, files_found, files_copied, files_skipped, files_failed, bytes_found, bytes_read, "
        "links_left_out, others_left_out) "
        "VALUES (?, (SELECT COALESCE(MAX(number), 0) + 1 FROM transfer_task), ?, ?, ?, ?, 'queued', '', 0, ?, ?, "
        "0, 0, 0, 0, 0, 0, 0, 0)",
        status.id, key.empty() ? std::optional<std::string>() : key, request.owner, json, request.grant,
        status.submitted_s, status.changed_s);
    return status.id;
  });
  if (id == status.id) {
    state_->tell(TaskEvent::Kind::submitted, status);
    state_->enqueue(std::move(status));
  }
  return id;
}

TaskStatus Tasks::status(const std::string& id) const {
  {
    const std::lock_guard lock(state_->mutex);
    const auto live = state_->tasks.find(id);
    if (live != state_->tasks.end()) return live->second->status;
  }
  const auto rows = state_->database.query(fmt::format("SELECT {} FROM transfer_task WHERE id = ?", kColumns), id);
  if (rows.empty()) throw Error(ErrorCode::not_found, fmt::format("there is no transfer {}", id));
  return status_from(rows[0]);
}

std::vector<std::pair<std::string, std::string>> Tasks::open_under(const std::string& beginning) const {
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto row : state_->database.query(
           "SELECT submit_key, id FROM transfer_task WHERE state IN ('queued', 'active') AND submit_key IS NOT NULL "
           "ORDER BY number"))
    if (row.text(0).starts_with(beginning)) out.emplace_back(row.text(0), row.text(1));
  return out;
}

std::vector<TaskStatus> Tasks::list(const std::string& owner, Index at_most) const {
  std::vector<TaskStatus> all;
  const std::string order = " ORDER BY number DESC LIMIT ?";
  const auto rows =
      owner.empty()
          ? state_->database.query(fmt::format("SELECT {} FROM transfer_task{}", kColumns, order), at_most)
          : state_->database.query(fmt::format("SELECT {} FROM transfer_task WHERE owner = ?{}", kColumns, order),
                                   owner, at_most);
  const std::lock_guard lock(state_->mutex);
  for (const auto row : rows) {
    const auto live = state_->tasks.find(row.text(0));
    all.push_back(live == state_->tasks.end() ? status_from(row) : live->second->status);
  }
  return all;
}

std::vector<StoredUnit> Tasks::units(const std::string& id, bool failed_only, const std::string& after,
                                     Index at_most) const {
  (void)status(id);
  std::vector<StoredUnit> units;
  for (const auto row : state_->database.query(
           fmt::format("SELECT source, destination, outcome, size_bytes, crc32c, sha256, problem, adler32 "
                       "FROM transfer_unit WHERE task = ? AND destination > ?{} ORDER BY destination LIMIT ?",
                       failed_only ? " AND outcome = 'failed'" : ""),
           id, after, at_most))
    units.push_back({row.text(0), row.text(1), row.text(2) == "copied" ? Unit::Outcome::copied : Unit::Outcome::failed,
                     row.integer(3), static_cast<std::uint32_t>(row.integer(4)), row.text(5), row.text(6),
                     row.integer(7) < 0 ? std::nullopt : std::optional(static_cast<std::uint32_t>(row.integer(7)))});
  return units;
}

void Tasks::cancel(const std::string& id) {
  TaskStatus status = this->status(id);
  if (is_final(status.state)) return;
  status.state = TaskState::cancelled;
  status.problem.clear();
  status.changed_s = state_->options.wall_s();
  if (!state_->database.write([&](Transaction& t) { return store_status(t, status); })) return;
  std::unique_lock lock(state_->mutex);
  const auto place = state_->tasks.find(id);
  if (place == state_->tasks.end()) return;
  const auto live = place->second;
  live->stop.request_stop();
  // One that waits has no thread that would tell of its end.
  if (std::erase(state_->queue, live) == 0) return;
  live->status = status;
  lock.unlock();
  state_->ended(status);
}

std::shared_ptr<void> Tasks::listen(std::function<void(const TaskEvent&)> listener) {
  const int id = state_->listening->add(std::move(listener));
  return {nullptr, [listening = state_->listening, id](void*) { listening->remove(id); }};
}

TaskStatus Tasks::wait(const std::string& id, double seconds) const {
  {
    std::unique_lock lock(state_->mutex);
    state_->changed.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return !state_->tasks.contains(id); });
  }
  return status(id);
}

}  // namespace farfield::services::transfer
