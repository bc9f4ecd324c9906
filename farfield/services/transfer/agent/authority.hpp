#pragma once
// What an agent of an experiment hall needs around its routes: who may, and what is exported.

#include <filesystem>
#include <map>
#include <string>

#include "farfield/services/auth/token.hpp"
#include "farfield/services/transfer/agent/agent.hpp"

namespace farfield::services::transfer {

/// Allows what the scopes of a good bearer token name ("read:/experiments/ID/raw": reading below raw), and nothing
/// else; verified without asking the issuer. Every decision is logged, without the token. While `ready` says that the
/// issuer's keys are not known, everything is `unavailable`: the client tries again, instead of taking a good token for
/// a bad one. `verifier` outlives the result.
Authorise token_authority(const auth::Verifier& verifier, std::function<bool()> ready);

/// Fetches where the token was made by this issuer for that very origin, which it does for places that have registered
/// and for nobody else, and allows to read the path there.
MayFetch token_may_fetch(const auth::Verifier& verifier);

struct Exports {
  std::map<std::string, std::filesystem::path> folders;  ///< experiment -> folder, which exists
  /// Below it, root/ID is exported for each experiment; made when somebody writes to it. Empty: only `folders`.
  std::filesystem::path root;
};
/// Throws `invalid_argument` for names that are no experiments, what local_provider() throws for folders.
Roots exported_folders(const Exports& exports);

}  // namespace farfield::services::transfer
