#include "farfield/services/flow/engine.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <future>
#include <list>
#include <map>
#include <mutex>
#include <queue>
#include <thread>
#include <unordered_map>

#include "farfield/core/log.hpp"
#include "farfield/services/flow/lines.hpp"
#include "farfield/services/flow/run.hpp"
#include "farfield/services/flow/schema.hpp"

namespace farfield::services::flow {
namespace {
using core::Error;
using core::ErrorCode;
using Steady = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr double kPatience_s = 1;  ///< between tries to store what the database would not take
constexpr auto kLongestTask = std::chrono::seconds(60);

/// Whether the database may take the same change later: it was away, its disk was full, broken or read-only, its
/// administrator is at work on passwords. Else the change itself is what it does not take.
bool passes(ErrorCode code) {
  switch (code) {
    case ErrorCode::conflict:
    case ErrorCode::not_found:
    case ErrorCode::invalid_argument:
    case ErrorCode::corrupt_data:
    case ErrorCode::internal: return false;
    default: return true;
  }
}

/// Seconds since 1970 that only go forward: the system's clock is read once, so that a jump of it moves no time limit.
class Now {
public:
  double s() const { return base_s_ + Seconds(Steady::now() - start_).count(); }
  Steady::time_point at(double time_s) const {
    const double wait_s = std::clamp(time_s - s(), 0.0, 3600.0);
    return Steady::now() + std::chrono::duration_cast<Steady::duration>(Seconds(wait_s));
  }

private:
  double base_s_ = Seconds(std::chrono::system_clock::now().time_since_epoch()).count();
  Steady::time_point start_ = Steady::now();
};

/// A flow's version as the engine needs it: parsed once.
struct Deployed {
  FlowRecord record;
  std::shared_ptr<const Machine> machine;
  std::optional<InputSchema> schema;
};

using Input = std::function<void(Run&, double now_s)>;

struct Live {
  RunRecord record;
  std::unique_ptr<Run> run;
  bool storing = false;  ///< a change is on its way to the disk; inputs wait
  std::deque<Input> inputs;
  double timer_s = std::numeric_limits<double>::infinity();
};
}  // namespace

struct Engine::State {
  State(store::Database& db, Providers p) : database(db), records(db), providers(std::move(p)) {}

  store::Database& database;
  Records records;
  Providers providers;
  Now now;

  // Shared with callers.
  mutable std::mutex mutex;
  std::condition_variable wake, ended, stored_something;
  std::deque<std::function<void()>> tasks;
  std::map<std::pair<std::string, std::int64_t>, std::shared_ptr<const Deployed>> flows;
  std::list<Listener> listeners;
  std::size_t live_count = 0;
  bool stopping = false;
  // Answers of the database may come after the engine has gone.
  std::shared_ptr<State*> self = std::make_shared<State*>(this);
  std::shared_ptr<std::mutex> self_mutex = std::make_shared<std::mutex>();

  // Of the engine's thread alone.
  std::unordered_map<std::string, Live> live;
  using Timer = std::pair<double, std::string>;
  std::priority_queue<Timer, std::vector<Timer>, std::greater<>> timers;
  /// What the database would not take, in the order of time.
  std::deque<std::pair<double, std::function<void()>>> later;
  std::thread thread;

  void post(std::function<void()> task) {
    {
      const std::lock_guard lock(mutex);
      if (stopping) return;
      tasks.push_back(std::move(task));
    }
    wake.notify_one();
  }
  /// For callbacks that may outlive the engine.
  std::function<void(std::function<void()>)> poster() {
    return [self = self, guard = self_mutex](std::function<void()> task) {
      const std::lock_guard lock(*guard);
      if (*self != nullptr) (*self)->post(std::move(task));
    };
  }

  void loop() {
    std::unique_lock lock(mutex);
    while (!stopping) {
      if (tasks.empty()) {
        double due_s = timers.empty() ? std::numeric_limits<double>::infinity() : timers.top().first;
        if (!later.empty()) due_s = std::min(due_s, later.front().first);
        if (due_s == std::numeric_limits<double>::infinity()) wake.wait(lock);
        else wake.wait_until(lock, now.at(due_s));
      }
      std::deque<std::function<void()>> batch;
      batch.swap(tasks);
      lock.unlock();
      for (const auto& task : batch) task();
      fire_timers();
      while (!later.empty() && later.front().first <= now.s()) {
        const auto task = std::move(later.front().second);
        later.pop_front();
        task();
      }
      lock.lock();
      live_count = live.size();
    }
  }

  void fire_timers() {
    const double now_s = now.s();
    while (!timers.empty() && timers.top().first <= now_s) {
      const auto [time_s, id] = timers.top();
      timers.pop();
      const auto found = live.find(id);
      if (found == live.end() || found->second.timer_s != time_s) continue;  // replaced by a later one
      found->second.timer_s = std::numeric_limits<double>::infinity();
      give(id, [](Run& run, double at_s) { run.on_time(at_s); });
    }
  }

  void set_timer(Live& one) {
    const double due_s = one.run->due_s();
    if (due_s == one.timer_s) return;
    one.timer_s = due_s;
    if (due_s < std::numeric_limits<double>::infinity()) timers.emplace(due_s, one.record.id);
  }

  std::shared_ptr<const Deployed> deployed(const std::string& id, std::int64_t version) {
    // The newest version is asked of the database, which may have another since.
    FlowRecord record;
    if (version == 0) {
      record = records.flow(id);
      version = record.version;
    }
    {
      const std::lock_guard lock(mutex);
      if (const auto found = flows.find({id, version}); found != flows.end()) return found->second;
    }
    auto out = std::make_shared<Deployed>();
    out->record = record.id.empty() ? records.flow(id, version) : std::move(record);
    out->machine = parse_definition(out->record.definition);
    if (!out->record.input_schema.empty()) out->schema = InputSchema::parse(out->record.input_schema);
    const std::lock_guard lock(mutex);
    if (flows.size() >= 1000) flows.clear();
    flows[{id, version}] = out;
    return out;
  }

  static std::vector<StoredEvent> stored(const std::vector<Event>& events, std::int64_t first) {
    std::vector<StoredEvent> out;
    for (const Event& event : events) out.push_back({first++, event.at_s, event.kind, to_text(event.body)});
    return out;
  }
  /// Text that a database takes: programs' messages may hold anything.
  static std::string storable(const std::string& text) {
    auto clean = Json::parse(Json(text).dump(-1, ' ', false, Json::error_handler_t::replace)).get<std::string>();
    for (std::size_t at = clean.find('\0'); at != std::string::npos; at = clean.find('\0', at))
      clean.replace(at, 1, "\xEF\xBF\xBD");
    return clean;
  }

  static void summarise(RunRecord& record, const Run& run, double now_s) {
    record.status = run.status();
    if (run.status() == RunStatus::active || !run.current_states().empty()) record.states = run.current_states();
    record.error = storable(run.error());
    record.cause = storable(run.cause());
    record.updated_at_s = now_s;
  }

  // --- the life of a run: input -> events -> disk -> effects -> next input

  void give(const std::string& id, Input input) {
    const auto found = live.find(id);
    if (found == live.end()) return;
    found->second.inputs.push_back(std::move(input));
    work(found->second);
  }

  void work(Live& one) {
    while (!one.storing && !one.inputs.empty()) {
      const Input input = std::move(one.inputs.front());
      one.inputs.pop_front();
      const double now_s = now.s();
      input(*one.run, now_s);
      const auto events = one.run->take_events();
      auto effects = one.run->take_effects();
      if (events.empty()) {
        carry_out(effects);
        set_timer(one);
        continue;
      }
      one.storing = true;
      summarise(one.record, *one.run, now_s);
      store(one.record, stored(events, one.record.events + 1), std::move(effects));
    }
  }

  void store(const RunRecord& record, std::vector<StoredEvent> events, std::vector<Effect> effects) {
    auto news = std::make_shared<RunNews>(RunNews{record, std::move(events)});
    const auto shared_effects = std::make_shared<std::vector<Effect>>(std::move(effects));
    const auto done = [this, news, shared_effects, post = poster()](const core::Result<void>& result) {
      post([this, news, shared_effects, result] {
        if (result) committed(*news, *shared_effects);
        else not_committed(*news, *shared_effects, result.error());
      });
    };
    try {
      database.submit([news](store::Transaction& t) { Records::append(t, news->run, news->events); }, done);
    } catch (const Error& e) {
      done(tl::unexpected<Error>(e));
    }
  }

  void committed(RunNews& news, const std::vector<Effect>& effects) {
    const auto found = live.find(news.run.id);
    if (found == live.end()) return;
    Live& one = found->second;
    one.storing = false;
    one.record.events += std::ssize(news.events);
    news.run.events = one.record.events;
    adopted(news, effects);
  }

  /// After a change is durable.
  void adopted(const RunNews& news, const std::vector<Effect>& effects) {
    carry_out(effects);
    tell(news);
    stored_something.notify_all();
    const auto found = live.find(news.run.id);
    if (found == live.end()) return;
    if (news.run.status != RunStatus::active) {
      live.erase(found);
      ended.notify_all();
      return;
    }
    set_timer(found->second);
    work(found->second);
  }

  void not_committed(const RunNews& news, const std::vector<Effect>& effects, const Error& error) {
    if (passes(error.code())) {  // "not done": the same again, until the database is back
      core::log(core::LogLevel::warning, "flow.database_unavailable", {{"run", news.run.id}, {"error", error.what()}});
      later.emplace_back(now.s() + kPatience_s, [this, news, effects] { store(news.run, news.events, effects); });
      return;
    }
    // Another program changed the run (it was cancelled, say): what it is now stands in the database.
    core::log(core::LogLevel::error, "flow.run_left", {{"run", news.run.id}, {"error", error.what()}});
    const auto found = live.find(news.run.id);
    if (found == live.end()) return;
    // Of a run that goes on elsewhere the actions go on, too: they are known by the same keys there.
    guarded("flow.cancel_failed", [&] {
      if (records.run(news.run.id).status == RunStatus::active) return;
      for (const Effect& effect : found->second.run->outstanding()) {
        const ActionRequest& request = std::get<StartAction>(effect).request;
        if (const auto provider = providers.find(request.url)) provider->cancel(request.key);
      }
    });
    live.erase(found);
    ended.notify_all();
  }

  template <class Action>
  static void guarded(std::string_view event, const Action& action) {
    try {
      action();
    } catch (const std::exception& e) {
      core::log(core::LogLevel::error, event, {{"error", e.what()}});
    }
  }

  void carry_out(const std::vector<Effect>& effects) {
    for (const Effect& effect : effects) {
      if (const auto* start = std::get_if<StartAction>(&effect)) start_action(start->request);
      else if (const auto* cancel = std::get_if<CancelAction>(&effect)) {
        if (const auto provider = providers.find(cancel->url))
          guarded("flow.cancel_failed", [&] { provider->cancel(cancel->key); });
      } else if (const auto* release = std::get_if<ReleaseAction>(&effect)) {
        if (const auto provider = providers.find(release->url))
          guarded("flow.release_failed", [&] { provider->release(release->key); });
      }
    }
  }

  void start_action(ActionRequest request) {
    if (const auto found = live.find(request.run_id); found != live.end()) {
      const RunRecord& run = found->second.record;
      if (request.run_as == "User") {
        request.grant = run.grant;
      } else if (const auto as = run.identities.find(request.run_as); as != run.identities.end()) {
        request.grant = as->second.grant;
        request.identity = as->second.subject;
      }
    }
    const auto notify = [this, id = request.run_id, post = poster()](const ActionUpdate& update) {
      post([this, id, update] { give(id, [update](Run& run, double now_s) { run.on_action(update, now_s); }); });
    };
    const auto refuse = [&](const std::string& cause) {
      ActionUpdate update;
      update.key = request.key;
      update.state = ActionUpdate::State::refused;
      update.cause = cause;
      notify(update);
    };
    const auto provider = providers.find(request.url);
    if (provider == nullptr) {
      refuse(fmt::format("no provider for '{}'", request.url));
      return;
    }
    try {
      provider->start(request, notify);
    } catch (const std::exception& e) {
      refuse(e.what());
    }
  }

  void tell(const RunNews& news) {
    std::list<Listener> now_listening;
    {
      const std::lock_guard lock(mutex);
      now_listening = listeners;
    }
    for (const Listener& listener : now_listening) guarded("flow.listener_failed", [&] { listener(news); });
  }

  // --- into memory

  /// Replays the log of a run.
  Live replayed(const std::string& id) {
    Live one;
    one.record = records.run(id);
    const auto flow = deployed(one.record.flow_id, one.record.flow_version);
    one.run = std::make_unique<Run>(flow->machine, Json::parse(one.record.context));
    for (const StoredEvent& event : records.events(id))
      one.run->apply({event.kind, event.at_s, Json::parse(event.body)});
    return one;
  }

  /// Into memory, and on with it.
  void adopt(Live&& loaded) {
    const std::string id = loaded.record.id;
    const auto [at, inserted] = live.insert_or_assign(id, std::move(loaded));
    at->second.run->expect_heartbeats(now.s());
    const auto effects = at->second.run->outstanding();
    set_timer(at->second);
    carry_out(effects);
  }

  /// Of a run that goes on elsewhere, or is unknown here, nothing is over.
  bool is_over(const std::string& key) {
    const std::string id = key.substr(0, key.rfind('.'));
    if (const auto found = live.find(id); found != live.end()) return found->second.run->is_over(key);
    try {
      return records.run(id).status != RunStatus::active;
    } catch (const Error& e) {
      if (e.code() != ErrorCode::not_found) throw;
      return false;
    }
  }

  /// Again and again, while the database is away: nobody else would bring these runs back.
  void persist(std::string_view event, std::function<void()> action) {
    try {
      action();
    } catch (const Error& e) {
      core::log(core::LogLevel::error, event, {{"error", e.what()}});
      if (passes(e.code()))
        later.emplace_back(now.s() + kPatience_s,
                           [this, event, action = std::move(action)] { persist(event, action); });
    } catch (const std::exception& e) {
      core::log(core::LogLevel::error, event, {{"error", e.what()}});
    }
  }

  void bring_back(const std::string& id) {
    if (live.contains(id)) return;
    Live one = replayed(id);
    if (one.record.status == RunStatus::active) adopt(std::move(one));
  }

  void recover() {
    const auto active = records.active_runs();
    for (const std::string& id : active) persist("flow.run_not_recovered", [this, id] { bring_back(id); });
    for (const auto& provider : providers.all())
      persist("flow.give_up_failed",
              [this, provider] { provider->give_up([this](const std::string& key) { return is_over(key); }); });
    if (!active.empty()) core::log(core::LogLevel::info, "flow.recovered", {{"runs", std::to_string(active.size())}});
  }

  /// Runs `task` on the engine's thread and returns when it has; `unavailable` where that does not come to it: the task
  /// may then still run, and refers to nothing of the caller's.
  void on_thread(std::function<void()> task) {
    auto promise = std::make_shared<std::promise<void>>();
    auto done = promise->get_future();
    post([task = std::move(task), promise = std::move(promise)] {
      try {
        task();
        promise->set_value();
      } catch (...) {
        promise->set_exception(std::current_exception());
      }
    });
    if (done.wait_for(kLongestTask) != std::future_status::ready)
      throw Error(ErrorCode::unavailable, "the flow engine is busy; try again");
    try {
      done.get();
    } catch (const std::future_error&) {  // dropped undone
      throw Error(ErrorCode::unavailable, "the flow engine is stopping");
    }
  }
};

Engine::Engine(store::Database& database, Providers providers, Recover recover)
    : state_(std::make_unique<State>(database, std::move(providers))) {
  migrate(database);
  if (recover == Recover::all) state_->recover();
  state_->live_count = state_->live.size();
  state_->thread = std::thread([s = state_.get()] { s->loop(); });
}

Engine::~Engine() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->wake.notify_all();
  state_->thread.join();
  std::deque<std::function<void()>> dropped;  // whoever waits for one is told
  {
    const std::lock_guard lock(state_->mutex);
    dropped.swap(state_->tasks);
  }
  const std::lock_guard lock(*state_->self_mutex);
  *state_->self = nullptr;
}

const Providers& Engine::providers() const { return state_->providers; }
const Records& Engine::records() const { return state_->records; }

FlowRecord Engine::deploy(FlowRecord flow) {
  parse_definition(flow.definition, [&](const std::string& url) { return state_->providers.knows(url); });
  if (!flow.input_schema.empty()) InputSchema::parse(flow.input_schema);
  flow.created_at_s = state_->now.s();
  return state_->records.deploy(std::move(flow));
}

void Engine::start(const RunRequest& request, Started started) {
  State& s = *state_;
  const auto flow = s.deployed(request.flow_id, request.flow_version);
  Json input = parse_json(request.input, "the input");
  if (flow->schema) flow->schema->check(input);
  Json context = parse_json(request.user, "the user");
  if (!context.is_object())
    throw Error(ErrorCode::invalid_argument, "what $._context says of the user must be an object");
  const std::string id = new_id();
  context["run_id"] = id;
  context["flow_id"] = request.flow_id;
  context["username"] = request.owner;

  const double now_s = s.now.s();
  const auto one = std::make_shared<Live>();
  one->record = {.id = id,
                 .flow_id = request.flow_id,
                 .label = request.label,
                 .owner = request.owner,
                 .flow_version = flow->record.version,
                 .tags = request.tags,
                 .managers = request.managers,
                 .monitors = request.monitors,
                 .context = to_text(context),
                 .status = RunStatus::active,
                 .states = {},
                 .error = {},
                 .cause = {},
                 .started_at_s = now_s,
                 .updated_at_s = now_s,
                 .events = 0,
                 .grant = request.grant,
                 .identities = request.identities};
  one->run = std::make_unique<Run>(flow->machine, std::move(context));
  one->run->start(std::move(input), now_s);
  State::summarise(one->record, *one->run, now_s);
  const auto news = std::make_shared<RunNews>(RunNews{one->record, State::stored(one->run->take_events(), 1)});
  const auto effects = std::make_shared<std::vector<Effect>>(one->run->take_effects());
  const auto existing = std::make_shared<std::string>();
  s.database.submit(
      [news, existing, request_id = request.request_id](store::Transaction& t) {
        existing->clear();
        if (Records::insert_run(t, news->run, request_id, news->events)) return;
        *existing =
            t.query("SELECT id FROM flow_run WHERE owner = ? AND request_id = ?", news->run.owner, request_id)[0].text(
                0);
      },
      [&s, one, news, effects, existing, started = std::move(started),
       post = s.poster()](const core::Result<void>& result) {
        if (result && existing->empty())
          post([&s, one, news, effects] {
            one->record.events = news->run.events = std::ssize(news->events);
            s.live.insert_or_assign(one->record.id, std::move(*one));
            s.adopted(*news, *effects);
          });
        if (!result) started(tl::unexpected<Error>(result.error()));
        else started(existing->empty() ? news->run.id : *existing);
      });
}

std::string Engine::start(const RunRequest& request) {
  const auto promise = std::make_shared<std::promise<core::Result<std::string>>>();
  auto answer = promise->get_future();
  start(request, [promise](core::Result<std::string> result) { promise->set_value(std::move(result)); });
  return core::value_or_throw(answer.get());
}

void Engine::cancel(const std::string& run_id, const std::string& by) {
  const RunRecord record = state_->records.run(run_id);
  if (record.status == RunStatus::active) {
    state_->on_thread(
        [s = state_.get(), run_id, by] { s->give(run_id, [by](Run& run, double now_s) { run.cancel(by, now_s); }); });
    if (wait(run_id, 60).status != RunStatus::active) return;
    throw Error(ErrorCode::unavailable, fmt::format("run '{}' could not be cancelled yet", run_id));
  }
  throw Error(ErrorCode::conflict,
              fmt::format("run '{}' is {}, only an ACTIVE one can be cancelled", run_id, name_of(record.status)));
}

void Engine::resume(const std::string& run_id, const std::string& by) {
  const RunRecord record = state_->records.run(run_id);
  if (record.status != RunStatus::failed && record.status != RunStatus::cancelled)
    throw Error(ErrorCode::conflict, fmt::format("run '{}' is {}, only a FAILED or CANCELLED one can be resumed",
                                                 run_id, name_of(record.status)));
  state_->on_thread([s = state_.get(), run_id, by] {
    if (s->live.contains(run_id)) return;
    s->adopt(s->replayed(run_id));
    s->give(run_id, [by](Run& run, double now_s) { run.resume(by, now_s); });
  });
  const auto deadline = Steady::now() + std::chrono::seconds(60);
  while (state_->records.run(run_id).events == record.events) {
    if (Steady::now() >= deadline)
      throw Error(ErrorCode::unavailable, fmt::format("run '{}' could not be resumed yet", run_id));
    std::unique_lock lock(state_->mutex);
    state_->stored_something.wait_for(lock, std::chrono::milliseconds(50));
  }
}

void Engine::adopt(const std::string& run_id) {
  state_->on_thread([s = state_.get(), run_id] { s->bring_back(run_id); });
}

RunRecord Engine::wait(const std::string& run_id, double timeout_s) {
  const auto deadline = Steady::now() + std::chrono::duration_cast<Steady::duration>(Seconds(timeout_s));
  while (true) {
    RunRecord record = state_->records.run(run_id);
    if (record.status != RunStatus::active || Steady::now() >= deadline) return record;
    std::unique_lock lock(state_->mutex);
    // The end may come between the look and the wait: look again now and then.
    state_->ended.wait_until(lock, std::min(deadline, Steady::now() + std::chrono::milliseconds(200)));
  }
}

std::shared_ptr<void> Engine::listen(Listener listener) {
  State& s = *state_;
  const std::lock_guard lock(s.mutex);
  const auto at = s.listeners.insert(s.listeners.end(), std::move(listener));
  return {&s, [at](void* engine) {
            State& state = *static_cast<State*>(engine);
            const std::lock_guard hold(state.mutex);
            state.listeners.erase(at);
          }};
}

std::size_t Engine::live() const {
  const std::lock_guard lock(state_->mutex);
  return state_->live_count;
}

}  // namespace farfield::services::flow
