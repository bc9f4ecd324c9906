// What endpoints say, and those who look at their tasks.

#include <fmt/format.h>

#include <algorithm>

#include "farfield/core/log.hpp"
#include "farfield/services/compute/broker/broker_state.hpp"
#include "farfield/services/compute/broker/files.hpp"
#include "farfield/services/compute/task_json.hpp"

namespace farfield::services::compute {
namespace {
using core::Error;

constexpr std::size_t kLongestLog = 64 << 10, kMostPreviews = 32, kMostWaiting = 16;
constexpr double kNewest = 0.2;  ///< weight of the last task in the mean

void take_times(TaskTimes& into, const TaskTimes& from) {
  if (from.assigned_s > 0) into.assigned_s = from.assigned_s;
  if (from.started_s > 0) into.started_s = from.started_s;
}
template <class T>
void take_place(TaskStatus& into, const T& from) {
  into.block = from.block;
  into.node = from.node;
  into.worker = from.worker;
}

void add_line(std::string& log, const std::string& line) {
  log += line;
  log += '\n';
  if (log.size() <= kLongestLog) return;
  // Cut at a line, so that it stays UTF-8.
  const auto end = log.find('\n', log.size() - kLongestLog);
  log.erase(0, end + 1);
}

/// A large output must have arrived before its task can be done.
void check_outputs(const std::string& folder, Ended& ends) {
  for (TaskEnd& end : ends.tasks) {
    if (end.ending != Ending::done) continue;
    const auto bytes = output_reference(end.output, end.key.task);
    if (!bytes || output_size(folder, end.key) == bytes) continue;
    end.ending = Ending::lost;
    end.output = "null";
    end.problem = fmt::format("its output of {} bytes did not arrive", *bytes);
  }
}
}  // namespace

void Broker::connected(const std::string& name, std::shared_ptr<Line> line) {
  state_->post([s = state_.get(), name, line = std::move(line)] {
    const auto place = s->endpoints.find(name);
    if (place == s->endpoints.end()) {
      s->effects.emplace_back([line] { line->close("this endpoint is not registered"); });
      return;
    }
    Endpoint& endpoint = place->second;
    s->close(endpoint, "another line took its place");
    endpoint.line = line;
    endpoint.since_s = endpoint.heard_s = s->options.wall_s();
    core::log(core::LogLevel::info, "endpoint_connected", {{"endpoint", name}});
  });
}

void Broker::disconnected(const std::string& name, const Line* line) {
  state_->post([s = state_.get(), name, line] {
    const auto place = s->endpoints.find(name);
    if (place == s->endpoints.end() || place->second.line.get() != line) return;
    s->close(place->second, "disconnected");
  });
}

void Broker::received(const std::string& name, const Line* line, const std::string& message, bool binary) {
  std::function<void(Endpoint&)> take;
  State* s = state_.get();
  try {
    if (binary) {
      auto preview = std::make_shared<const Preview>(decode_preview(message));
      auto kept = std::make_shared<const std::string>(message);
      take = [s, preview, kept](Endpoint& e) { s->take(e, *preview, kept); };
    } else {
      auto read = std::make_shared<Message>(decode(message));
      if (auto* ended = std::get_if<Ended>(read.get())) check_outputs(s->options.folder, *ended);
      Verbs verbs;
      if (const auto* hello = std::get_if<Hello>(read.get())) verbs = compiled_verbs(hello->verbs);
      take = [s, read, verbs = std::move(verbs)](Endpoint& e) {
        std::visit(
            [&](const auto& m) {
              using M = std::decay_t<decltype(m)>;
              if constexpr (std::is_same_v<M, Hello>) s->take(e, m, verbs);
              else if constexpr (std::is_same_v<M, Assign> || std::is_same_v<M, Cancel> || std::is_same_v<M, Stored> ||
                                 std::is_same_v<M, Watch> || std::is_same_v<M, Leave>)
                s->close(e, "an endpoint does not say that");
              else if (!e.heard) s->close(e, "an endpoint says hello first");
              else s->take(e, m);
            },
            *read);
      };
    }
  } catch (const Error& e) {
    take = [s, why = std::string(e.what())](Endpoint& endpoint) { s->close(endpoint, why); };
  }
  s->post([s, name, line, take = std::move(take)] {
    const auto place = s->endpoints.find(name);
    // What an old line still says is said again on the new one.
    if (place == s->endpoints.end() || place->second.line == nullptr || place->second.line.get() != line) return;
    place->second.heard_s = s->options.wall_s();
    take(place->second);
  });
}

void Broker::State::take(Endpoint& endpoint, const Hello& hello, Verbs verbs) {
  const std::string& name = endpoint.record.name;
  if (hello.protocol != kProtocol)
    return close(endpoint, fmt::format("it speaks protocol {}, the service {}", hello.protocol, kProtocol));
  if (endpoint.heard) return close(endpoint, "an endpoint says hello once");
  endpoint.heard = true;
  endpoint.capacity = hello.capacity;
  endpoint.record.verbs = hello.verbs;
  endpoint.verbs = std::move(verbs);
  endpoint.record.program = hello.program;
  const auto database_failed = [](const core::Result<void>& result) {
    if (!result) core::log(core::LogLevel::warning, "endpoint_not_stored", {{"error", result.error().what()}});
  };
  effects.emplace_back([this, record = endpoint.record, database_failed] {
    try {
      records.database().submit([record](store::Transaction& t) { Records::store_endpoint(t, record); },
                                database_failed);
    } catch (const Error& e) {  // the next Hello says it again
      database_failed(tl::unexpected<Error>(e));
    }
  });

  endpoint.there.clear();
  endpoint.there_of_class = {};
  std::set<TaskKey> known(hello.known.begin(), hello.known.end());
  Cancel unwanted;
  for (const TaskKey& key : known) {
    const auto place = live.find(key.task);
    const TaskPtr task = place == live.end() ? nullptr : place->second;
    const bool mine = task && task->status.request.endpoint == name;
    endpoint.arrive(key.task, {key.attempt, mine ? task->status.request.priority : Priority::normal});
    if (mine && (task->storing || known.contains({key.task, task->status.attempt}))) continue;
    unwanted.tasks.push_back(key.task);
  }
  if (!unwanted.tasks.empty()) send(endpoint, std::move(unwanted));

  for (const auto& [id, task] : live)
    if (task->status.request.endpoint == name && !task->storing) compare(endpoint, task);
  endpoint.ready.merge(endpoint.held);
  to_place.insert(name);
}

void Broker::State::compare(Endpoint& endpoint, const TaskPtr& task) {
  TaskStatus& s = task->status;
  const bool placed = s.state != TaskState::queued;
  if (!placed && !task->uncertain) return;
  const auto there = endpoint.there.find(s.id);
  if (there != endpoint.there.end() && there->second.attempt == s.attempt) {
    if (!placed) {
      endpoint.ready.erase(Endpoint::order(s));
      endpoint.held.erase(Endpoint::order(s));
      s.state = TaskState::placed;
      s.message.clear();
      s.times.placed_s = options.wall_s();
      task->uncertain = false;
      tell(TaskEvent::Kind::placed, *task);
    }
    if (viewers.contains(s.id)) send(endpoint, Watch{s.id, true});
  } else if (s.state == TaskState::running) {
    again(task, fmt::format("endpoint {} knows nothing of it any more", s.request.endpoint), true);
  } else {
    again(task, "", false);  // it may never have arrived
  }
}

TaskPtr Broker::State::current(const Endpoint& endpoint, const TaskKey& key) const {
  const auto place = live.find(key.task);
  if (place == live.end()) return nullptr;
  const Task& task = *place->second;
  if (task.storing || task.status.attempt != key.attempt || task.status.request.endpoint != endpoint.record.name ||
      task.status.state == TaskState::queued)
    return nullptr;
  return place->second;
}

void Broker::State::begin_there(const TaskPtr& task) {
  task->begun = true;
  if (task->status.state == TaskState::running) return;
  task->status.state = TaskState::running;
  tell(TaskEvent::Kind::running, *task);
}

void Broker::State::take(Endpoint& endpoint, const Begun& begun) {
  for (const TaskBegin& b : begun.tasks) {
    const TaskPtr task = current(endpoint, b.key);
    if (!task) continue;
    take_times(task->status.times, b.times);
    take_place(task->status, b);
    begin_there(task);
  }
}

void Broker::State::take(Endpoint& endpoint, const Progressed& progressed) {
  for (const TaskProgress& p : progressed.tasks) {
    const TaskPtr task = current(endpoint, p.key);
    if (!task) continue;
    begin_there(task);
    task->status.progress = p.progress;
    task->status.message = p.message;
    tell(TaskEvent::Kind::progress, *task);
  }
}

void Broker::State::take(Endpoint& endpoint, const Logged& logged) {
  for (const TaskLog& l : logged.lines) {
    const TaskPtr task = current(endpoint, l.key);
    if (!task) continue;
    begin_there(task);
    add_line(task->log, l.line);
    tell(TaskEvent::Kind::log, *task, l.line);
  }
}

void Broker::State::take(Endpoint& endpoint, const CapacityNow& now) {
  endpoint.capacity = now.capacity;
  endpoint.ready.merge(endpoint.held);
  to_place.insert(endpoint.record.name);
}

void Broker::State::take(Endpoint& endpoint, const Preview& preview, std::shared_ptr<const std::string> message) {
  const auto place = live.find(preview.task);
  if (!endpoint.heard || place == live.end() || place->second->status.request.endpoint != endpoint.record.name) return;
  if (place->second->storing || place->second->status.state == TaskState::queued) return;
  auto& previews = place->second->previews;
  if (!previews.contains(preview.name) && previews.size() >= kMostPreviews) return;
  previews[preview.name] = message;
  view(preview.task, preview.name, std::move(message), true);
}

void Broker::State::take(Endpoint& endpoint, const Ended& ends) {
  std::vector<TaskKey> known;
  for (const TaskEnd& e : ends.tasks) end_there(endpoint, e, known);
  acknowledge(endpoint, std::move(known));
  to_place.insert(endpoint.record.name);
}

void Broker::State::end_there(Endpoint& endpoint, const TaskEnd& e, std::vector<TaskKey>& acknowledged) {
  endpoint.depart(e.key.task, e.key.attempt);
  const auto place = live.find(e.key.task);
  const TaskPtr task = place == live.end() ? nullptr : place->second;
  if (!task || task->status.attempt != e.key.attempt || task->status.request.endpoint != endpoint.record.name) {
    acknowledged.push_back(e.key);
    return;
  }
  if (task->storing) {
    // Said twice, or while something else is being stored, a cancellation: looked at when that is true or has failed.
    if (task->after.size() < kMostWaiting)
      task->after.emplace_back([this, name = endpoint.record.name, e] { take(endpoints[name], Ended{{e}}); });
    return;
  }
  take_times(task->status.times, e.times);
  if (!e.worker.empty() || !e.node.empty() || !e.block.empty()) take_place(task->status, e);
  if (e.times.started_s > 0) task->begun = true;
  if (e.times.started_s > 0 && e.times.ended_s >= e.times.started_s)
    endpoint.run_s += kNewest * (e.times.ended_s - e.times.started_s - endpoint.run_s);
  switch (e.ending) {
    case Ending::done:
    case Ending::failed:
    case Ending::cancelled: {
      const TaskState state = e.ending == Ending::done     ? TaskState::done
                              : e.ending == Ending::failed ? TaskState::failed
                                                           : TaskState::cancelled;
      Change c{task, *task, TaskEvent::Kind::ended, e.key.attempt};
      TaskStatus& s = c.to.status;
      s.state = state;
      s.message.clear();
      s.problem = e.problem;
      s.times.ended_s = e.times.ended_s > 0 ? e.times.ended_s : options.wall_s();
      if (state == TaskState::done) {
        s.output = e.output;
        s.progress = 1;
      }
      change(std::move(c));
      break;
    }
    case Ending::interrupted:
      ++task->status.resumed;
      again(task, e.problem.empty() ? "interrupted" : e.problem, false, e.key.attempt);
      break;
    case Ending::lost: again(task, e.problem.empty() ? "its worker was lost" : e.problem, true, e.key.attempt); break;
  }
}

std::shared_ptr<void> Broker::watch(const std::string& task, Viewer viewer) {
  auto kept = std::make_shared<const Viewer>(std::move(viewer));
  int handle = 0;
  {
    const std::lock_guard lock(state_->mutex);
    handle = state_->next_handle++;
  }
  state_->post([s = state_.get(), task, handle, kept] {
    const auto place = s->live.find(task);
    if (place == s->live.end()) {
      s->effects.emplace_back([s, task, kept] {
        if (const auto found = s->look(task))
          (*kept)("", to_text(to_json(TaskEvent{TaskEvent::Kind::ended, found->status})), false);
      });
      return;
    }
    auto& looking = s->viewers[task];
    looking.emplace(handle, kept);
    const Task& t = *place->second;
    const TaskEvent::Kind kind = t.status.state == TaskState::queued   ? TaskEvent::Kind::submitted
                                 : t.status.state == TaskState::placed ? TaskEvent::Kind::placed
                                                                       : TaskEvent::Kind::progress;
    s->effects.emplace_back(
        [kept, text = to_text(to_json(TaskEvent{kind, s->snapshot(t)}))] { (*kept)("", text, false); });
    for (const auto& entry : t.previews)
      s->effects.emplace_back([kept, name = entry.first, message = entry.second] { (*kept)(name, *message, true); });
    if (looking.size() == 1 && t.status.state != TaskState::queued)
      s->send(s->endpoints[t.status.request.endpoint], Watch{task, true});
  });
  return {nullptr, [weak = std::weak_ptr(state_), task, handle](void*) {
            const auto state = weak.lock();
            if (!state) return;
            state->post([s = state.get(), task, handle] {
              const auto looking = s->viewers.find(task);
              if (looking == s->viewers.end() || looking->second.erase(handle) == 0 || !looking->second.empty()) return;
              s->viewers.erase(looking);
              const auto place = s->live.find(task);
              if (place != s->live.end() && place->second->status.state != TaskState::queued)
                s->send(s->endpoints[place->second->status.request.endpoint], Watch{task, false});
            });
          }};
}

}  // namespace farfield::services::compute
