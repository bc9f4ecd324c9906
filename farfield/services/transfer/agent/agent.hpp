#pragma once
// A Farfield agent: exported roots over HTTPS. add_agent_routes() is the side with the files, agent_provider() the
// other.

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "farfield/net/client.hpp"
#include "farfield/net/router.hpp"
#include "farfield/services/transfer/provider.hpp"

namespace farfield::services::transfer {

enum class Right { read, write };

/// Throws `unauthenticated` or `forbidden` unless the sender of the request may do this to a path of the experiment.
/// Asked for each request, so that a revocation counts at once.
using Authorise = std::function<void(const net::Request& request, Right right, const std::string& experiment,
                                     const std::string& path)>;

/// The root that is exported for an experiment. Throws `not_found` where there is none. Asked for each request that was
/// authorised; many threads at once.
using Roots = std::function<std::shared_ptr<Provider>(const std::string& experiment, Right right)>;

/// Throws `forbidden` unless this agent may be sent to fetch a path from the agent at `origin`, with this token:
/// whoever asks names the address, and would otherwise reach through the agent what only the agent reaches.
using MayFetch = std::function<void(const std::string& origin, const std::string& token, const std::string& experiment,
                                    const std::string& path)>;

/// Routes below /transfer/v1/{experiment}. Files are received in sessions; one that nobody has used for ten minutes
/// ends, keeping what its file needs to go on later. Without `may_fetch` it fetches from nobody.
void add_agent_routes(net::Router& router, Roots roots, Authorise authorise, MayFetch may_fetch = {});
void add_agent_routes(net::Router& router, std::map<std::string, std::shared_ptr<Provider>> roots, Authorise authorise,
                      MayFetch may_fetch = {});

struct AgentPlace {
  std::string origin;  ///< "https://dtn1.example.org:8443"
  std::string experiment;  ///< "2026-1-Garcia-1234"
  std::function<std::string()> token{};  ///< gives a good access token each time; empty: none is sent
  net::ClientOptions client{};
};

/// The experiment's root at an agent. Each stream has a connection of its own. Chunks carry the checksum of the source,
/// and the agent reads them back against it; a file of one chunk is one request.
std::unique_ptr<Provider> agent_provider(AgentPlace place);

}  // namespace farfield::services::transfer
