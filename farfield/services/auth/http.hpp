#pragma once
// The issuer over HTTP: OAuth 2.0 endpoints, the pages where people log in, and the REST interface to users and
// experiments (api/openapi.yaml).

#include "farfield/net/router.hpp"
#include "farfield/services/auth/access.hpp"

namespace farfield::services::auth {

/// Adds all routes. `access` outlives the router.
void add_routes(net::Router& router, Access& access);
void add_oauth_routes(net::Router& router, Access& access);
void add_page_routes(net::Router& router, Access& access);
void add_rest_routes(net::Router& router, Access& access);

/// An error as JSON: {"error": {"code": "not_found", "message": "..."}}, or for an OAuthError as RFC 6749 wants it. For
/// net::ServerOptions::error_response.
net::Response json_error(const core::Error& error);

}  // namespace farfield::services::auth
