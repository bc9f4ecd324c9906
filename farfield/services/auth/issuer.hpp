#pragma once
// The issuer: OAuth 2.0 grants -> access tokens and refresh tokens, and their revocation.
// RFC 6749 (OAuth 2.0), 7636 (PKCE), 8628 (device), 7009 (revocation), 7662 (introspection), 9700 (best practice).

#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "farfield/services/auth/directory.hpp"
#include "farfield/services/auth/keys.hpp"
#include "farfield/services/auth/token.hpp"

namespace farfield::services::auth {

/// An error in the words of RFC 6749 section 5.2: "invalid_grant", "authorization_pending", ...
class OAuthError : public core::Error {
public:
  OAuthError(std::string error, std::string description);
  const std::string& error() const { return error_; }

private:
  std::string error_;
};

struct IssuerOptions {
  std::string issuer;                      ///< "https://farfield.example", without a slash at its end
  std::vector<std::string> audiences = {}; ///< that tokens may be asked for, besides the issuer itself
  std::function<bool(const std::string&)> also_audience{};  ///< and those for which this is true; may be empty
  std::int64_t access_life_s = kLongestLife_s;  ///< 1 to 600
  std::int64_t refresh_life_s = 30LL * 86400;     ///< of a grant, from its beginning
  std::int64_t code_life_s = 60, device_life_s = 600, device_interval_s = 5;
};

struct Tokens {
  std::string access, refresh;  ///< refresh: empty where none is given
  std::int64_t expires_in_s = 0;
  std::string scope;
};

struct DeviceAuthorization {
  std::string device_code, user_code;
  std::int64_t expires_in_s = 0, interval_s = 0;
};

struct Introspection {
  bool active = false;
  Claims claims{};
};

/// What the user is asked to agree to.
struct DeviceRequest {
  std::string client, scope;
};

/// Thread-safe. Tokens, codes and secrets never appear in an error or in a log.
class Issuer {
public:
  /// Throws `invalid_argument` for options.
  Issuer(Directory& directory, KeyRing& keys, IssuerOptions options, UnixClock clock);

  const IssuerOptions& options() const { return options_; }
  /// Knows this issuer's keys and revocations; accepts tokens for the issuer itself.
  Verifier& verifier() { return verifier_; }
  KeyRing& keys() { return keys_; }
  Directory& directory() { return directory_; }
  /// New signing key, known to the verifier at once.
  void rotate_keys();

  DeviceAuthorization begin_device(const std::string& client, const std::string& scope);
  /// nullopt: no such code waits.
  std::optional<DeviceRequest> device_request(const std::string& user_code) const;
  /// False: no such code waits.
  bool decide_device(const std::string& user_code, const std::string& subject, bool approve);
  Tokens device_tokens(const std::string& client, const std::string& device_code, const std::string& audience = {});

  struct CodeRequest {
    std::string client, redirect, scope, challenge, method;
  };
  /// Checks client and redirect URI alone: only then may an error be sent to that URI. Throws `invalid_argument`.
  void check_redirect(const std::string& client, const std::string& redirect) const;
  /// The rest of it: PKCE by S256 is required, "plain" is not. Throws OAuthError.
  void check_code_request(const CodeRequest& request) const;
  /// After the user has logged in and agreed.
  std::string begin_code(const CodeRequest& request, const std::string& subject);
  /// A code that is used twice revokes what came of it.
  Tokens code_tokens(const std::string& client, const std::string& code, const std::string& redirect,
                     const std::string& verifier, const std::string& audience = {});

  Tokens client_tokens(const std::string& service, const std::string& scope, const std::string& audience = {});
  /// Each refresh token is good once; one that comes again revokes its whole grant, because one of the two who showed
  /// it has stolen it. But within a minute, and as long as nobody has used its successor, it is good once more: a
  /// client may have been killed before it stored the answer. The successor is spent with it. `scope`: empty, or part
  /// of the grant's.
  Tokens refresh(const std::string& client, const std::string& token, const std::string& scope = {},
                 const std::string& audience = {});

  /// A refresh token takes its grant with it, an access token goes alone. Unknown tokens are no error (RFC 7009).
  void revoke(const std::string& client, const std::string& token);
  void revoke_grant(const std::string& grant);
  /// Everything of a user or service, and what others do on behalf of it.
  void revoke_subject(const std::string& subject);
  /// Every grant of impersonate() whose permission no longer stands; call where permissions were taken away.
  void revoke_unpermitted();
  Introspection introspect(const std::string& token) const;

  /// RunAs: a grant without a refresh token, from which the service itself mints tokens for `life_s` (up to the
  /// refresh life). Its id is no secret to be shown to anybody outside.
  std::string delegate(const std::string& subject, const std::string& client, const std::string& scope,
                       std::int64_t life_s);
  /// The same for a service identity as which somebody acts, with all that it may do.
  struct Impersonation {
    std::string subject;  ///< service:ID
    std::string permitted;  ///< who may act as it: at this moment, and whenever a token is minted
    std::string behalf;  ///< for whom it is done; tokens name him as their actor (RFC 8693)
  };
  /// `forbidden` where `permitted` may not, or there is no such identity.
  std::string impersonate(const Impersonation& who, const std::string& client, std::int64_t life_s);
  /// `unauthenticated` where the grant is revoked or over, or its permission no longer stands; `forbidden` for scopes
  /// beyond it or beyond what the subject may do now. A grant of "farfield" stands for all that the subject may do.
  std::string mint(const std::string& grant, const std::string& scope = {}, const std::string& audience = {});

  /// Removes what has ended long ago; call now and then.
  void clean();

private:
  core::Result<Claims> verify_for_any_audience(const std::string& token) const;
  struct Grant {
    std::string id, subject, client, scope;
    std::int64_t expires_s = 0;
    bool revoked = false;
    std::string permitted{}, behalf{};  ///< of an impersonation
  };
  std::int64_t checked_delegation(std::int64_t life_s) const;
  std::string checked_audience(const std::string& audience) const;
  std::string checked_scope(const std::string& subject, const std::string& scope) const;
  Client checked_client(const std::string& client, bool confidential) const;
  std::string access_token(const Grant& grant, const std::string& scope, const std::string& audience,
                           std::int64_t& expires_in_s) const;
  Tokens tokens(const Grant& grant, const std::string& scope, const std::string& audience, std::string refresh) const;
  static std::optional<Grant> find_grant(store::Transaction& t, const std::string& id);
  static void insert_grant(store::Transaction& t, const Grant& grant, std::int64_t now_s);
  static RevocationList::Entry insert_revoked(store::Transaction& t, const std::string& id, std::int64_t until_s);
  RevocationList::Entry revoke_in(store::Transaction& t, const std::string& grant) const;

  Directory& directory_;
  KeyRing& keys_;
  IssuerOptions options_;
  UnixClock clock_;
  Verifier verifier_;
};

}  // namespace farfield::services::auth
