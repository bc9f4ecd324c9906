#pragma once
// Flows and runs over HTTP: /api/v1/flows, /api/v1/runs, /api/v1/report, as api/openapi.yaml describes them.
//
// Who may what: everybody with the scope "farfield" may deploy flows; owners and administrators change them, starters
// start them, viewers see them. A run belongs to the user who started it, and acts for him; managers cancel and resume
// it, monitors see it. What one may not see is not there (404). Administrators of the service may all of it.

#include "farfield/net/router.hpp"
#include "farfield/services/auth/access.hpp"
#include "farfield/services/flow/engine.hpp"

namespace farfield::services::flow {

/// `access` and `engine` outlive the router.
void add_routes(net::Router& router, auth::Access& access, Engine& engine);

/// The name by which flows and runs know a subject of `auth`: "garcia" of "user:garcia", "service:watch" as it is.
std::string name_of_subject(const std::string& subject);
std::string subject_of_name(const std::string& name);

}  // namespace farfield::services::flow
