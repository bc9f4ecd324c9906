#include "farfield/services/compute/endpoint/dispatcher.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace farfield::services::compute {
namespace {

/// A worker is given tasks ahead for so long: enough to hide the way of a message, too little to hold up an urgent one.
constexpr double kAhead_s = 0.02;
constexpr std::size_t kMostAhead = 256;
/// Tasks without room that are looked at in one call of place().
constexpr std::size_t kMostPassedOver = 2000;
constexpr double kUnknown_s = std::numeric_limits<double>::infinity();

bool has_room(double pending_s, int unknown, std::size_t tasks) {
  return unknown == 0 && pending_s < kAhead_s && tasks < kMostAhead;
}

bool is_wide(const Assignment& a) { return a.request.resources.ranks > 1 || a.request.resources.nodes > 1; }

}  // namespace

// ---- from the service

void Dispatcher::offered(const Assignment& a, bool ready) {
  const auto [at, fresh] = held_.try_emplace(a.key);
  Held& h = at->second;
  if (!fresh) {
    if (!h.whole) h.assignment = a;
    h.whole = true;
    if (h.state == State::ended) orders_.ended.push_back(h.end);
    return;
  }
  h.assignment = a;
  h.whole = true;
  const TaskResources& r = a.request.resources;
  std::string problem;
  if (r.walltime_s > limits_.walltime_s)
    problem = fmt::format("the task needs {} s, a block of this endpoint has {}", r.walltime_s, limits_.walltime_s);
  else if (r.nodes > limits_.nodes)
    problem = fmt::format("the task needs {} nodes, a block of this endpoint has {}", r.nodes, limits_.nodes);
  else if (r.gpu_slots > limits_.gpu_slots)
    problem =
        fmt::format("the task needs {} GPU slots, a node of this endpoint has {}", r.gpu_slots, limits_.gpu_slots);
  else if (a.function.kind != FunctionKind::verb && !limits_.confines)
    problem = "this endpoint has no means to confine programs, and runs none but its own";
  else if (a.function.kind != FunctionKind::verb && r.nodes > 1)
    problem = fmt::format(
        "the task asks for {} nodes: a program is confined on its own node only, so that only verbs run on several",
        r.nodes);
  if (!problem.empty()) return end_here(at, Ending::failed, problem);
  if (ready) return push(at, false);
  h.state = State::waits_for_code;
  waits_for_code_[a.function.archive].push_back(a.key);
}

void Dispatcher::code_arrived(const std::string& archive) {
  const auto waiting = waits_for_code_.extract(archive);
  if (waiting.empty()) return;
  for (const TaskKey& key : waiting.mapped())
    if (const auto held = held_.find(key); held != held_.end() && held->second.state == State::waits_for_code)
      push(held, false);
}

void Dispatcher::code_missing(const std::string& archive, const std::string& why, bool systems) {
  const auto waiting = waits_for_code_.extract(archive);
  if (waiting.empty()) return;
  for (const TaskKey& key : waiting.mapped())
    if (const auto held = held_.find(key); held != held_.end() && held->second.state == State::waits_for_code)
      end_here(held, systems ? Ending::lost : Ending::failed, why);
}

void Dispatcher::cancelled(const std::string& task) {
  for (auto held = held_.lower_bound({task, 0}); held != held_.end() && held->first.task == task; ++held) {
    Held& h = held->second;
    h.cancel = true;
    if (h.state == State::queued || h.state == State::waits_for_code) end_here(held, Ending::cancelled, {});
    else if (h.state == State::handed && workers_[h.worker].connected) orders_.cancel[h.worker].push_back(task);
  }
}

void Dispatcher::watched(const std::string& task, bool on) {
  if (on) watched_.insert(task);
  else watched_.erase(task);
  for (auto held = held_.lower_bound({task, 0}); held != held_.end() && held->first.task == task; ++held)
    if (held->second.state == State::handed && workers_[held->second.worker].connected)
      orders_.watch.emplace_back(held->second.worker, Watch{task, on});
}

void Dispatcher::acknowledged(const std::vector<TaskKey>& ends) {
  for (const TaskKey& key : ends) {
    const auto held = held_.find(key);
    if (held == held_.end() || held->second.state != State::ended) continue;
    const Held& h = held->second;
    if (h.row) orders_.forget.push_back(key);
    if (!h.worker.block.empty()) orders_.acknowledge[h.worker].push_back(key);
    // A task that may be begun again needs its checkpoint.
    if (h.end.ending == Ending::done || h.end.ending == Ending::failed || h.end.ending == Ending::cancelled) {
      if (h.whole) orders_.finished.emplace_back(h.assignment.request.experiment, key.task);
      watched_.erase(key.task);
    }
    held_.erase(held);
  }
}

void Dispatcher::repeat() {
  for (const auto& [key, h] : held_) {
    if (h.state == State::handed && h.begun) orders_.begun.push_back(h.begin);
    if (h.state == State::ended) orders_.ended.push_back(h.end);
  }
}

// ---- what became of tasks

/// An end that no worker brings.
void Dispatcher::end_here(HeldAt held, Ending ending, const std::string& problem) {
  TaskEnd end;
  end.key = held->first;
  end.ending = ending;
  end.problem = problem;
  if (held->second.begun) end.times = held->second.begin.times;
  finish(held, end);
}

void Dispatcher::finish(HeldAt held, const TaskEnd& end) {
  held->second.state = State::ended;
  held->second.end = end;
  orders_.ended.push_back(end);
  for (auto& [name, block] : blocks_)
    if (block.reserved == held->first) block.reserved = {};
}

void Dispatcher::push(HeldAt held, bool front) {
  held->second.state = State::queued;
  auto& queue = queue_[static_cast<std::size_t>(held->second.assignment.request.priority)];
  if (front) queue.push_front(held->first);
  else queue.push_back(held->first);
}

/// Nobody began it: another worker does.
void Dispatcher::requeue(HeldAt held) {
  Held& h = held->second;
  h.begun = false;
  if (h.cancel) end_here(held, Ending::cancelled, {});
  else if (!h.whole) end_here(held, Ending::lost, "its worker is gone");
  else push(held, true);
}

void Dispatcher::release(HeldAt held, double now_s) {
  const auto worker = workers_.find(held->second.worker);
  if (worker != workers_.end() && worker->second.tasks.erase(held->first) > 0) {
    Worker& w = worker->second;
    if (std::isfinite(held->second.expected_s)) w.pending_s = std::max(0.0, w.pending_s - held->second.expected_s);
    else --w.unknown;
    if (w.tasks.empty()) w.idle_since_s = now_s;
  }
  const auto block = blocks_.find(held->second.worker.block);
  if (block != blocks_.end() && block->second.reserved == held->first) block->second.reserved = {};
}

// ---- blocks and workers

void Dispatcher::restored(const Handover& handover) {
  Held& h = held_[handover.key];
  h.assignment = handover.assignment;
  h.whole = h.row = true;
  h.state = State::handed;
  h.worker = handover.worker;
  h.incarnation = handover.incarnation;
  Worker& w = workers_[h.worker];
  w.incarnation = std::max(w.incarnation, h.incarnation);
  h.expected_s = kUnknown_s;
  w.tasks.insert(handover.key);
  ++w.unknown;
}

void Dispatcher::block_opened(const std::string& block, bool urgent) { blocks_[block].urgent = urgent; }

void Dispatcher::block_leaves(const std::string& block) {
  if (const auto b = blocks_.find(block); b != blocks_.end()) b->second.leaving = true;
}

void Dispatcher::block_ended(const std::string& block, const std::string& why,
                             const std::map<WorkerId, JournalContent>& journals) {
  for (auto held = held_.begin(); held != held_.end(); ++held) {
    Held& h = held->second;
    if (h.worker.block != block || h.state != State::handed) continue;
    const auto journal = journals.find(h.worker);
    const bool told = journal != journals.end();
    if (told && journal->second.ended.contains(held->first)) {
      finish(held, journal->second.ended.at(held->first));
    } else if (h.begun || !told || journal->second.begun.contains(held->first)) {
      // Without a journal nobody knows whether it began.
      if (told && journal->second.begun.contains(held->first)) {
        h.begin = journal->second.begun.at(held->first);
        h.begun = true;
      }
      end_here(held, Ending::lost, fmt::format("block {} ended: {}", block, why));
    } else {
      requeue(held);
    }
  }
  std::erase_if(workers_, [&](const auto& w) { return w.first.block == block; });
  blocks_.erase(block);
}

void Dispatcher::greeted(const Greeting& g, double now_s) {
  Worker& w = workers_[g.id];
  if (g.incarnation < w.incarnation) return;  // of the past
  const bool new_incarnation = g.incarnation > w.incarnation;
  w.incarnation = g.incarnation;
  w.connected = true;
  w.takes_work = g.takes_work;
  w.leaves_s = g.leaves_s;
  w.gpu_slots = g.gpu_slots;
  const std::set<TaskKey> known(g.known.begin(), g.known.end());
  for (const TaskKey& key : known) {
    const auto [at, fresh] = held_.try_emplace(key);
    if (!fresh) continue;
    at->second.state = State::handed;  // from before this endpoint lost its memory
    at->second.worker = g.id;
    at->second.incarnation = g.incarnation;
    at->second.expected_s = kUnknown_s;
    w.tasks.insert(key);
    ++w.unknown;
  }
  const auto tasks = w.tasks;
  for (const TaskKey& key : tasks) {
    const auto held = held_.find(key);
    if (held == held_.end() || held->second.state != State::handed) continue;
    Held& h = held->second;
    if (known.contains(key)) {
      h.incarnation = g.incarnation;
      if (h.cancel) orders_.cancel[g.id].push_back(key.task);
      if (watched_.contains(key.task)) orders_.watch.emplace_back(g.id, Watch{key.task, true});
    } else if (!new_incarnation && h.whole) {
      orders_.assign[g.id].push_back(h.assignment);  // it never arrived
      if (h.cancel) orders_.cancel[g.id].push_back(key.task);
    } else {
      // The worker before had it and did not begin it: what it began is known to the one that followed.
      release(held, now_s);
      requeue(held);
    }
  }
  if (w.tasks.empty()) w.idle_since_s = now_s;
}

void Dispatcher::disconnected(const WorkerId& worker) {
  if (const auto w = workers_.find(worker); w != workers_.end()) w->second.connected = false;
}

void Dispatcher::takes_no_more(const WorkerId& worker) {
  if (const auto w = workers_.find(worker); w != workers_.end()) w->second.takes_work = false;
}

void Dispatcher::began(const WorkerId& worker, const TaskBegin& begin) {
  const auto held = held_.find(begin.key);
  if (held == held_.end() || held->second.state != State::handed || held->second.worker != worker) return;
  held->second.begun = true;
  held->second.begin = begin;
  orders_.begun.push_back(begin);
}

void Dispatcher::ended(const WorkerId& worker, const TaskEnd& end, double now_s) {
  const auto [held, fresh] = held_.try_emplace(end.key);
  Held& h = held->second;
  if (fresh) {  // acknowledged before, and the acknowledgement was lost; the service knows
    h.worker = worker;
    return finish(held, end);
  }
  if (h.state == State::ended) {
    if (h.worker.block.empty()) h.worker = worker;
    return;
  }
  if (h.state != State::handed) return;  // it is on its way to another worker, which will tell its own end
  if (h.worker != worker) return;
  release(held, now_s);
  if (end.ending == Ending::interrupted && end.times.started_s == 0) return requeue(held);
  if (end.ending == Ending::done) {
    const double took = std::max(0.0, end.times.ended_s - end.times.assigned_s);
    const double own = std::max(0.0, end.times.ended_s - end.times.started_s);
    auto [seconds, first] = seconds_of_.try_emplace(h.assignment.function.name, std::min(took, own));
    if (!first) seconds->second += 0.1 * (std::min(took, own) - seconds->second);
  }
  finish(held, end);
}

// ---- placing

double Dispatcher::expected_s(const std::string& function) const {
  const auto known = seconds_of_.find(function);
  return known == seconds_of_.end() ? kUnknown_s : known->second;
}

bool Dispatcher::fits(const Assignment& a, const Worker& w, const Block& b, double now_s) const {
  const TaskResources& r = a.request.resources;
  return (!b.urgent || a.request.priority == Priority::urgent) && r.gpu_slots <= w.gpu_slots &&
         (r.walltime_s <= 0 || now_s + r.walltime_s <= w.leaves_s);
}

void Dispatcher::hand(HeldAt held, const WorkerId& id, Worker& w, std::vector<Handover>& placed) {
  Held& h = held->second;
  h.state = State::storing;
  h.row = true;
  h.worker = id;
  h.incarnation = w.incarnation;
  h.expected_s = expected_s(h.assignment.function.name);
  w.tasks.insert(held->first);
  if (std::isfinite(h.expected_s)) w.pending_s += h.expected_s;
  else ++w.unknown;
  placed.push_back({held->first, id, w.incarnation, h.assignment});
}

/// A task of several ranks has a block for itself: one is reserved, and it begins once all workers there are idle.
bool Dispatcher::place_wide(HeldAt held, double now_s, std::vector<Handover>& placed) {
  struct Seen {
    int connected = 0, idle = 0;
    bool fits = true;
    const WorkerId* first = nullptr;
  };
  std::map<std::string, Seen> seen;
  for (auto& [id, w] : workers_) {
    const auto b = blocks_.find(id.block);
    if (b == blocks_.end() || b->second.leaving || !w.connected || !w.takes_work) continue;
    Seen& s = seen[id.block];
    ++s.connected;
    s.idle += w.tasks.empty() ? 1 : 0;
    s.fits = s.fits && fits(held->second.assignment, w, b->second, now_s);
    if (s.first == nullptr) s.first = &id;
  }
  std::pair<const std::string, Seen>* best = nullptr;
  for (auto& candidate : seen) {
    const TaskKey& reserved = blocks_[candidate.first].reserved;
    if (!candidate.second.fits || candidate.second.connected < limits_.workers) continue;
    if (reserved == held->first) {
      best = &candidate;
      break;
    }
    if (reserved.task.empty() && (best == nullptr || candidate.second.idle > best->second.idle)) best = &candidate;
  }
  if (best == nullptr) return false;
  blocks_[best->first].reserved = held->first;
  if (best->second.idle < best->second.connected) return false;
  const WorkerId id = *best->second.first;
  hand(held, id, workers_[id], placed);
  return true;
}

std::vector<Handover> Dispatcher::place(double now_s) {
  std::vector<Handover> placed;
  if (std::all_of(queue_.begin(), queue_.end(), [](const auto& q) { return q.empty(); })) return placed;
  struct Candidate {
    const WorkerId* id;
    Worker* worker;
    const Block* block;
  };
  std::vector<Candidate> idle, busy;
  for (auto& [id, w] : workers_) {
    const auto b = blocks_.find(id.block);
    if (b == blocks_.end() || b->second.leaving || !w.connected || !w.takes_work) continue;
    if (!b->second.reserved.task.empty()) continue;
    if (w.tasks.empty()) idle.push_back({&id, &w, &b->second});
    else if (has_room(w.pending_s, w.unknown, w.tasks.size())) busy.push_back({&id, &w, &b->second});
  }
  std::size_t passed_over = 0;
  for (std::size_t priority = queue_.size(); priority-- > 0;) {
    auto& queue = queue_[priority];
    std::vector<TaskKey> stay;
    while (!queue.empty() && passed_over < kMostPassedOver) {
      const TaskKey key = queue.front();
      const auto held = held_.find(key);
      if (held == held_.end() || held->second.state != State::queued) {
        queue.pop_front();
        continue;
      }
      const Assignment& a = held->second.assignment;
      if (is_wide(a)) {
        queue.pop_front();
        if (!place_wide(held, now_s, placed)) {
          stay.push_back(key);
          ++passed_over;
        }
        // A block that was reserved takes nothing else, and what it took is not idle.
        const auto taken = [](const Candidate& c) { return !c.block->reserved.task.empty(); };
        std::erase_if(idle, taken);
        std::erase_if(busy, taken);
        continue;
      }
      if (idle.empty() && busy.empty()) break;
      queue.pop_front();
      auto one = std::find_if(idle.begin(), idle.end(),
                              [&](const Candidate& c) { return fits(a, *c.worker, *c.block, now_s); });
      if (one != idle.end()) {
        const Candidate c = *one;
        idle.erase(one);
        hand(held, *c.id, *c.worker, placed);
        if (has_room(c.worker->pending_s, c.worker->unknown, 1)) busy.push_back(c);
        continue;
      }
      // Ahead, to the worker that is through first; only what is known to be short.
      auto best = busy.end();
      if (expected_s(a.function.name) < kAhead_s)
        for (auto c = busy.begin(); c != busy.end(); ++c)
          if (fits(a, *c->worker, *c->block, now_s) &&
              (best == busy.end() || c->worker->pending_s < best->worker->pending_s))
            best = c;
      if (best == busy.end()) {
        stay.push_back(key);
        ++passed_over;
        continue;
      }
      hand(held, *best->id, *best->worker, placed);
      if (!has_room(best->worker->pending_s, best->worker->unknown, best->worker->tasks.size())) busy.erase(best);
    }
    queue.insert(queue.begin(), stay.begin(), stay.end());
  }
  return placed;
}

void Dispatcher::stored(const std::vector<Handover>& handovers, double now_s) {
  for (const Handover& handover : handovers) {
    const auto held = held_.find(handover.key);
    if (held == held_.end() || held->second.state != State::storing) continue;
    Held& h = held->second;
    const auto w = workers_.find(h.worker);
    if (w == workers_.end() || w->second.incarnation != h.incarnation || !w->second.takes_work) {
      release(held, now_s);
      requeue(held);
      continue;
    }
    if (h.cancel) {
      release(held, now_s);
      end_here(held, Ending::cancelled, {});
      continue;
    }
    h.state = State::handed;
    if (!w->second.connected) continue;  // told when it greets again
    orders_.assign[h.worker].push_back(h.assignment);
    if (watched_.contains(handover.key.task)) orders_.watch.emplace_back(h.worker, Watch{handover.key.task, true});
  }
}

void Dispatcher::not_stored(const std::vector<Handover>& handovers, double now_s) {
  for (const Handover& handover : handovers) {
    const auto held = held_.find(handover.key);
    if (held == held_.end() || held->second.state != State::storing) continue;
    release(held, now_s);
    requeue(held);
  }
}

// ---- looking

std::vector<TaskKey> Dispatcher::known() const {
  std::vector<TaskKey> keys;
  keys.reserve(held_.size());
  for (const auto& [key, held] : held_) keys.push_back(key);
  return keys;
}

bool Dispatcher::knows(const std::string& task) const {
  const auto held = held_.lower_bound({task, 0});
  return held != held_.end() && held->first.task == task;
}

bool Dispatcher::needs_archive(const std::string& sha256) const {
  return std::any_of(held_.begin(), held_.end(), [&](const auto& h) {
    return h.second.state != State::ended && h.second.assignment.function.archive == sha256;
  });
}

bool Dispatcher::needs(const std::string& block) const {
  return std::any_of(held_.begin(), held_.end(), [&](const auto& h) { return h.second.worker.block == block; });
}

Dispatcher::Queue Dispatcher::queue() const {
  Queue q;
  for (std::size_t priority = 0; priority < queue_.size(); ++priority)
    for (const TaskKey& key : queue_[priority]) {
      const auto held = held_.find(key);
      if (held == held_.end() || held->second.state != State::queued) continue;
      ++q.tasks;
      const double seconds = expected_s(held->second.assignment.function.name);
      const double share = is_wide(held->second.assignment) ? limits_.workers : std::min(1.0, seconds);
      q.work += share;
      q.longest_s = std::max(q.longest_s, held->second.assignment.request.resources.walltime_s);
      if (static_cast<Priority>(priority) == Priority::urgent) q.urgent += share;
    }
  return q;
}

Dispatcher::Load Dispatcher::load(const std::string& block) const {
  Load l;
  bool none_busy = true;
  for (auto w = workers_.lower_bound({block, "", 0}); w != workers_.end() && w->first.block == block; ++w) {
    const Worker& worker = w->second;
    if (!worker.tasks.empty()) ++l.busy;
    none_busy = none_busy && worker.tasks.empty();
    if (!worker.connected || !worker.takes_work) continue;
    ++l.workers;
    if (worker.tasks.empty()) ++l.idle;
    l.gpu_slots = std::max(l.gpu_slots, worker.gpu_slots);
    l.leaves_s = std::max(l.leaves_s, worker.leaves_s);
    l.idle_since_s = std::max(l.idle_since_s, worker.idle_since_s);
  }
  if (!none_busy) l.idle_since_s = 0;
  return l;
}

}  // namespace farfield::services::compute
