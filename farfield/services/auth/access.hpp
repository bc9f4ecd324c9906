#pragma once
// Access at the service: the bearer token of a request -> who it is, and whether he may. Every decision is logged.

#include <string>

#include "farfield/net/message.hpp"
#include "farfield/net/router.hpp"
#include "farfield/services/auth/issuer.hpp"

namespace farfield::services::auth {

/// Who sent a request, as its token says.
struct Principal {
  std::string subject, client, grant;
  std::vector<Scope> scopes;
  std::string token{};         ///< the token's id, by which it alone can be revoked
  std::string actor{};         ///< on whose behalf it is done, where a service identity acts for somebody
  std::string user() const;  ///< "garcia" of "user:garcia"; empty for a service
};

/// Thread-safe.
class Access {
public:
  explicit Access(Issuer& issuer) : issuer_(issuer) {}

  /// Throws `unauthenticated`: no bearer token, or not a good one.
  Principal identify(const net::Request& request) const;
  /// The same for what everybody with a good token may do; logged as allowed.
  Principal admit(const net::Request& request) const;

  /// Throws `forbidden` unless both hold: the token's scopes cover it (the scope itself, or "farfield", which stands
  /// for all that the subject may do), and the subject may do it now.
  void require(const Principal& who, const Scope& what, const std::string& where) const;
  void require(const Principal& who, Action action, const std::string& experiment, const std::string& where) const;
  bool permits(const Principal& who, const Scope& what) const;

  /// A handler that runs only for those who may: `action` on the experiment that the path parameter `parameter` names.
  using Handler = std::function<net::Response(const net::Request&, const Principal&)>;
  net::Handler guard(Action action, std::string parameter, Handler handler) const;
  /// ... for everybody with a good token, as far as `word` ("farfield", "admin", a word of a service) goes.
  net::Handler guard(std::string word, Handler handler) const;

  Issuer& issuer() const { return issuer_; }

private:
  Issuer& issuer_;
};

}  // namespace farfield::services::auth
