#pragma once
// Transfers and places over HTTP (api/openapi.yaml). Submitting needs the right to read the source's experiment and to
// write the destination's; a task belongs to who submitted it, and is unknown to others (administrators see all).

#include "farfield/net/router.hpp"
#include "farfield/services/auth/access.hpp"
#include "farfield/services/transfer/places.hpp"
#include "farfield/services/transfer/tasks.hpp"

namespace farfield::services::transfer {

/// What a service identity needs to register a place.
inline constexpr const char* kAgentScope = "transfer.agent";

/// Adds all routes. The others outlive the router.
void add_routes(net::Router& router, auth::Access& access, Tasks& tasks, Places& places);

}  // namespace farfield::services::transfer
