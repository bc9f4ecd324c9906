// The desk: what it decides, in what order it is stored, told and sent.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "farfield/core/log.hpp"
#include "farfield/services/compute/broker/broker_state.hpp"
#include "farfield/services/compute/task_json.hpp"

namespace farfield::services::compute {
namespace {
using core::Error;
using core::ErrorCode;

constexpr double kTick_s = 0.25, kPatience_s = 1;  ///< between tries to store what the database would not take
constexpr auto kOwe = std::chrono::milliseconds(20);  ///< at most, until an endpoint hears that its ends are stored
constexpr std::size_t kMostAssigned = 500, kMostStored = 500, kMostRemembered = 1000;
constexpr std::size_t kMostAssignedBytes = 2 << 20;
/// Time's worth of tasks that an endpoint has in store beyond its workers, and at most how many for each worker.
constexpr double kStore_s = 0.1, kMostStore = 64;

/// Why a task cannot go to an endpoint that has `c`; empty: it can.
std::string misfit(const TaskRequest& request, const Capacity& c) {
  const TaskResources& r = request.resources;
  if (r.nodes > c.nodes_per_block)
    return fmt::format("needs {} nodes, a block of endpoint {} has {}", r.nodes, request.endpoint, c.nodes_per_block);
  if (r.gpu_slots > c.gpu_slots)
    return fmt::format("needs {} GPU slots, a node of endpoint {} has {}", r.gpu_slots, request.endpoint, c.gpu_slots);
  if (r.walltime_s > c.longest_s)
    return fmt::format("needs {:.0f} s, endpoint {} has at most {:.0f} s left", r.walltime_s, request.endpoint,
                       c.longest_s);
  return {};
}
}  // namespace

void Endpoint::arrive(const std::string& task, There what) {
  const auto [place, added] = there.emplace(task, what);
  if (!added) --there_of_class[static_cast<std::size_t>(place->second.priority)];
  place->second = what;
  ++there_of_class[static_cast<std::size_t>(what.priority)];
}

void Endpoint::depart(const std::string& task, int attempt) {
  const auto place = there.find(task);
  if (place == there.end() || place->second.attempt > attempt) return;
  --there_of_class[static_cast<std::size_t>(place->second.priority)];
  there.erase(place);
}

long long Endpoint::room() const {
  const double store = std::min(kMostStore, kStore_s / std::max(run_s, 1e-6));
  return capacity.most + static_cast<long long>(std::ceil(capacity.most * store));
}

void Broker::State::loop() {
  std::unique_lock lock(mutex);
  while (!stopping) {
    if (inbox.empty())
      wake.wait_for(lock, owes ? std::chrono::duration<double>(kOwe) : std::chrono::duration<double>(kTick_s),
                    [&] { return stopping || !inbox.empty(); });
    std::deque<std::function<void()>> inputs;
    inputs.swap(inbox);
    for (const auto& input : inputs) input();
    if (options.wall_s() >= tick_s + kTick_s || options.wall_s() < tick_s) tick();
    for (const std::string& name : std::exchange(to_place, {})) place(endpoints[name]);
    if (owes) pay();
    flush();
    auto out = std::exchange(effects, {});
    lock.unlock();
    inputs.clear();  // what they hold may take its time to go
    for (auto& effect : out) {
      try {
        effect();
      } catch (const std::exception& e) {  // of a listener, or of a look at the database
        core::log(core::LogLevel::error, "broker_effect_failed", {{"error", e.what()}});
      }
    }
    out.clear();
    lock.lock();
  }
}

void Broker::State::tick() {
  tick_s = options.wall_s();
  while (!deadlines.empty() && deadlines.begin()->first <= tick_s) {
    const std::string id = deadlines.begin()->second;
    deadlines.erase(deadlines.begin());
    const auto place = live.find(id);
    if (place == live.end()) continue;
    expire(place->second);
  }
  for (auto& [name, endpoint] : endpoints)
    if (endpoint.line && tick_s - endpoint.heard_s > options.silence_s)
      close(endpoint, fmt::format("said nothing for {} s", options.silence_s));
  for (auto& wait : std::exchange(later, {})) {
    if (wait.first <= tick_s || wait.first > tick_s + kPatience_s)
      effects.emplace_back([this, batch = wait.second] { store(batch); });
    else later.push_back(std::move(wait));
  }
}

// ---- storing

void Broker::State::change(Change c) {
  c.task->storing = true;
  Endpoint& endpoint = endpoints[c.task->status.request.endpoint];
  endpoint.ready.erase(Endpoint::order(c.task->status));
  endpoint.held.erase(Endpoint::order(c.task->status));
  changes.push_back(std::move(c));
}

void Broker::State::flush() {
  for (std::size_t at = 0; at < changes.size(); at += kMostStored) {
    const auto first = changes.begin() + static_cast<std::ptrdiff_t>(at);
    const auto last = changes.begin() + static_cast<std::ptrdiff_t>(std::min(at + kMostStored, changes.size()));
    auto batch =
        std::make_shared<const std::vector<Change>>(std::make_move_iterator(first), std::make_move_iterator(last));
    effects.emplace_back([this, batch = std::move(batch)] { store(batch); });
  }
  changes.clear();
}

/// Without the lock.
void Broker::State::store(const Changes& batch) {
  const auto answer = [weak = weak_from_this(), batch](const core::Result<void>& result) {
    if (const auto state = weak.lock()) state->post([s = state.get(), batch, result] { s->stored(batch, result); });
  };
  try {
    records.database().submit(
        [batch, now_s = options.wall_s()](store::Transaction& t) {
          for (const Change& c : *batch) Records::store_task(t, c.to, now_s);
        },
        answer);
  } catch (const Error& e) {
    answer(tl::unexpected<Error>(e));
  }
}

void Broker::State::stored(const Changes& batch, const core::Result<void>& result) {
  if (!result) {
    // One that the database does not take must not keep the others back.
    if (batch->size() > 1 && result.error().code() != ErrorCode::unavailable) {
      for (const Change& c : *batch)
        effects.emplace_back([this, one = std::make_shared<const std::vector<Change>>(1, c)] { store(one); });
      return;
    }
    core::log(core::LogLevel::error, "tasks_not_stored",
              {{"tasks", std::to_string(batch->size())}, {"error", result.error().what()}});
    std::vector<Change> kept;
    for (const Change& c : *batch) {
      if (c.done) give_up(c, result.error());
      else kept.push_back(c);
    }
    if (!kept.empty())
      later.emplace_back(options.wall_s() + kPatience_s, std::make_shared<const std::vector<Change>>(std::move(kept)));
    return;
  }
  std::map<std::string, std::vector<TaskKey>> acknowledged;
  for (const Change& c : *batch) {
    if (c.acknowledges > 0) acknowledged[c.to.status.request.endpoint].push_back({c.to.status.id, c.acknowledges});
    apply(c);
  }
  for (auto& [name, ends] : acknowledged) {
    Endpoint& endpoint = endpoints[name];
    for (const TaskKey& key : ends) endpoint.depart(key.task, key.attempt);
    acknowledge(endpoint, std::move(ends));
    to_place.insert(name);
  }
}

/// A change that somebody waits for is not tried again behind his back.
void Broker::State::give_up(const Change& c, const Error& error) {
  const TaskPtr task = c.task;
  Endpoint& endpoint = endpoints[task->status.request.endpoint];
  task->storing = false;
  if (task->status.state == TaskState::queued) {
    endpoint.ready.insert(Endpoint::order(task->status));
    to_place.insert(task->status.request.endpoint);
  }
  effects.emplace_back([done = c.done, error] { done(tl::unexpected<Error>(error)); });
  for (const auto& input : std::exchange(task->after, {})) input();
  // An endpoint that greeted meanwhile was not asked about this task.
  if (!task->storing && endpoint.heard && live.contains(task->status.id)) compare(endpoint, task);
}

void Broker::State::apply(const Change& c) {
  const TaskPtr task = c.task;
  static_cast<TaskRecord&>(*task) = c.to;
  task->storing = false;
  task->uncertain = false;
  const TaskStatus& s = task->status;
  if (has_ended(s.state)) {
    deadlines.erase({task->deadline_s(), s.id});
    live.erase(s.id);
    // Where it is still there, nobody wants it any more; it keeps its room until the endpoint says that it has ended.
    if (c.acknowledges == 0 && endpoints[s.request.endpoint].there.contains(s.id))
      send(endpoints[s.request.endpoint], Cancel{{s.id}});
    ended.emplace(s.id, *task);
    ended_order.push_back(s.id);
    if (ended_order.size() > kMostRemembered) {
      ended.erase(ended_order.front());
      ended_order.pop_front();
    }
    changed.notify_all();
  } else {
    endpoints[s.request.endpoint].ready.insert(Endpoint::order(s));
    to_place.insert(s.request.endpoint);
  }
  tell(c.kind, *task);
  if (has_ended(s.state)) viewers.erase(s.id);
  if (c.done) effects.emplace_back([done = c.done] { done({}); });
  for (const auto& input : std::exchange(task->after, {})) input();
}

// ---- decisions

void Broker::State::end(const TaskPtr& task, TaskState state, const std::string& problem,
                        std::function<void(core::Result<void>)> done) {
  Change c{task, *task, TaskEvent::Kind::ended, 0, std::move(done)};
  c.to.status.state = state;
  c.to.status.problem = clean_text(problem, kLongestText);
  c.to.status.message.clear();
  c.to.status.times.ended_s = options.wall_s();
  change(std::move(c));
}

void Broker::State::again(const TaskPtr& task, const std::string& reason, bool loss, int acknowledges) {
  Change c{task, *task, TaskEvent::Kind::again, acknowledges};
  TaskStatus& s = c.to.status;
  if (!reason.empty()) s.problem = clean_text(reason, kLongestText);
  if (loss && ++c.to.losses >= s.request.attempts) {
    s.state = TaskState::failed;
    s.problem = clean_text(fmt::format("{} (attempt {} of {})", reason, c.to.losses, s.request.attempts), kLongestText);
    s.message.clear();
    s.times.ended_s = options.wall_s();
    c.kind = TaskEvent::Kind::ended;
  } else {
    s.state = TaskState::queued;
    ++s.attempt;
    s.message.clear();
    s.block.clear();
    s.node.clear();
    s.worker.clear();
    s.times = {.submitted_s = s.times.submitted_s};
  }
  change(std::move(c));
}

void Broker::State::cancel(const TaskPtr& task, const std::function<void(core::Result<void>)>& done) {
  if (!live.contains(task->status.id)) return effects.emplace_back([done] { done({}); }), void();
  if (task->storing) return task->after.emplace_back([this, task, done] { cancel(task, done); }), void();
  end(task, TaskState::cancelled, "", done);
}

void Broker::State::expire(const TaskPtr& task) {
  if (!live.contains(task->status.id)) return;
  if (task->storing) return task->after.emplace_back([this, task] { expire(task); }), void();
  end(task, TaskState::failed,
      fmt::format("its deadline, {} s after the submission, was over", task->status.request.deadline_s));
}

void Broker::State::place(Endpoint& endpoint) {
  if (!endpoint.heard) return;
  Assign assign;
  std::size_t bytes = 0;
  std::vector<std::string> watched;
  const auto flush_assign = [&] {
    if (!assign.tasks.empty()) {
      send_stored(endpoint);
      send(endpoint, std::exchange(assign, {}));
    }
    for (const std::string& id : std::exchange(watched, {})) send(endpoint, Watch{id, true});
    bytes = 0;
  };
  const long long room = endpoint.room();
  for (auto next = endpoint.ready.begin(); next != endpoint.ready.end();) {
    // A class waits for itself and for higher ones only.
    long long there = 0;
    for (auto p = static_cast<std::size_t>(-next->first); p < endpoint.there_of_class.size(); ++p)
      there += endpoint.there_of_class[p];
    if (there >= room) break;
    const TaskPtr task = live.at(next->second);
    TaskStatus& s = task->status;
    const Endpoint::Order order = *next++;
    const auto verb = endpoint.verbs.find(s.request.function);
    const FunctionRecord* function = task->function                 ? &task->function->record
                                     : verb != endpoint.verbs.end() ? &verb->second->record
                                                                    : nullptr;
    if (function == nullptr) {
      end(task, TaskState::failed,
          fmt::format("endpoint {} ({}) has no function {}", s.request.endpoint, endpoint.record.program,
                      s.request.function));
      continue;
    }
    if (function->kind != FunctionKind::verb && !endpoint.capacity.confines) {
      end(task, TaskState::failed,
          fmt::format("endpoint {} cannot confine commands and code, and refuses them", s.request.endpoint));
      continue;
    }
    endpoint.ready.erase(order);
    if (auto why = misfit(s.request, endpoint.capacity); !why.empty()) {
      s.message = std::move(why);
      endpoint.held.insert(order);
      continue;
    }
    s.state = TaskState::placed;
    s.message.clear();
    s.times.placed_s = options.wall_s();
    endpoint.arrive(s.id, {s.attempt, s.request.priority});
    Assignment a{{s.id, s.attempt}, *function, s.request, task->begun};
    a.function.input_schema = "{}";  // checked already
    bytes += s.request.arguments.size();
    assign.tasks.push_back(std::move(a));
    if (viewers.contains(s.id)) watched.push_back(s.id);
    if (assign.tasks.size() >= kMostAssigned || bytes >= kMostAssignedBytes) flush_assign();
    tell(TaskEvent::Kind::placed, *task);
  }
  flush_assign();
}

// ---- telling and sending

void Broker::State::tell(TaskEvent::Kind kind, const Task& task, const std::string& line) {
  const auto looking = viewers.find(task.status.id);
  if (listeners.empty() && looking == viewers.end()) return;
  TaskEvent event{kind, snapshot(task), line};
  if (looking != viewers.end())
    view(task.status.id, "", std::make_shared<const std::string>(to_text(to_json(event))), false);
  if (listeners.empty()) return;
  std::vector<std::shared_ptr<const Listener>> hear;
  for (const auto& [handle, listener] : listeners) hear.push_back(listener);
  effects.emplace_back([hear = std::move(hear), event = std::move(event)] {
    for (const auto& listener : hear) (*listener)(event);
  });
}

void Broker::State::view(const std::string& task, const std::string& channel,
                         std::shared_ptr<const std::string> message, bool binary) {
  const auto looking = viewers.find(task);
  if (looking == viewers.end()) return;
  for (const auto& entry : looking->second)
    effects.emplace_back([viewer = entry.second, channel, message, binary] { (*viewer)(channel, *message, binary); });
}

void Broker::State::send(const Endpoint& endpoint, Message message) {
  if (!endpoint.line) return;
  effects.emplace_back([line = endpoint.line, message = std::move(message)] {
    // A message that did not go out is made good by the next Hello.
    if (!line->send(encode(message))) line->close("the line does not take what is sent");
  });
}

void Broker::State::acknowledge(Endpoint& endpoint, std::vector<TaskKey> ends) {
  if (!endpoint.line || ends.empty()) return;
  if (endpoint.stored.empty()) endpoint.stored_since = std::chrono::steady_clock::now();
  endpoint.stored.insert(endpoint.stored.end(), std::make_move_iterator(ends.begin()),
                         std::make_move_iterator(ends.end()));
  owes = true;
  if (endpoint.stored.size() >= kMostStored) send_stored(endpoint);
}

void Broker::State::send_stored(Endpoint& endpoint) {
  if (!endpoint.stored.empty()) send(endpoint, Stored{std::exchange(endpoint.stored, {})});
}

void Broker::State::pay() {
  owes = false;
  const auto now = std::chrono::steady_clock::now();
  for (auto& [name, endpoint] : endpoints) {
    if (now >= endpoint.stored_since + kOwe) send_stored(endpoint);
    owes = owes || !endpoint.stored.empty();
  }
}

void Broker::State::close(Endpoint& endpoint, const std::string& reason) {
  if (!endpoint.line) return;
  core::log(core::LogLevel::warning, "endpoint_closed", {{"endpoint", endpoint.record.name}, {"reason", reason}});
  effects.emplace_back([line = std::move(endpoint.line), reason] { line->close(reason); });
  endpoint.line = nullptr;
  endpoint.heard = false;
  endpoint.stored.clear();  // said again on the next line
  endpoint.since_s = options.wall_s();
}

}  // namespace farfield::services::compute
