#include "farfield/services/auth/issuer.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "farfield/core/log.hpp"
#include "farfield/services/auth/secret.hpp"

namespace farfield::services::auth {
namespace {
using core::Error;
using core::ErrorCode;
using store::Transaction;

constexpr std::int64_t kLeeway_s = 30;
constexpr std::int64_t kGrace_s = 60;  ///< for a client that lost the answer to its refresh token

ErrorCode code_of(std::string_view error) {
  if (error == "invalid_client") return ErrorCode::unauthenticated;
  if (error == "access_denied") return ErrorCode::forbidden;
  return ErrorCode::invalid_argument;
}

/// RFC 7636: 43 to 128 unreserved characters.
bool valid_verifier(std::string_view text) {
  return text.size() >= 43 && text.size() <= 128 && std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '.' ||
                  c == '_' || c == '~';
         });
}

/// Letters as a person types them: "bcdf ghjk" is "BCDF-GHJK".
std::string normal_user_code(const std::string& typed) {
  std::string code;
  for (const char c : typed) {
    if (c >= 'a' && c <= 'z') code += static_cast<char>(c - 'a' + 'A');
    else if (c >= 'A' && c <= 'Z') code += c;
    if (code.size() == 4) code += '-';
    if (code.size() > 9) break;
  }
  return code;
}

void granted(std::string_view how, const std::string& subject, const std::string& client, const std::string& scope) {
  core::log(core::LogLevel::info, "token_granted",
            {{"grant_type", std::string(how)}, {"subject", subject}, {"client", client}, {"scope", scope}});
}
}  // namespace

OAuthError::OAuthError(std::string error, std::string description)
    : core::Error(code_of(error), std::move(description)), error_(std::move(error)) {}

Issuer::Issuer(Directory& directory, KeyRing& keys, IssuerOptions options, UnixClock clock)
    : directory_(directory),
      keys_(keys),
      options_(std::move(options)),
      clock_(std::move(clock)),
      verifier_({options_.issuer, {options_.issuer}, 0}, clock_) {
  const auto positive = [](std::string_view what, std::int64_t value, std::int64_t most) {
    if (value < 1 || value > most)
      throw Error(ErrorCode::invalid_argument, fmt::format("{} {} s must be 1 to {} s", what, value, most));
  };
  positive("access token life", options_.access_life_s, kLongestLife_s);
  positive("refresh token life", options_.refresh_life_s, 366LL * 86400);
  positive("code life", options_.code_life_s, 600);
  positive("device code life", options_.device_life_s, 3600);
  positive("device polling interval", options_.device_interval_s, 60);
  if (options_.issuer.empty() || options_.issuer.back() == '/')
    throw Error(ErrorCode::invalid_argument,
                fmt::format("issuer {:?} must be a URL without a slash at its end", options_.issuer));
  core::value_or_throw(verifier_.set_keys(keys_.jwks()));
  for (const auto row :
       directory_.database().query("SELECT number, token, until_s FROM auth_revoked WHERE until_s >= ?", clock_()))
    verifier_.revocations().add({row.integer(0), row.text(1), row.integer(2)});
}

void Issuer::rotate_keys() {
  keys_.rotate();
  core::value_or_throw(verifier_.set_keys(keys_.jwks()));
}

std::string Issuer::checked_audience(const std::string& audience) const {
  if (audience.empty() || audience == options_.issuer) return options_.issuer;
  const bool known =
      std::find(options_.audiences.begin(), options_.audiences.end(), audience) != options_.audiences.end();
  if (!known && !(options_.also_audience && options_.also_audience(audience)))
    throw OAuthError("invalid_target", fmt::format("no tokens are issued for the audience {:?}", audience));
  return audience;
}

std::string Issuer::checked_scope(const std::string& subject, const std::string& scope) const {
  const auto scopes = parse_scopes(scope);
  if (!scopes) throw OAuthError("invalid_scope", scopes.error().message());
  for (const auto& one : *scopes)
    if (!directory_.permits(subject, one))
      throw OAuthError("invalid_scope", fmt::format("{} is not allowed {}", subject, one.text()));
  return format_scopes(*scopes);
}

Client Issuer::checked_client(const std::string& client, bool confidential) const {
  const auto found = directory_.client(client);
  if (!found || found->confidential != confidential)
    throw OAuthError("unauthorized_client", fmt::format("client {:?} cannot use this grant", client.substr(0, 100)));
  return *found;
}

std::optional<Issuer::Grant> Issuer::find_grant(Transaction& t, const std::string& id) {
  const auto rows =
      t.query("SELECT subject, client, scope, expires_s, revoked, permitted, behalf FROM auth_grant WHERE id = ?", id);
  if (rows.empty()) return std::nullopt;
  const auto row = rows[0];
  return Grant{id,          row.text(0), row.text(1), row.text(2), row.integer(3), row.integer(4) != 0,
               row.text(5), row.text(6)};
}

void Issuer::insert_grant(Transaction& t, const Grant& grant, std::int64_t now_s) {
  t.execute(
      "INSERT INTO auth_grant(id, subject, client, scope, created_s, expires_s, revoked, permitted, behalf) "
      "VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?)",
      grant.id, grant.subject, grant.client, grant.scope, now_s, grant.expires_s, grant.permitted, grant.behalf);
}

RevocationList::Entry Issuer::insert_revoked(Transaction& t, const std::string& id, std::int64_t until_s) {
  const auto rows = t.query("INSERT INTO auth_revoked(token, until_s) VALUES (?, ?) RETURNING number", id, until_s);
  return {rows[0].integer(0), id, until_s};
}

RevocationList::Entry Issuer::revoke_in(Transaction& t, const std::string& grant) const {
  t.execute("UPDATE auth_grant SET revoked = 1 WHERE id = ?", grant);
  return insert_revoked(t, grant, clock_() + kLongestLife_s + kLeeway_s);
}

std::string Issuer::access_token(const Grant& grant, const std::string& scope, const std::string& audience,
                                 std::int64_t& expires_in_s) const {
  Claims claims;
  claims.issuer = options_.issuer;
  claims.subject = grant.subject;
  claims.audience = audience;
  claims.client = grant.client;
  claims.id = random_hex(16);
  claims.grant = grant.id;
  claims.actor = grant.behalf;
  claims.issued_s = clock_();
  claims.expires_s = std::min(claims.issued_s + options_.access_life_s, grant.expires_s);
  claims.scopes = core::value_or_throw(parse_scopes(scope));
  expires_in_s = claims.expires_s - claims.issued_s;
  return keys_.sign(claims_json(claims));
}

Tokens Issuer::tokens(const Grant& grant, const std::string& scope, const std::string& audience,
                      std::string refresh) const {
  Tokens out;
  out.access = access_token(grant, scope, audience, out.expires_in_s);
  out.refresh = std::move(refresh);
  out.scope = scope;
  return out;
}

DeviceAuthorization Issuer::begin_device(const std::string& client, const std::string& scope) {
  checked_client(client, false);
  const auto scopes = parse_scopes(scope);
  if (!scopes) throw OAuthError("invalid_scope", scopes.error().message());
  DeviceAuthorization out{random_hex(32), random_user_code(), options_.device_life_s, options_.device_interval_s};
  directory_.database().write([&](Transaction& t) {
    t.execute(
        "INSERT INTO auth_device(hash, user_code, client, scope, state, subject, expires_s, interval_s, polled_s) "
        "VALUES (?, ?, ?, ?, 'pending', NULL, ?, ?, 0)",
        digest(out.device_code), out.user_code, client, format_scopes(*scopes), clock_() + options_.device_life_s,
        options_.device_interval_s);
  });
  return out;
}

std::optional<DeviceRequest> Issuer::device_request(const std::string& user_code) const {
  const auto rows = directory_.database().query(
      "SELECT client, scope FROM auth_device WHERE user_code = ? AND state = 'pending' AND expires_s > ?",
      normal_user_code(user_code), clock_());
  if (rows.empty()) return std::nullopt;
  return DeviceRequest{rows[0].text(0), rows[0].text(1)};
}

bool Issuer::decide_device(const std::string& user_code, const std::string& subject, bool approve) {
  const bool decided = directory_.database().write([&](Transaction& t) {
    return t.execute(
               "UPDATE auth_device SET state = ?, subject = ? WHERE user_code = ? AND state = 'pending' AND expires_s "
               "> ?",
               approve ? "approved" : "denied", subject, normal_user_code(user_code), clock_()) > 0;
  });
  core::log(core::LogLevel::info, "device_decided",
            {{"subject", subject}, {"approved", approve ? "true" : "false"}, {"found", decided ? "true" : "false"}});
  return decided;
}

Tokens Issuer::device_tokens(const std::string& client, const std::string& device_code, const std::string& audience) {
  const std::string target = checked_audience(audience), hash = digest(device_code), refresh = random_hex(32);
  const std::int64_t now_s = clock_();
  // What is decided is written down even where the answer is an error.
  struct Outcome {
    std::string error, description;
    Grant grant;
  };
  // What can be refused is refused before the code is spent: the user need not be asked again for a passing reason.
  const auto decided = directory_.database().query(
      "SELECT subject, scope FROM auth_device WHERE hash = ? AND client = ? AND state = "
      "'approved'",
      hash, client);
  if (!decided.empty()) {
    if (!directory_.active(decided[0].text(0))) throw OAuthError("access_denied", "the user is disabled");
    checked_scope(decided[0].text(0), decided[0].text(1));
  }
  const auto outcome = directory_.database().write([&](Transaction& t) -> Outcome {
    const auto rows = t.query(
        "SELECT client, scope, state, subject, expires_s, interval_s, polled_s FROM auth_device WHERE hash = ?", hash);
    if (rows.empty() || rows[0].text(0) != client) return {"invalid_grant", "the device code is unknown", {}};
    const auto row = rows[0];
    if (row.integer(4) <= now_s) return {"expired_token", "the device code has expired: start again", {}};
    if (row.text(2) == "denied") return {"access_denied", "the user has refused", {}};
    if (row.text(2) == "used") return {"invalid_grant", "the device code was used already", {}};
    if (row.text(2) == "pending") {
      const bool hasty = now_s - row.integer(6) < row.integer(5);
      t.execute("UPDATE auth_device SET polled_s = ?, interval_s = interval_s + ? WHERE hash = ?", now_s, hasty ? 5 : 0,
                hash);
      return {hasty ? "slow_down" : "authorization_pending", "the user has not decided yet", {}};
    }
    t.execute("UPDATE auth_device SET state = 'used' WHERE hash = ?", hash);
    Grant grant{random_hex(16), row.text(3), client, row.text(1), now_s + options_.refresh_life_s};
    insert_grant(t, grant, now_s);
    t.execute("INSERT INTO auth_refresh(hash, grant_id, used) VALUES (?, ?, 0)", digest(refresh), grant.id);
    return {"", "", grant};
  });
  if (!outcome.error.empty()) throw OAuthError(outcome.error, outcome.description);
  const std::string scope = checked_scope(outcome.grant.subject, outcome.grant.scope);
  granted("device_code", outcome.grant.subject, client, scope);
  return tokens(outcome.grant, scope, target, refresh);
}

void Issuer::check_redirect(const std::string& client, const std::string& redirect) const {
  const auto found = directory_.client(client);
  if (!found || found->confidential)
    throw Error(ErrorCode::invalid_argument, fmt::format("there is no client {:?}", client.substr(0, 100)));
  if (std::find(found->redirects.begin(), found->redirects.end(), redirect) == found->redirects.end())
    throw Error(ErrorCode::invalid_argument, fmt::format("client {} is not registered with this redirect URI", client));
}

void Issuer::check_code_request(const CodeRequest& request) const {
  if (request.challenge.empty()) throw OAuthError("invalid_request", "a code challenge is required (PKCE)");
  if (request.method != "S256") throw OAuthError("invalid_request", "the code challenge method must be S256");
  if (request.challenge.size() != 43 || !valid_verifier(request.challenge))
    throw OAuthError("invalid_request", "the code challenge is not BASE64URL of a SHA-256");
  if (const auto scopes = parse_scopes(request.scope); !scopes)
    throw OAuthError("invalid_scope", scopes.error().message());
}

std::string Issuer::begin_code(const CodeRequest& request, const std::string& subject) {
  check_redirect(request.client, request.redirect);
  check_code_request(request);
  const std::string scope = checked_scope(subject, request.scope), code = random_hex(32);
  directory_.database().write([&](Transaction& t) {
    t.execute(
        "INSERT INTO auth_code(hash, client, subject, redirect, challenge, scope, expires_s, grant_id) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
        digest(code), request.client, subject, request.redirect, request.challenge, scope,
        clock_() + options_.code_life_s);
  });
  return code;
}

Tokens Issuer::code_tokens(const std::string& client, const std::string& code, const std::string& redirect,
                           const std::string& verifier, const std::string& audience) {
  checked_client(client, false);
  const std::string target = checked_audience(audience), hash = digest(code), refresh = random_hex(32);
  const std::int64_t now_s = clock_();
  struct Outcome {
    std::string error;
    Grant grant;
    std::optional<RevocationList::Entry> revoked;
  };
  const auto unspent = directory_.database().query(
      "SELECT subject, scope FROM auth_code WHERE hash = ? AND client = ? AND grant_id IS NULL", hash, client);
  if (!unspent.empty()) {
    if (!directory_.active(unspent[0].text(0))) throw OAuthError("access_denied", "the user is disabled");
    checked_scope(unspent[0].text(0), unspent[0].text(1));
  }
  const auto outcome = directory_.database().write([&](Transaction& t) -> Outcome {
    const auto rows = t.query(
        "SELECT client, subject, redirect, challenge, scope, expires_s, grant_id FROM auth_code WHERE hash = ?", hash);
    if (rows.empty()) return {"the code is unknown", {}, {}};
    const auto row = rows[0];
    if (!row.is_null(6)) {
      // Somebody else has this code, too: nothing that came of it is to be trusted.
      return {"the code was used already", {}, revoke_in(t, row.text(6))};
    }
    if (row.integer(5) <= now_s) return {"the code has expired", {}, {}};
    if (row.text(0) != client) return {"the code belongs to another client", {}, {}};
    if (row.text(2) != redirect) return {"the redirect URI is another one", {}, {}};
    if (!valid_verifier(verifier) || !equal_secrets(pkce_challenge(verifier), row.text(3)))
      return {"the code verifier does not match the challenge", {}, {}};
    Grant grant{random_hex(16), row.text(1), client, row.text(4), now_s + options_.refresh_life_s};
    insert_grant(t, grant, now_s);
    t.execute("INSERT INTO auth_refresh(hash, grant_id, used) VALUES (?, ?, 0)", digest(refresh), grant.id);
    t.execute("UPDATE auth_code SET grant_id = ? WHERE hash = ?", grant.id, hash);
    return {"", grant, {}};
  });
  if (outcome.revoked) {
    verifier_.revocations().add(*outcome.revoked);
    core::log(core::LogLevel::warning, "code_reused", {{"client", client}, {"grant", outcome.revoked->id}});
  }
  if (!outcome.error.empty()) throw OAuthError("invalid_grant", outcome.error);
  const std::string scope = checked_scope(outcome.grant.subject, outcome.grant.scope);
  granted("authorization_code", outcome.grant.subject, client, scope);
  return tokens(outcome.grant, scope, target, refresh);
}

Tokens Issuer::client_tokens(const std::string& service, const std::string& scope, const std::string& audience) {
  checked_client(service, true);
  const std::string target = checked_audience(audience), subject = service_subject(service);
  const std::string allowed = checked_scope(subject, scope);
  const std::int64_t now_s = clock_();
  Grant grant{random_hex(16), subject, service, allowed, now_s + options_.access_life_s};
  directory_.database().write([&](Transaction& t) { insert_grant(t, grant, now_s); });
  granted("client_credentials", subject, service, allowed);
  return tokens(grant, allowed, target, {});
}

Tokens Issuer::refresh(const std::string& client, const std::string& token, const std::string& scope,
                       const std::string& audience) {
  const std::string target = checked_audience(audience), hash = digest(token), next = random_hex(32);
  const std::int64_t now_s = clock_();
  const auto wanted = parse_scopes(scope);
  if (!wanted) throw OAuthError("invalid_scope", wanted.error().message());
  // What can be refused is refused before the token is spent: it is the only one that the client has.
  const auto before = directory_.database().read([&](Transaction& t) -> std::optional<Grant> {
    const auto rows = t.query("SELECT grant_id FROM auth_refresh WHERE hash = ?", hash);
    return rows.empty() ? std::nullopt : find_grant(t, rows[0].text(0));
  });
  if (before && before->client == client && !before->revoked) {
    if (!directory_.active(before->subject)) throw OAuthError("invalid_grant", "the user is disabled");
    if (!wanted->empty()) checked_scope(before->subject, format_scopes(*wanted));
  }
  struct Outcome {
    std::string error, description;
    Grant grant;
    std::optional<RevocationList::Entry> revoked;
  };
  const auto outcome = directory_.database().write([&](Transaction& t) -> Outcome {
    const auto rows =
        t.query("SELECT grant_id, used, used_s, COALESCE(successor, '') FROM auth_refresh WHERE hash = ?", hash);
    if (rows.empty()) return {"invalid_grant", "the refresh token is unknown", {}, {}};
    const auto grant = find_grant(t, rows[0].text(0));
    if (!grant || grant->client != client)
      return {"invalid_grant", "the refresh token belongs to another client", {}, {}};
    const std::string successor = rows[0].text(3);
    const bool used = rows[0].integer(1) != 0;
    // A client that was killed before it had stored the successor shows the same one again: once, soon, and while
    // nobody has used the successor, which is spent with it.
    const bool again = used && !successor.empty() && now_s - rows[0].integer(2) <= kGrace_s &&
                       !t.query("SELECT 1 FROM auth_refresh WHERE hash = ? AND used = 0", successor).empty();
    if (used && !again && !grant->revoked)
      return {"invalid_grant", "the refresh token was used already", {}, revoke_in(t, grant->id)};
    if (grant->revoked) return {"invalid_grant", "the refresh token was revoked", {}, {}};
    if (grant->expires_s <= now_s) return {"invalid_grant", "the refresh token has expired", {}, {}};
    const auto held = core::value_or_throw(parse_scopes(grant->scope));
    for (const auto& one : *wanted)
      if (!covers(held, one))
        return {"invalid_scope", fmt::format("{} is not part of what was granted", one.text()), {}, {}};
    if (again) t.execute("UPDATE auth_refresh SET used = 1 WHERE hash = ?", successor);
    t.execute("UPDATE auth_refresh SET used = 1, used_s = ?, successor = ? WHERE hash = ?", now_s,
              again ? std::optional<std::string>() : digest(next), hash);
    t.execute("INSERT INTO auth_refresh(hash, grant_id, used) VALUES (?, ?, 0)", digest(next), grant->id);
    return {"", "", *grant, {}};
  });
  if (outcome.revoked) {
    verifier_.revocations().add(*outcome.revoked);
    core::log(core::LogLevel::warning, "refresh_token_reused", {{"client", client}, {"grant", outcome.revoked->id}});
  }
  if (!outcome.error.empty()) throw OAuthError(outcome.error, outcome.description);
  if (!directory_.active(outcome.grant.subject)) throw OAuthError("invalid_grant", "the user is disabled");
  // Roles may have changed since: what the subject lost is left out, what was asked for and lost is refused.
  std::string allowed;
  if (wanted->empty()) {
    std::vector<Scope> still;
    for (const auto& one : core::value_or_throw(parse_scopes(outcome.grant.scope)))
      if (directory_.permits(outcome.grant.subject, one)) still.push_back(one);
    allowed = format_scopes(still);
  } else {
    allowed = checked_scope(outcome.grant.subject, format_scopes(*wanted));
  }
  granted("refresh_token", outcome.grant.subject, client, allowed);
  return tokens(outcome.grant, allowed, target, next);
}

void Issuer::revoke(const std::string& client, const std::string& token) {
  const std::string hash = digest(token);
  // An access token for any audience of this issuer, expired or not: its claims count once the signature is right.
  const auto claims = verify_for_any_audience(token);
  const auto entry = directory_.database().write([&](Transaction& t) -> std::optional<RevocationList::Entry> {
    if (claims) {
      if (claims->client != client) return std::nullopt;
      return insert_revoked(t, claims->id, claims->expires_s + kLeeway_s);
    }
    const auto rows = t.query("SELECT grant_id FROM auth_refresh WHERE hash = ?", hash);
    if (rows.empty()) return std::nullopt;
    const auto grant = find_grant(t, rows[0].text(0));
    if (!grant || grant->client != client || grant->revoked) return std::nullopt;
    return revoke_in(t, grant->id);
  });
  if (entry) verifier_.revocations().add(*entry);
  core::log(core::LogLevel::info, "token_revoked", {{"client", client}, {"found", entry ? "true" : "false"}});
}

void Issuer::revoke_grant(const std::string& grant) {
  const auto entry = directory_.database().write([&](Transaction& t) { return revoke_in(t, grant); });
  verifier_.revocations().add(entry);
  core::log(core::LogLevel::info, "grant_revoked", {{"grant", grant}});
}

void Issuer::revoke_subject(const std::string& subject) {
  const auto entries = directory_.database().write([&](Transaction& t) {
    std::vector<RevocationList::Entry> out;
    for (const auto row :
         t.query("SELECT id FROM auth_grant WHERE (subject = ? OR behalf = ?) AND revoked = 0 AND expires_s > ?",
                 subject, subject, clock_() - kLongestLife_s))
      out.push_back(revoke_in(t, row.text(0)));
    return out;
  });
  for (const auto& entry : entries) verifier_.revocations().add(entry);
  core::log(core::LogLevel::info, "subject_revoked",
            {{"subject", subject}, {"grants", std::to_string(entries.size())}});
}

void Issuer::revoke_unpermitted() {
  for (const auto row : directory_.database().query(
           "SELECT id, subject, permitted FROM auth_grant WHERE behalf <> '' AND revoked = 0 AND expires_s > ?",
           clock_() - kLongestLife_s))
    if (!directory_.may_act_as(row.text(2), row.text(1))) revoke_grant(row.text(0));
}

core::Result<Claims> Issuer::verify_for_any_audience(const std::string& token) const {
  std::vector<std::string> audiences = options_.audiences;
  audiences.push_back(options_.issuer);
  Verifier any({options_.issuer, audiences, 0}, clock_);
  core::value_or_throw(any.set_keys(keys_.jwks()));
  return any.verify(token);
}

Introspection Issuer::introspect(const std::string& token) const {
  auto claims = verify_for_any_audience(token);
  const auto& revoked = verifier_.revocations();
  if (!claims || revoked.contains(claims->id) || (!claims->grant.empty() && revoked.contains(claims->grant))) return {};
  return {true, std::move(*claims)};
}

std::int64_t Issuer::checked_delegation(std::int64_t life_s) const {
  if (life_s < 1 || life_s > options_.refresh_life_s)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("a delegation for {} s: it must be 1 to {} s", life_s, options_.refresh_life_s));
  return life_s;
}

std::string Issuer::delegate(const std::string& subject, const std::string& client, const std::string& scope,
                             std::int64_t life_s) {
  const std::int64_t now_s = clock_();
  Grant grant{random_hex(16), subject, client, checked_scope(subject, scope), now_s + checked_delegation(life_s)};
  directory_.database().write([&](Transaction& t) { insert_grant(t, grant, now_s); });
  granted("delegation", subject, client, grant.scope);
  return grant.id;
}

std::string Issuer::impersonate(const Impersonation& who, const std::string& client, std::int64_t life_s) {
  const std::int64_t now_s = clock_();
  Grant grant{random_hex(16), who.subject, client, std::string(kAllRights), now_s + checked_delegation(life_s)};
  grant.permitted = who.permitted;
  grant.behalf = who.behalf;
  const bool may = directory_.may_act_as(who.permitted, who.subject);
  core::log(may ? core::LogLevel::info : core::LogLevel::warning, "impersonation",
            {{"decision", may ? "allowed" : "denied"},
             {"subject", who.subject},
             {"permitted", who.permitted},
             {"on_behalf_of", who.behalf},
             {"client", client}});
  if (!may) throw Error(ErrorCode::forbidden, fmt::format("{} may not act as {}", who.permitted, who.subject));
  directory_.database().write([&](Transaction& t) { insert_grant(t, grant, now_s); });
  return grant.id;
}

std::string Issuer::mint(const std::string& id, const std::string& scope, const std::string& audience) {
  const std::string target = checked_audience(audience);
  const auto grant = directory_.database().read([&](Transaction& t) { return find_grant(t, id); });
  if (!grant) throw Error(ErrorCode::unauthenticated, "the delegation is unknown");
  if (grant->revoked) throw Error(ErrorCode::unauthenticated, "the delegation was revoked");
  if (grant->expires_s <= clock_()) throw Error(ErrorCode::unauthenticated, "the delegation is over");
  if (!grant->behalf.empty() &&
      !(directory_.may_act_as(grant->permitted, grant->subject) && directory_.active(grant->behalf))) {
    core::log(core::LogLevel::warning, "impersonation",
              {{"decision", "denied"},
               {"subject", grant->subject},
               {"permitted", grant->permitted},
               {"on_behalf_of", grant->behalf},
               {"scope", scope}});
    throw Error(ErrorCode::unauthenticated, fmt::format("{} may no longer act as {} on behalf of {}", grant->permitted,
                                                        grant->subject, grant->behalf));
  }
  const auto held = core::value_or_throw(parse_scopes(grant->scope));
  const auto wanted = core::value_or_throw(parse_scopes(scope.empty() ? grant->scope : scope));
  for (const auto& one : wanted) {
    if (!covers(held, one)) throw Error(ErrorCode::forbidden, fmt::format("{} is beyond the delegation", one.text()));
    if (!directory_.permits(grant->subject, one))
      throw Error(ErrorCode::forbidden, fmt::format("{} is not allowed {}", grant->subject, one.text()));
  }
  if (!grant->behalf.empty())
    core::log(core::LogLevel::info, "impersonation",
              {{"decision", "allowed"},
               {"subject", grant->subject},
               {"permitted", grant->permitted},
               {"on_behalf_of", grant->behalf},
               {"scope", format_scopes(wanted)}});
  std::int64_t expires_in_s = 0;
  return access_token(*grant, format_scopes(wanted), target, expires_in_s);
}

void Issuer::clean() {
  const std::int64_t now_s = clock_();
  directory_.database().write([&](Transaction& t) {
    t.execute("DELETE FROM auth_device WHERE expires_s < ?", now_s - 86400);
    // Codes stay as long as their reuse could be an attack on what came of them.
    t.execute("DELETE FROM auth_code WHERE expires_s < ?", now_s - options_.refresh_life_s);
    t.execute("DELETE FROM auth_refresh WHERE grant_id IN (SELECT id FROM auth_grant WHERE expires_s < ?)",
              now_s - 86400);
    t.execute("DELETE FROM auth_grant WHERE expires_s < ?", now_s - 86400);
    t.execute("DELETE FROM auth_revoked WHERE until_s < ?", now_s);
  });
  verifier_.revocations().forget(now_s);
}

}  // namespace farfield::services::auth
