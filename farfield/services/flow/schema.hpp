#pragma once
// Input schemas of flows are those of functions.

#include "farfield/services/compute/schema.hpp"

namespace farfield::services::flow {

using compute::InputSchema;

}  // namespace farfield::services::flow
