#include "farfield/services/flow/visible.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "farfield/services/flow/lines.hpp"

namespace farfield::services::flow {
namespace {
bool is_private(const Path& path) {
  return std::any_of(path.steps().begin(), path.steps().end(), [](const Path::Step& step) {
    const auto* name = std::get_if<std::string>(&step);
    return name != nullptr && name->starts_with("_private");
  });
}
}  // namespace

std::vector<const State*> states_named(const Machine& machine, const std::string& name) {
  std::vector<const State*> out;
  if (const auto found = machine.states.find(name); found != machine.states.end()) out.push_back(&found->second);
  for (const auto& [ignored, state] : machine.states)
    for (const auto& branch : state.branches)
      for (const State* inner : states_named(*branch, name)) out.push_back(inner);
  return out;
}

Json visible_parameters(const Machine& machine, const std::string& state, Json body) {
  // Where several states have that name, what any of them hides is hidden.
  for (const State* one : states_named(machine, state))
    if (one->parameters) body = one->parameters->without_private(body);
  return without_private_state(body);
}

std::vector<StoredEvent> visible_events(std::vector<StoredEvent> events, const Machine& machine) {
  for (StoredEvent& event : events) {
    Json body = Json::parse(event.body);
    const std::string state = body.value("state", "");
    if (body.contains("body")) body["body"] = visible_parameters(machine, state, body["body"]);
    if (body.contains("result")) {
      const auto states = states_named(machine, state);
      bool hidden = body.contains("path") && is_private(*Path::parse(body["path"].get_ref<const std::string&>()));
      if (!body.contains("path"))
        hidden =
            std::any_of(states.begin(), states.end(), [](const State* one) { return is_private(one->result_path); });
      if (hidden) body.erase("result");
    }
    event.body = to_text(without_private_state(body));
  }
  return events;
}

}  // namespace farfield::services::flow
