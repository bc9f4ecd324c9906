// The local file system and agents, as the suite for all providers wants them.

#include "farfield/services/transfer/provider_conformance.hpp"

#include "farfield/services/transfer/agent/agent.hpp"
#include "farfield/services/transfer/local/local.hpp"

namespace farfield::services::transfer::conformance {
namespace {

/// An agent on this machine that exports `root`, and the provider that speaks to it.
std::unique_ptr<Provider> agent_for(const fs::path& root, Servers& servers,
                                    const std::optional<net::TlsIdentity>& tls) {
  net::Router router;
  add_agent_routes(router, {{"2026-1-Garcia-1234", local_provider(root, {false, 2 * kChunk})}},
                   [](const net::Request& request, Right, const std::string&, const std::string&) {
                     const std::string* token = request.headers.find("Authorization");
                     if (token == nullptr || *token != "Bearer good")
                       throw core::Error(ErrorCode::unauthenticated, "no good token");
                   });
  net::ServerOptions options;
  if (tls) options.tls = *tls;
  servers.push_back(std::make_unique<net::Server>(options, std::move(router)));
  AgentPlace place{servers.back()->origin(), "2026-1-Garcia-1234", [] { return "good"; }, {}};
  if (tls) place.client.trust.authorities = tls->certificate;
  return agent_provider(std::move(place));
}

INSTANTIATE_TEST_SUITE_P(
    Local, ProviderConformance,
    ::testing::Values(
        Case{"durable", [](const fs::path& root, Servers&) { return local_provider(root, {true, 2 * kChunk}); }},
        Case{"quick", [](const fs::path& root, Servers&) { return local_provider(root, {false, 2 * kChunk}); }}),
    [](const auto& test) { return test.param.name; });

INSTANTIATE_TEST_SUITE_P(Agent, ProviderConformance,
                         ::testing::Values(Case{"http",
                                                [](const fs::path& root, Servers& servers) {
                                                  return agent_for(root, servers, std::nullopt);
                                                }},
                                           Case{"https",
                                                [](const fs::path& root, Servers& servers) {
                                                  const fs::path beside = root.parent_path();
                                                  const net::TlsIdentity tls{beside / "cert.pem", beside / "key.pem"};
                                                  if (!fs::exists(tls.certificate))
                                                    net::make_self_signed(tls, {"127.0.0.1"});
                                                  return agent_for(root, servers, tls);
                                                }}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace farfield::services::transfer::conformance
