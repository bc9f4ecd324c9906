#pragma once
// Access tokens: JSON Web Tokens in the SciTokens profile, verified without asking the issuer.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "farfield/core/error.hpp"
#include "farfield/services/auth/keys.hpp"
#include "farfield/services/auth/scope.hpp"

namespace farfield::services::auth {

/// The longest life of an access token: what bounds a verifier that hears of no revocation.
inline constexpr std::int64_t kLongestLife_s = 600;

struct Claims {
  std::string issuer, subject, audience, client;
  std::string id;     ///< jti: of this token
  std::string grant;  ///< sid: of the session that it came from; all its tokens can be revoked at once
  std::int64_t issued_s = 0, expires_s = 0;
  std::vector<Scope> scopes;
  std::string actor{};  ///< act.sub (RFC 8693): on whose behalf the subject acts; empty: its own
};

std::string claims_json(const Claims& claims);

/// Ids of tokens and grants that are no longer good, until they would have ended anyway. Thread-safe.
class RevocationList {
public:
  struct Entry {
    std::int64_t number = 0;  ///< ascending, as the issuer counts
    std::string id;           ///< of a token or a grant
    std::int64_t until_s = 0;
  };
  void add(const Entry& entry);
  bool contains(const std::string& id) const;
  /// What ended before `now_s` is forgotten.
  void forget(std::int64_t now_s);
  std::vector<Entry> after(std::int64_t number) const;
  std::int64_t last() const;
  /// Called for each new entry until the handle goes (and perhaps once more while it goes). Short.
  std::shared_ptr<void> listen(std::function<void(const Entry&)> listener);

private:
  using Listener = std::function<void(const Entry&)>;
  using Listeners = std::map<int, std::shared_ptr<const Listener>>;
  mutable std::mutex mutex_;
  std::map<std::string, Entry> entries_;
  std::int64_t last_ = 0;
  struct Listening {
    std::mutex mutex;
    Listeners listeners;
    int next = 0;
  };
  std::shared_ptr<Listening> listening_ = std::make_shared<Listening>();  // handles may outlive the list
};

struct VerifierRules {
  std::string issuer;                  ///< "https://farfield.example"
  std::vector<std::string> audiences;  ///< of which a token must name one
  std::int64_t leeway_s = 30;          ///< clocks of two machines
};

/// Thread-safe.
class Verifier {
public:
  Verifier(VerifierRules rules, UnixClock clock) : rules_(std::move(rules)), clock_(std::move(clock)) {}

  /// Replaces the keys. `corrupt_data` leaves the old ones.
  core::Result<void> set_keys(std::string_view jwks);
  /// The claims of a good token; `unauthenticated` says what is wrong with it, never the token itself.
  core::Result<Claims> verify(std::string_view token) const;
  /// The same of a token for `audience` alone, which is somebody else: it is passed on, and not acted upon.
  core::Result<Claims> verify_for(std::string_view token, const std::string& audience) const;
  RevocationList& revocations() { return revocations_; }
  const RevocationList& revocations() const { return revocations_; }

private:
  core::Result<Claims> verify_for_any(std::string_view token, const std::vector<std::string>& audiences) const;

  VerifierRules rules_;
  UnixClock clock_;
  mutable std::mutex mutex_;
  std::shared_ptr<const PublicKeys> keys_ = std::make_shared<PublicKeys>();
  RevocationList revocations_;
};

}  // namespace farfield::services::auth
