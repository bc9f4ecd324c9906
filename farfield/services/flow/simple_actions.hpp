#pragma once
// Actions that need nothing but this process.

#include <memory>

#include "farfield/services/flow/action.hpp"

namespace farfield::services::flow {

/// Body {"seconds": 5}: succeeds so long after it was scheduled, also across a crash.
std::shared_ptr<ActionProvider> wait_actions();

/// Body {"expression": "x + 5", "arguments": {"x": 6}}: details {"result": 11}.
std::shared_ptr<ActionProvider> expression_actions();

/// Body {"echo_string": "text", "sleep_time": 0}: details {"Hello": "World", "hello": "text"}. For trying out flows.
std::shared_ptr<ActionProvider> echo_actions();

/// The three above under their addresses (farfield:wait ...).
Providers simple_providers();

}  // namespace farfield::services::flow
