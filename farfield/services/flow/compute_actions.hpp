#pragma once
// Computations as actions of flows: bodies in the three forms of bodies.hpp -> tasks of services/compute.

#include <memory>

#include "farfield/services/auth/issuer.hpp"
#include "farfield/services/compute/broker/broker.hpp"
#include "farfield/services/flow/action.hpp"

namespace farfield::services::flow {

/// Endpoints of a body are "ENDPOINT/EXPERIMENT": where, and whose files the tasks see. A task's arguments are
/// `kwargs`; a single positional argument that is an object (the payload of 2021) counts as them, any others are the
/// member "args". `resource_specification` gives nodes and ranks, `user_endpoint_config` may hold walltime_s, gpu_slots
/// (per node), priority (low, normal, high, urgent) and attempts. The user who started the run must have the right to
/// run in the experiment, by the run's grant. Large outputs come as references, see compute::TaskStatus. Both outlive
/// the result.
std::shared_ptr<ActionProvider> compute_actions(compute::Broker& broker, auth::Issuer& issuer);

}  // namespace farfield::services::flow
