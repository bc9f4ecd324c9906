#include "farfield/services/flow/run.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "farfield/core/error.hpp"
#include "farfield/services/flow/lines.hpp"
#include "farfield/services/flow/timestamp.hpp"

namespace farfield::services::flow {
namespace {
using core::Error;
using core::ErrorCode;

constexpr int kMostSteps = 10000;  ///< of states that take no time, in a row
constexpr double kLatest_s = 253402300799.0;  ///< the year 9999

constexpr std::pair<RunStatus, std::string_view> kStatuses[] = {{RunStatus::active, "ACTIVE"},
                                                                {RunStatus::succeeded, "SUCCEEDED"},
                                                                {RunStatus::failed, "FAILED"},
                                                                {RunStatus::cancelled, "CANCELLED"}};

// The word for an action's end, as the action provider API has it.
std::string_view word(ActionUpdate::State state) {
  return state == ActionUpdate::State::succeeded ? "SUCCEEDED"
         : state == ActionUpdate::State::active  ? "ACTIVE"
                                                 : "FAILED";
}

constexpr std::size_t kLongestDetails = 64 << 20;
}  // namespace

std::string_view name_of(RunStatus status) {
  for (const auto& [s, name] : kStatuses)
    if (s == status) return name;
  return "";
}
RunStatus run_status(std::string_view name) {
  for (const auto& [status, n] : kStatuses)
    if (n == name) return status;
  throw Error(ErrorCode::corrupt_data, fmt::format("'{}' is not the status of a run", name));
}

Run::Run(std::shared_ptr<const Machine> machine, Json context)
    : context_(std::move(context)), run_id_(context_.value("run_id", "")), machine_(std::move(machine)) {
  Frame root;
  root.machine = machine_;
  frames_.emplace(0, std::move(root));
  frames_made_ = 1;
}

// --- inputs

void Run::start(Json input, double now_s) {
  now_s_ = now_s;
  emit("RunStarted", {{"input", std::move(input)}});
  advance(0);
}

void Run::on_action(const ActionUpdate& update, double now_s) {
  const auto found = by_key_.find(update.key);
  if (found == by_key_.end() || status_ != RunStatus::active) return;
  now_s_ = now_s;
  const int id = found->second;
  Frame& frame = frames_.at(id);
  const State& state = state_of(frame);
  if (update.state == ActionUpdate::State::active) {  // a sign of life moves the limit, and needs no event
    if (state.heartbeat_s) frame.due_s = std::min(frame.scheduled_s + state.wait_time_s, now_s + *state.heartbeat_s);
    return;
  }
  Json details;
  try {
    details = parse_json(update.details, "the action's result", kLongestDetails);
  } catch (const Error& e) {
    ActionUpdate failed = update;
    failed.state = ActionUpdate::State::failed;
    failed.details = "{}";
    failed.cause = e.message();
    on_action(failed, now_s);
    return;
  }
  const auto time = [](double t_s) { return t_s > 0 ? Json(format_timestamp(t_s)) : Json(); };
  Json result{{"action_id", update.action_id.empty() ? update.key : update.action_id},
              {"status", word(update.state)},
              {"start_time", time(update.start_s > 0 ? update.start_s : frame.scheduled_s)},
              {"completion_time", time(update.completion_s > 0 ? update.completion_s : now_s)},
              {"details", std::move(details)}};
  const bool refused = update.state == ActionUpdate::State::refused;
  Json body{{"frame", id}, {"key", update.key}, {"status", refused ? "REFUSED" : word(update.state)}};
  if (update.start_s > 0) body["start_s"] = update.start_s;
  if (update.completion_s > 0) body["completion_s"] = update.completion_s;
  effects_.emplace_back(ReleaseAction{update.key, state.action_url});
  emit("ActionEnded", std::move(body));
  if (refused) {
    fail(id, {update.error.empty() ? std::string(kActionUnableToRun) : update.error, update.cause}, result);
  } else if (update.state == ActionUpdate::State::failed && state.exception_on_action_failure) {
    fail(id, {std::string(kActionFailed), update.cause.empty() ? update.details : update.cause}, result);
  } else {
    leave(id, std::move(result));
  }
  advance(id);
}

void Run::on_time(double now_s) {
  if (status_ != RunStatus::active) return;
  now_s_ = now_s;
  if (run_due_s_ <= now_s) {
    abandon(0);
    emit("RunFailed",
         {{"error", kTimeout}, {"cause", fmt::format("the run took longer than {} s", machine_->timeout_s)}});
    return;
  }
  std::vector<int> due;
  for (const auto& [id, frame] : frames_)
    if (frame.due_s <= now_s) due.push_back(id);
  for (const int id : due) {
    const auto found = frames_.find(id);
    if (found == frames_.end() || found->second.due_s > now_s || status_ != RunStatus::active) continue;
    Frame& frame = found->second;
    const State& state = state_of(frame);
    if (frame.phase == Phase::waiting) {
      const bool retry = state.type != StateType::wait;
      emit(retry ? "StateRetried" : "WaitEnded", {{"frame", id}});
      if (!retry) leave(id, std::nullopt);
    } else if (frame.phase == Phase::action) {
      const bool silent = state.heartbeat_s && now_s < frame.scheduled_s + state.wait_time_s;
      const std::string_view error = silent                            ? kHeartbeatTimeout
                                     : state.timeout_is_states_timeout ? kTimeout
                                                                       : kActionTimeout;
      effects_.emplace_back(CancelAction{frame.key, state.action_url});
      emit("ActionGivenUp", {{"frame", id}, {"key", frame.key}, {"error", error}});
      fail(id,
           {std::string(error), silent ? fmt::format("no sign of life for {} s", *state.heartbeat_s)
                                       : fmt::format("not finished within {} s", state.wait_time_s)},
           Json());
    } else if (frame.phase == Phase::children) {
      abandon(id);
      emit("BranchesGivenUp", {{"frame", id}});
      fail(id, {std::string(kTimeout), fmt::format("not finished within {} s", state.wait_time_s)}, Json());
    }
    advance(id);
  }
}

void Run::cancel(const std::string& by, double now_s) {
  if (status_ != RunStatus::active) return;
  now_s_ = now_s;
  abandon(0);
  emit("RunCancelled", {{"by", by}});
}

void Run::resume(const std::string& by, double now_s) {
  if (status_ != RunStatus::failed && status_ != RunStatus::cancelled) return;
  now_s_ = now_s;
  emit("RunResumed", {{"by", by}});
  std::vector<int> ids;
  for (const auto& [id, frame] : frames_) ids.push_back(id);
  for (const int id : ids) advance(id);
}

double Run::due_s() const {
  if (status_ != RunStatus::active) return kNever;
  double due = run_due_s_;
  for (const auto& [id, frame] : frames_) due = std::min(due, frame.due_s);
  return due;
}

std::vector<std::string> Run::current_states() const {
  std::vector<std::string> names;
  for (const auto& [id, frame] : frames_)
    if (frame.phase != Phase::ended && frame.phase != Phase::children) names.push_back(frame.current);
  return names;
}

ActionRequest Run::request_of(const Frame& frame) const {
  const State& state = state_of(frame);
  return {.key = frame.key,
          .run_id = run_id_,
          .flow_id = context_.value("flow_id", ""),
          .url = state.action_url,
          .scope = state.action_scope,
          .run_as = state.run_as,
          .user = context_.value("username", ""),
          .body = to_text(frame.body),
          .scheduled_s = frame.scheduled_s};
}

std::vector<Effect> Run::outstanding() const {
  std::vector<Effect> effects;
  for (const auto& [key, id] : by_key_) effects.emplace_back(StartAction{request_of(frames_.at(id))});
  return effects;
}

bool Run::is_over(const std::string& key) const {
  const std::string before = run_id_ + ".";
  if (!key.starts_with(before) || by_key_.contains(key)) return false;
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(key.data() + before.size(), key.data() + key.size(), number);
  return error == std::errc() && end == key.data() + key.size() && number >= 1 && number <= actions_made_;
}

void Run::expect_heartbeats(double now_s) {
  for (const auto& [key, id] : by_key_) {
    Frame& frame = frames_.at(id);
    const State& state = state_of(frame);
    if (state.heartbeat_s) frame.due_s = std::min(frame.scheduled_s + state.wait_time_s, now_s + *state.heartbeat_s);
  }
}

// --- states

const State& Run::state_of(const Frame& frame) const { return frame.machine->states.at(frame.current); }

Json Run::context_of(const Frame& frame) const {
  Json context = context_;
  if (!frame.item.is_null()) context["Map"]["Item"] = frame.item;
  return context;
}

Json Run::input_of(const Frame& frame, const State& state) const {
  const Json context = context_of(frame);
  const Scope scope{frame.state, context};
  if (state.parameters) return state.parameters->evaluate(scope);
  if (state.input_path) return state.input_path->get(scope);
  return frame.state;
}

/// Goes on until the frame waits for something or has ended; and so those that it starts or wakes.
void Run::advance(int id) {
  ready_.push_back(id);
  if (advancing_) return;
  advancing_ = true;
  while (!ready_.empty()) {
    const int next = ready_.front();
    ready_.pop_front();
    for (auto found = frames_.find(next);
         status_ == RunStatus::active && found != frames_.end() && found->second.phase == Phase::running;
         found = frames_.find(next)) {
      if (++found->second.steps <= kMostSteps) {
        execute(next);
        continue;
      }
      abandon(0);
      emit("RunFailed", {{"error", kRuntime},
                         {"cause", fmt::format("{} states in a row without waiting: an endless loop", kMostSteps)}});
    }
  }
  advancing_ = false;
}

void Run::execute(int id) {
  Frame& frame = frames_.at(id);
  const State& state = state_of(frame);
  emit("StateEntered", {{"frame", id}, {"state", frame.current}});
  try {
    switch (state.type) {
      case StateType::pass: leave(id, state.result != nullptr ? *state.result : input_of(frame, state)); break;
      case StateType::expression_eval: leave(id, input_of(frame, state)); break;
      case StateType::choice: {
        const Json context = context_of(frame);
        const Json input = state.input_path ? state.input_path->get({frame.state, context}) : Json();
        const Scope scope{state.input_path ? input : frame.state, context};
        std::string next = state.fallback;
        for (const auto& [rule, target] : state.choices)
          if (rule.holds(scope)) {
            next = target;
            break;
          }
        if (next.empty()) throw FlowException{"States.NoChoiceMatched", "no rule holds, and there is no Default"};
        emit("StateExited", {{"frame", id}, {"state", frame.current}, {"next", next}});
        break;
      }
      case StateType::wait: {
        const double until_s = wait_until(frame, state);
        if (until_s <= now_s_) leave(id, std::nullopt);
        else emit("WaitStarted", {{"frame", id}, {"until_s", until_s}});
        break;
      }
      case StateType::fail: throw FlowException{state.error, state.cause};
      case StateType::action: schedule_action(frame, state); break;
      case StateType::parallel:
      case StateType::map: start_children(id); break;
    }
  } catch (const FlowException& error) {
    fail(id, error, Json());
  }
}

double Run::wait_until(const Frame& frame, const State& state) const {
  const Json context = context_of(frame);
  const auto refuse = [&](const Path& path, const Json& v, const char* wanted) {
    throw FlowException{std::string(kRuntime), fmt::format("{} holds {}, expected {}", path.text(), v.dump(), wanted)};
  };
  if (state.seconds) return now_s_ + *state.seconds;
  if (state.timestamp_s) return *state.timestamp_s;
  if (state.seconds_path) {
    const Json v = state.seconds_path->get({frame.state, context});
    if (!v.is_number() || v.get<double>() < 0 || v.get<double>() > kLatest_s) refuse(*state.seconds_path, v, "seconds");
    return now_s_ + v.get<double>();
  }
  const Json v = state.timestamp_path->get({frame.state, context});
  const auto time = v.is_string() ? parse_timestamp(v.get_ref<const std::string&>()) : std::nullopt;
  if (!time) refuse(*state.timestamp_path, v, "a time");
  return *time;
}

void Run::schedule_action(Frame& frame, const State& state) {
  Json body = input_of(frame, state);
  // The same number for the same action after a replay, and another one for each attempt.
  const std::string key = fmt::format("{}.{}", run_id_, actions_made_ + 1);
  emit("ActionScheduled", {{"frame", frame.id},
                           {"state", frame.current},
                           {"key", key},
                           {"url", state.action_url},
                           {"body", std::move(body)}});
  effects_.emplace_back(StartAction{request_of(frame)});
}

/// Parallel: all branches; Map: as many items as may run at once, and later one for each that ended.
void Run::start_children(int id) {
  Frame& frame = frames_.at(id);
  const State& state = state_of(frame);
  if (frame.phase == Phase::running) {
    const Json context = context_of(frame);
    Json items;
    if (state.type == StateType::map) {
      items = state.items_path->get({frame.state, context});
      if (!items.is_array())
        throw FlowException{std::string(kRuntime),
                            fmt::format("{} holds {}, expected a list", state.items_path->text(), items.type_name())};
    } else {
      items = Json(std::vector<Json>(state.branches.size()));
    }
    emit("BranchesEntered", {{"frame", id}, {"items", std::move(items)}});
  }
  std::vector<int> begun;
  try {
    while (frame.started < std::ssize(frame.items) &&
           (state.max_concurrency == 0 || frame.live < state.max_concurrency)) {
      const Index index = frame.started;
      Json input, item;
      if (state.type == StateType::parallel) {
        input = input_of(frame, state);
      } else {
        input = frame.items[static_cast<std::size_t>(index)];
        item = {{"Index", index}, {"Value", input}};
        if (state.parameters) {
          Json context = context_of(frame);
          context["Map"]["Item"] = item;
          input = state.parameters->evaluate({frame.state, context});
        }
      }
      begun.push_back(frames_made_);
      emit("BranchStarted", {{"frame", id},
                             {"branch", frames_made_},
                             {"index", index},
                             {"input", std::move(input)},
                             {"item", std::move(item)}});
    }
  } catch (const FlowException& error) {
    abandon(id);
    emit("BranchesGivenUp", {{"frame", id}});
    fail(id, error, Json());
    return;
  }
  if (frame.items.empty()) {
    leave(id, Json::array());
    return;
  }
  for (const int child : begun) advance(child);
}

/// The state ends well; `result` goes to its ResultPath.
void Run::leave(int id, std::optional<Json> result) {
  Frame& frame = frames_.at(id);
  const State& state = state_of(frame);
  if (result) {
    try {
      state.result_path.check_set(frame.state);
    } catch (const FlowException& error) {
      fail(id, error, Json());
      return;
    }
  }
  Json body{{"frame", id}, {"state", frame.current}};
  if (!state.next.empty()) body["next"] = state.next;
  if (result) body["result"] = std::move(*result);
  emit("StateExited", std::move(body));
  if (frame.phase == Phase::ended) frame_ended(id);
}

void Run::frame_ended(int id) {
  if (id == 0) {
    emit("RunSucceeded", Json::object());
    return;
  }
  const int parent = frames_.at(id).parent;
  emit("BranchEnded", {{"frame", parent}, {"branch", id}});
  Frame& above = frames_.at(parent);
  if (above.live == 0 && above.started == std::ssize(above.items)) leave(parent, above.results);
  else start_children(parent);
  advance(parent);
}

/// The state ends badly: it is tried again, or another state takes over, or the frame ends with it.
void Run::fail(int id, const FlowException& error, const Json& details) {
  Frame& frame = frames_.at(id);
  const State& state = state_of(frame);
  for (std::size_t r = 0; r < state.retriers.size(); ++r) {
    const Retrier& retrier = state.retriers[r];
    if (!retrier.errors.takes(error.name)) continue;
    const int attempt = r < frame.attempts.size() ? frame.attempts[r] : 0;
    if (attempt >= retrier.max_attempts) break;
    double delay_s = std::min(retrier.interval_s * std::pow(retrier.backoff, attempt), retrier.max_delay_s);
    // Seeded by what is tried again, so that a dry run repeats itself while runs of one moment spread out.
    if (retrier.jitter) {
      std::seed_seq seed(run_id_.begin(), run_id_.end());
      std::mt19937 random(seed);
      random.discard(static_cast<unsigned>(id * 31 + attempt));
      delay_s *= std::uniform_real_distribution<double>(0, 1)(random);
    }
    emit("RetryScheduled", {{"frame", id},
                            {"state", frame.current},
                            {"error", error.name},
                            {"cause", error.cause},
                            {"retrier", r},
                            {"until_s", now_s_ + delay_s}});
    return;
  }
  for (const Catcher& catcher : state.catchers) {
    if (!catcher.errors.takes(error.name)) continue;
    Json result = details.is_object() ? details : Json::object();
    result["Error"] = error.name;
    result["Cause"] = error.cause;
    const Path& path = catcher.result_path ? *catcher.result_path : state.result_path;
    try {
      path.check_set(frame.state);
    } catch (const FlowException&) {
      break;  // nowhere to put it
    }
    emit("StateCaught", {{"frame", id},
                         {"state", frame.current},
                         {"next", catcher.next},
                         {"path", path.text()},
                         {"result", std::move(result)}});
    return;
  }
  emit("StateFailed", {{"frame", id}, {"state", frame.current}, {"error", error.name}, {"cause", error.cause}});
  if (id == 0) {
    emit("RunFailed", {{"error", error.name}, {"cause", error.cause}});
    return;
  }
  const int parent = frame.parent;
  abandon(parent);
  emit("BranchesGivenUp", {{"frame", parent}});
  fail(parent, error, details);
  advance(parent);
}

/// Actions below the frame are given up; their frames go with the event that follows.
void Run::abandon(int id) {
  for (const auto& [key, at] : by_key_)
    for (int frame = at; frame >= 0; frame = frames_.at(frame).parent)
      if (frame == id) {
        effects_.emplace_back(CancelAction{key, state_of(frames_.at(at)).action_url});
        break;
      }
}

}  // namespace farfield::services::flow
