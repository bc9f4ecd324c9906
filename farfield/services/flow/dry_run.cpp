#include "farfield/services/flow/dry_run.hpp"

#include <fmt/core.h>

#include "farfield/core/error.hpp"
#include "farfield/services/flow/lines.hpp"
#include "farfield/services/flow/run.hpp"
#include "farfield/services/flow/visible.hpp"

namespace farfield::services::flow {
namespace {
constexpr std::size_t kMostSteps = 100000;
}  // namespace

DryRun dry_run(const std::shared_ptr<const Machine>& machine, const std::string& input,
               const std::map<std::string, std::string>& details, const std::string& user) {
  for (const auto& [state, text] : details) parse_json(text, fmt::format("the result of {}", state));
  const Json context{{"run_id", "dry-run"},
                     {"flow_id", "dry-run"},
                     {"username", user},
                     {"email", ""},
                     {"user_id", user},
                     {"identities", Json::array({user})},
                     {"token_info", {{"exp", 0}, {"iat", 0}, {"nbf", 0}}}};
  Run run(machine, context);
  DryRun out;
  double now_s = 1;  // 0 would be "not known"
  std::map<std::string, std::string> state_of_action;
  run.start(parse_json(input, "the input"), now_s);
  while (true) {
    for (const Event& event : run.take_events()) {
      if (out.steps.size() >= kMostSteps)
        throw core::Error(core::ErrorCode::invalid_argument,
                          fmt::format("the dry run takes more than {} steps", kMostSteps));
      if (event.kind == "StateEntered") {
        DryStep step;
        step.state = event.body.at("state").get<std::string>();
        const auto states = states_named(*machine, step.state);
        if (!states.empty()) step.type = name_of(states.front()->type);
        out.steps.push_back(std::move(step));
      } else if (event.kind == "ActionScheduled") {
        const auto name = event.body.at("state").get<std::string>();
        state_of_action[event.body.at("key").get<std::string>()] = name;
        for (auto step = out.steps.rbegin(); step != out.steps.rend(); ++step)
          if (step->state == name && step->body.empty()) {
            step->action_url = event.body.at("url").get<std::string>();
            step->body = to_text(visible_parameters(*machine, name, event.body.at("body")));
            break;
          }
      } else if (event.kind == "WaitStarted") {
        out.steps.back().waits_s = event.body.at("until_s").get<double>() - now_s;
      }
    }
    if (run.status() != RunStatus::active) break;
    std::vector<std::string> keys;
    for (const Effect& effect : run.take_effects())
      if (const auto* start = std::get_if<StartAction>(&effect)) keys.push_back(start->request.key);
    for (const std::string& key : keys) {
      ActionUpdate update;
      update.key = key;
      update.state = ActionUpdate::State::succeeded;
      if (const auto given = details.find(state_of_action[key]); given != details.end()) update.details = given->second;
      run.on_action(update, now_s);
    }
    if (keys.empty()) {
      now_s = std::max(now_s, run.due_s());
      run.on_time(now_s);
    }
  }
  out.status = name_of(run.status());
  out.error = run.error();
  out.cause = run.cause();
  out.output = to_text(without_private_state(run.state()));
  return out;
}

}  // namespace farfield::services::flow
