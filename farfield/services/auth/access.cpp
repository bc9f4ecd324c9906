#include "farfield/services/auth/access.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "farfield/core/log.hpp"

namespace farfield::services::auth {
namespace {
using core::Error;
using core::ErrorCode;

constexpr std::string_view kBearer = "Bearer ";

void decided(const Principal& who, const std::string& what, const std::string& where, std::string_view decision) {
  core::log(decision == "allowed" ? core::LogLevel::info : core::LogLevel::warning, "access",
            {{"decision", std::string(decision)},
             {"subject", who.subject},
             {"client", who.client},
             {"scope", what},
             {"where", where},
             {"on_behalf_of", who.actor}});
}
}  // namespace

std::string Principal::user() const { return subject.starts_with("user:") ? subject.substr(5) : std::string(); }

Principal Access::identify(const net::Request& request) const {
  const auto refuse = [&](const std::string& why) {
    core::log(core::LogLevel::warning, "access",
              {{"decision", "unauthenticated"},
               {"client_address", request.client},
               {"where", request.route},
               {"reason", why}});
    return Error(ErrorCode::unauthenticated, why);
  };
  if (request.headers.count("Authorization") != 1) throw refuse("a bearer token is needed");
  const std::string& field = *request.headers.find("Authorization");
  if (field.size() <= kBearer.size() || !net::equal_ignoring_case(field.substr(0, kBearer.size()), kBearer))
    throw refuse("a bearer token is needed");
  const auto claims = issuer_.verifier().verify(net::trimmed(std::string_view(field).substr(kBearer.size())));
  if (!claims) throw refuse(claims.error().message());
  return {claims->subject, claims->client, claims->grant, claims->scopes, claims->id, claims->actor};
}

Principal Access::admit(const net::Request& request) const {
  Principal who = identify(request);
  decided(who, "", request.method + " " + request.route, "allowed");
  return who;
}

bool Access::permits(const Principal& who, const Scope& what) const {
  return covers(who.scopes, what) && issuer_.directory().permits(who.subject, what);
}

void Access::require(const Principal& who, const Scope& what, const std::string& where) const {
  const bool allowed = permits(who, what);
  decided(who, what.text(), where, allowed ? "allowed" : "denied");
  if (!allowed) throw Error(ErrorCode::forbidden, fmt::format("{} is not allowed {}", who.subject, what.text()));
}

void Access::require(const Principal& who, Action action, const std::string& experiment,
                     const std::string& where) const {
  check_experiment(experiment);
  require(who, Scope{std::string(name(action)), experiment, {}}, where);
}

net::Handler Access::guard(Action action, std::string parameter, Handler handler) const {
  return [this, action, parameter = std::move(parameter), handler = std::move(handler)](const net::Request& request) {
    const Principal who = identify(request);
    require(who, action, request.parameter(parameter), request.method + " " + request.route);
    return handler(request, who);
  };
}

net::Handler Access::guard(std::string word, Handler handler) const {
  return [this, word = std::move(word), handler = std::move(handler)](const net::Request& request) {
    const Principal who = identify(request);
    require(who, Scope{word, {}, {}}, request.method + " " + request.route);
    return handler(request, who);
  };
}

}  // namespace farfield::services::auth
