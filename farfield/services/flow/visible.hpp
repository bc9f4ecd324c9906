#pragma once
// The log of a run as those may see it who may see the run: without private parameters and state.

#include <string>
#include <vector>

#include "farfield/services/flow/definition.hpp"
#include "farfield/services/flow/records.hpp"

namespace farfield::services::flow {

/// States of that name, also inside Parallel and Map.
std::vector<const State*> states_named(const Machine& machine, const std::string& name);

/// `body` of an action of `state`, as scheduled, without what is private there.
Json visible_parameters(const Machine& machine, const std::string& state, Json body);

/// The same events with what is private left out of their bodies.
std::vector<StoredEvent> visible_events(std::vector<StoredEvent> events, const Machine& machine);

}  // namespace farfield::services::flow
