// POST /oauth/... as RFC 6749, 7009, 7662 and 8628 have them; the key set and the metadata of RFC 8414.

#include <cjose/base64.h>

#include <cstdlib>
#include <map>

#include "farfield/net/event_stream.hpp"
#include "farfield/services/auth/http.hpp"
#include "farfield/services/auth/json.hpp"

namespace farfield::services::auth {
namespace {
using nlohmann::json;

constexpr const char* kDeviceGrant = "urn:ietf:params:oauth:grant-type:device_code";

/// The fields of a form; one that is given twice is refused (RFC 6749 section 3.1).
class Form {
public:
  explicit Form(const net::Request& request) {
    const std::string* type = request.headers.find("Content-Type");
    if (type == nullptr ||
        !net::equal_ignoring_case(net::trimmed(type->substr(0, type->find(';'))), "application/x-www-form-urlencoded"))
      throw OAuthError("invalid_request", "the body must be application/x-www-form-urlencoded");
    auto fields = net::parse_query(request.body);
    if (!fields) throw OAuthError("invalid_request", fields.error().message());
    for (auto& [name, value] : *fields)
      if (!fields_.emplace(name, std::move(value)).second)
        throw OAuthError("invalid_request", "a field is given twice");
  }
  std::string get(const std::string& name) const {
    const auto it = fields_.find(name);
    return it == fields_.end() ? std::string() : it->second;
  }
  std::string require(const std::string& name) const {
    auto value = get(name);
    if (value.empty()) throw OAuthError("invalid_request", "field " + name + " is missing");
    return value;
  }

private:
  std::map<std::string, std::string> fields_;
};

struct Asker {
  std::string id;
  bool confidential = false;
};

/// Who asks: a public client by its id, a confidential one by HTTP Basic or by client_secret. Throws `invalid_client`.
Asker authenticate(const net::Request& request, const Form& form, const Directory& directory) {
  const auto refuse = [] { return OAuthError("invalid_client", "the client is unknown or its secret is wrong"); };
  std::string id = form.get("client_id"), secret = form.get("client_secret");
  if (const std::string* field = request.headers.find("Authorization")) {
    constexpr std::string_view kBasic = "Basic ";
    if (!secret.empty() || !net::equal_ignoring_case(field->substr(0, kBasic.size()), kBasic)) throw refuse();
    const std::string_view coded = net::trimmed(std::string_view(*field).substr(kBasic.size()));
    std::uint8_t* bytes = nullptr;
    std::size_t length = 0;
    if (!cjose_base64_decode(coded.data(), coded.size(), &bytes, &length, nullptr)) throw refuse();
    const std::string both(reinterpret_cast<const char*>(bytes), length);
    std::free(bytes);
    const auto colon = both.find(':');
    if (colon == std::string::npos) throw refuse();
    const auto name = net::percent_decode(both.substr(0, colon), true),
               word = net::percent_decode(both.substr(colon + 1), true);
    if (!name || !word || word->empty() || (!id.empty() && id != *name)) throw refuse();
    id = *name;
    secret = *word;
  }
  if (id.find('\0') != std::string::npos) throw refuse();
  const auto client = directory.client(id);
  if (!client || client->confidential == secret.empty()) throw refuse();
  if (client->confidential && !directory.check_secret(id, secret)) throw refuse();
  return {id, client->confidential};
}

json token_response(const Tokens& tokens) {
  json out{{"access_token", tokens.access},
           {"token_type", "Bearer"},
           {"expires_in", tokens.expires_in_s},
           {"scope", tokens.scope}};
  if (!tokens.refresh.empty()) out["refresh_token"] = tokens.refresh;
  return out;
}

net::Response issue(const net::Request& request, Issuer& issuer) {
  const Form form(request);
  const auto asker = authenticate(request, form, issuer.directory());
  const std::string kind = form.require("grant_type"), audience = form.get("audience");
  if (kind == kDeviceGrant)
    return json_response(token_response(issuer.device_tokens(asker.id, form.require("device_code"), audience)));
  if (kind == "authorization_code")
    return json_response(token_response(issuer.code_tokens(asker.id, form.require("code"), form.require("redirect_uri"),
                                                           form.require("code_verifier"), audience)));
  if (kind == "refresh_token")
    return json_response(
        token_response(issuer.refresh(asker.id, form.require("refresh_token"), form.get("scope"), audience)));
  if (kind == "client_credentials")
    return json_response(token_response(issuer.client_tokens(asker.id, form.get("scope"), audience)));
  throw OAuthError("unsupported_grant_type", "this grant type is not known here");
}

net::Response begin_device(const net::Request& request, Issuer& issuer) {
  const Form form(request);
  const auto device = issuer.begin_device(form.require("client_id"), form.get("scope"));
  const std::string page = issuer.options().issuer + "/device";
  return json_response({{"device_code", device.device_code},
                        {"user_code", device.user_code},
                        {"verification_uri", page},
                        {"verification_uri_complete", page + "?code=" + device.user_code},
                        {"expires_in", device.expires_in_s},
                        {"interval", device.interval_s}});
}

net::Response introspect(const net::Request& request, Issuer& issuer) {
  const Form form(request);
  // Tokens must not be probed by anybody who likes to (RFC 7662 section 2.1).
  if (!authenticate(request, form, issuer.directory()).confidential)
    throw OAuthError("invalid_client", "only service identities may ask about tokens");
  const auto found = issuer.introspect(form.require("token"));
  if (!found.active) return json_response({{"active", false}});
  json out = json::parse(claims_json(found.claims));
  out["active"] = true;
  out["token_type"] = "Bearer";
  return json_response(out);
}

json revocation(const RevocationList::Entry& entry) {
  return {{"number", entry.number}, {"id", entry.id}, {"until", entry.until_s}};
}

/// The pushed list: all that is revoked now, then each as it happens.
net::Response follow_revocations(const net::Request& request, Access& access) {
  (void)access.admit(request);  // everybody with a good token: the ids say nothing about whom
  auto stream = std::make_shared<net::EventStream>(8 << 20);
  const auto send = [weak = std::weak_ptr(stream)](const RevocationList::Entry& entry) {
    if (const auto s = weak.lock()) s->send({revocation(entry).dump(), "revoked", std::to_string(entry.number)});
  };
  auto& list = access.issuer().verifier().revocations();
  // Listening begins before the past is sent: one may come twice, none is missed.
  stream->on_close([listening = list.listen(send)]() mutable { listening.reset(); });
  const std::string* last = request.headers.find("Last-Event-ID");
  const auto after = last == nullptr ? std::nullopt : net::parse_number(*last);
  for (const auto& entry : list.after(after ? static_cast<std::int64_t>(*after) : 0)) send(entry);
  stream->send({"{}", "ready", ""});
  return net::Response::event_stream(stream);
}
}  // namespace

void add_oauth_routes(net::Router& router, Access& access) {
  Issuer& issuer = access.issuer();
  router.post("/oauth/token", [&issuer](const net::Request& r) { return issue(r, issuer); });
  router.post("/oauth/device_authorization", [&issuer](const net::Request& r) { return begin_device(r, issuer); });
  router.post("/oauth/introspect", [&issuer](const net::Request& r) { return introspect(r, issuer); });
  router.post("/oauth/revoke", [&issuer](const net::Request& r) {
    const Form form(r);
    issuer.revoke(authenticate(r, form, issuer.directory()).id, form.require("token"));
    return json_response(json::object());
  });
  router.get("/oauth/jwks", [&issuer](const net::Request&) {
    auto response = net::Response::of(200, "application/json", issuer.keys().jwks());
    response.headers.add("Cache-Control", "public, max-age=300");  // half of what a new key is published ahead
    return response;
  });
  router.get("/oauth/revocations", [&access](const net::Request& r) { return follow_revocations(r, access); });
  const auto metadata = [&issuer](const net::Request&) {
    const std::string& at = issuer.options().issuer;
    return json_response(
        {{"issuer", at},
         {"authorization_endpoint", at + "/oauth/authorize"},
         {"token_endpoint", at + "/oauth/token"},
         {"device_authorization_endpoint", at + "/oauth/device_authorization"},
         {"revocation_endpoint", at + "/oauth/revoke"},
         {"introspection_endpoint", at + "/oauth/introspect"},
         {"jwks_uri", at + "/oauth/jwks"},
         {"grant_types_supported", {"authorization_code", "client_credentials", "refresh_token", kDeviceGrant}},
         {"response_types_supported", {"code"}},
         {"code_challenge_methods_supported", {"S256"}},
         {"token_endpoint_auth_methods_supported", {"none", "client_secret_basic", "client_secret_post"}},
         {"id_token_signing_alg_values_supported", {"ES256"}}});
  };
  router.get("/.well-known/openid-configuration", metadata);
  router.get("/.well-known/oauth-authorization-server", metadata);
}

void add_routes(net::Router& router, Access& access) {
  add_oauth_routes(router, access);
  add_page_routes(router, access);
  add_rest_routes(router, access);
}

net::Response json_error(const core::Error& error) {
  const auto& traits = core::traits(error.code());
  if (const auto* oauth = dynamic_cast<const OAuthError*>(&error)) {
    auto response = json_response({{"error", oauth->error()}, {"error_description", error.message()}},
                                  oauth->error() == "invalid_client" ? 401 : 400);
    if (response.status == 401) response.headers.add("WWW-Authenticate", "Basic realm=\"farfield\"");
    return response;
  }
  auto response = json_response(
      {{"error", {{"code", traits.name}, {"message", error.what()}, {"retry", traits.retryable}}}}, traits.http_status);
  if (response.status == 401) response.headers.add("WWW-Authenticate", "Bearer realm=\"farfield\"");
  return response;
}

}  // namespace farfield::services::auth
