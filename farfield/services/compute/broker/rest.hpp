#pragma once
// Computing over HTTP: /api/v1/functions, /api/v1/tasks, /api/v1/archives, /api/v1/endpoints, as api/openapi.yaml
// describes them.
//
// Who may what: a task needs the right to run in its experiment; it is seen by who may read there, and cancelled by its
// owner or who manages the experiment. What one may not see is not there (404). A function of an experiment is
// registered by who may run there and called there; one for everybody is registered by administrators. An endpoint
// belongs to the user or service identity (scope "compute.endpoint") that registered it, and only that one connects
// under its name. Lines end within a second when their token or its grant is revoked.

#include "farfield/net/router.hpp"
#include "farfield/services/auth/access.hpp"
#include "farfield/services/compute/broker/broker.hpp"

namespace farfield::services::compute {

/// What service identities of endpoints ask for.
inline constexpr std::string_view kEndpointScope = "compute.endpoint";

/// `access` and `broker` outlive the router and the server that has it.
void add_routes(net::Router& router, auth::Access& access, Broker& broker);

}  // namespace farfield::services::compute
