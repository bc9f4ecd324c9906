// What each event does to a run: the only code that changes its state, when it happens and when it is replayed.

#include <fmt/core.h>

#include <algorithm>

#include "farfield/core/error.hpp"
#include "farfield/services/flow/run.hpp"

namespace farfield::services::flow {
namespace {
using core::Error;
using core::ErrorCode;
}  // namespace

void Run::emit(std::string_view kind, Json body) {
  Event event{std::string(kind), now_s_, std::move(body)};
  apply(event);
  events_.push_back(std::move(event));
}

void Run::enter(Frame& frame, const std::string& state) {
  frame.current = state;
  frame.phase = Phase::running;
  frame.due_s = kNever;
  frame.attempts.clear();
}

void Run::apply(const Event& event) {
  try {
    if (event.kind.starts_with("Run")) apply_run(event);
    else apply_state(frames_.at(event.body.at("frame").get<int>()), event);
  } catch (const Json::exception& e) {
    throw Error(ErrorCode::corrupt_data, fmt::format("event {}: {}", event.kind, e.what())).at("run " + run_id_);
  } catch (const std::out_of_range&) {
    throw Error(ErrorCode::corrupt_data,
                fmt::format("event {} does not fit its flow: {}", event.kind, event.body.dump()))
        .at("run " + run_id_);
  }
}

void Run::apply_run(const Event& event) {
  if (event.kind == "RunStarted") {
    Frame& root = frames_.at(0);
    root.state = event.body.at("input");
    enter(root, machine_->start_at);
    if (machine_->timeout_s > 0) run_due_s_ = event.at_s + machine_->timeout_s;
  } else if (event.kind == "RunSucceeded") {
    status_ = RunStatus::succeeded;
  } else if (event.kind == "RunFailed" || event.kind == "RunCancelled") {
    status_ = event.kind == "RunFailed" ? RunStatus::failed : RunStatus::cancelled;
    error_ = event.body.value("error", "");
    cause_ = event.body.value("cause", "");
    by_key_.clear();
  } else if (event.kind == "RunResumed") {
    status_ = RunStatus::active;
    error_.clear();
    cause_.clear();
    if (machine_->timeout_s > 0) run_due_s_ = event.at_s + machine_->timeout_s;
    for (auto& [id, frame] : frames_)
      if (frame.phase != Phase::children && frame.phase != Phase::ended) enter(frame, frame.current);
  } else {
    throw Error(ErrorCode::corrupt_data, fmt::format("unknown event {}", event.kind)).at("run " + run_id_);
  }
}

void Run::apply_state(Frame& frame, const Event& event) {
  const Json& body = event.body;
  const State& state = state_of(frame);
  const auto forget_action = [&] {
    by_key_.erase(frame.key);
    frame.key.clear();
    frame.body = Json();
    frame.due_s = kNever;
  };
  if (event.kind == "StateEntered") {
    frame.phase = Phase::running;
  } else if (event.kind == "StateExited" || event.kind == "StateCaught") {
    if (event.kind == "StateCaught")
      Path::parse(body.at("path").get_ref<const std::string&>())->set(frame.state, body.at("result"));
    else if (body.contains("result")) state.result_path.set(frame.state, body.at("result"));
    frame.items = frame.results = Json();
    if (body.contains("next")) enter(frame, body.at("next").get<std::string>());
    else frame.phase = Phase::ended;
  } else if (event.kind == "ActionScheduled") {
    ++actions_made_;
    frame.key = body.at("key").get<std::string>();
    frame.body = body.at("body");
    frame.scheduled_s = event.at_s;
    frame.phase = Phase::action;
    frame.steps = 0;
    frame.due_s = event.at_s + std::min(state.wait_time_s, state.heartbeat_s.value_or(state.wait_time_s));
    by_key_[frame.key] = frame.id;
  } else if (event.kind == "ActionEnded" || event.kind == "ActionGivenUp") {
    forget_action();
  } else if (event.kind == "WaitStarted") {
    frame.phase = Phase::waiting;
    frame.steps = 0;
    frame.due_s = body.at("until_s").get<double>();
  } else if (event.kind == "WaitEnded") {
    frame.phase = Phase::running;
    frame.due_s = kNever;
  } else if (event.kind == "RetryScheduled") {
    const auto retrier = body.at("retrier").get<std::size_t>();
    frame.attempts.resize(std::max(frame.attempts.size(), retrier + 1));
    ++frame.attempts[retrier];
    frame.phase = Phase::waiting;
    frame.steps = 0;
    frame.due_s = body.at("until_s").get<double>();
  } else if (event.kind == "StateRetried") {
    frame.phase = Phase::running;
    frame.due_s = kNever;
  } else if (event.kind == "StateFailed") {
    frame.phase = Phase::running;  // where resume() goes on; until then nothing moves it, as the run has ended
    frame.due_s = kNever;
  } else if (event.kind == "BranchesEntered") {
    frame.items = body.at("items");
    frame.results = Json(std::vector<Json>(frame.items.size()));
    frame.started = frame.live = 0;
    frame.phase = Phase::children;
    frame.steps = 0;
    frame.due_s = state.wait_time_s > 0 ? event.at_s + state.wait_time_s : kNever;
  } else if (event.kind == "BranchStarted") {
    Frame child;
    child.id = body.at("branch").get<int>();
    child.parent = frame.id;
    child.index = body.at("index").get<Index>();
    child.machine = state.branches.at(state.type == StateType::map ? 0 : static_cast<std::size_t>(child.index));
    child.state = body.at("input");
    child.item = body.at("item").is_null() ? frame.item : body.at("item");
    enter(child, child.machine->start_at);
    frames_made_ = std::max(frames_made_, child.id + 1);
    ++frame.started;
    ++frame.live;
    frames_.emplace(child.id, std::move(child));
  } else if (event.kind == "BranchEnded") {
    const auto child = frames_.find(body.at("branch").get<int>());
    if (child == frames_.end()) throw std::out_of_range("branch");
    frame.results.at(static_cast<std::size_t>(child->second.index)) = std::move(child->second.state);
    frames_.erase(child);
    --frame.live;
  } else if (event.kind == "BranchesGivenUp") {
    // All frames below this one; children have higher numbers than their parents.
    std::set<int> below{frame.id};
    for (auto it = frames_.begin(); it != frames_.end();)
      if (below.contains(it->second.parent)) {
        below.insert(it->first);
        by_key_.erase(it->second.key);
        it = frames_.erase(it);
      } else {
        ++it;
      }
    frame.items = frame.results = Json();
    frame.phase = Phase::running;
    frame.due_s = kNever;
  } else {
    throw Error(ErrorCode::corrupt_data, fmt::format("unknown event {}", event.kind)).at("run " + run_id_);
  }
}

}  // namespace farfield::services::flow
