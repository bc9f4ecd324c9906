#include "farfield/services/auth/token.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

namespace farfield::services::auth {
namespace {
using core::ErrorCode;
using nlohmann::json;

constexpr std::string_view kProfile = "scitoken:2.0";

tl::unexpected<core::Error> refuse(std::string why) {
  return core::failure(ErrorCode::unauthenticated, std::move(why));
}

std::string text(const json& claims, const char* name) {
  const auto it = claims.find(name);
  return it != claims.end() && it->is_string() ? it->get<std::string>() : std::string();
}

/// NumericDate of RFC 7519; fractions are cut.
std::optional<std::int64_t> date(const json& claims, const char* name) {
  constexpr double kFarFuture = 1e11;
  const auto it = claims.find(name);
  if (it == claims.end() || !it->is_number()) return std::nullopt;
  const double value = it->get<double>();
  if (!(value >= 0 && value < kFarFuture)) return std::nullopt;
  return static_cast<std::int64_t>(value);
}
}  // namespace

std::string claims_json(const Claims& claims) {
  json out{{"iss", claims.issuer},   {"sub", claims.subject},
           {"aud", claims.audience}, {"iat", claims.issued_s},
           {"nbf", claims.issued_s}, {"exp", claims.expires_s},
           {"jti", claims.id},       {"scope", format_scopes(claims.scopes)},
           {"ver", kProfile}};
  if (!claims.client.empty()) out["client_id"] = claims.client;
  if (!claims.grant.empty()) out["sid"] = claims.grant;
  if (!claims.actor.empty()) out["act"] = {{"sub", claims.actor}};
  return out.dump();
}

void RevocationList::add(const Entry& entry) {
  {
    const std::lock_guard lock(mutex_);
    auto& known = entries_[entry.id];
    known.until_s = std::max(known.until_s, entry.until_s);
    known.number = std::max(known.number, entry.number);
    known.id = entry.id;
    last_ = std::max(last_, entry.number);
  }
  // Not called with the lock held: a listener may end another one, or itself.
  std::vector<std::shared_ptr<const Listener>> listeners;
  {
    const std::lock_guard lock(listening_->mutex);
    for (const auto& [id, listener] : listening_->listeners) listeners.push_back(listener);
  }
  for (const auto& listener : listeners) (*listener)(entry);
}

bool RevocationList::contains(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  return entries_.contains(id);
}

void RevocationList::forget(std::int64_t now_s) {
  const std::lock_guard lock(mutex_);
  std::erase_if(entries_, [&](const auto& entry) { return entry.second.until_s < now_s; });
}

std::vector<RevocationList::Entry> RevocationList::after(std::int64_t number) const {
  std::vector<Entry> out;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, entry] : entries_)
      if (entry.number > number) out.push_back(entry);
  }
  std::sort(out.begin(), out.end(), [](const Entry& a, const Entry& b) { return a.number < b.number; });
  return out;
}

std::int64_t RevocationList::last() const {
  const std::lock_guard lock(mutex_);
  return last_;
}

std::shared_ptr<void> RevocationList::listen(std::function<void(const Entry&)> listener) {
  const std::lock_guard lock(listening_->mutex);
  const int id = listening_->next++;
  listening_->listeners[id] = std::make_shared<const Listener>(std::move(listener));
  return {nullptr, [listening = listening_, id](void*) {
            const std::lock_guard guard(listening->mutex);
            listening->listeners.erase(id);
          }};
}

core::Result<void> Verifier::set_keys(std::string_view jwks) {
  auto keys = PublicKeys::parse(jwks);
  if (!keys) return tl::unexpected(keys.error());
  const std::lock_guard lock(mutex_);
  keys_ = std::make_shared<const PublicKeys>(std::move(*keys));
  return {};
}

core::Result<Claims> Verifier::verify(std::string_view token) const { return verify_for_any(token, rules_.audiences); }

core::Result<Claims> Verifier::verify_for(std::string_view token, const std::string& audience) const {
  return verify_for_any(token, {audience});
}

core::Result<Claims> Verifier::verify_for_any(std::string_view token, const std::vector<std::string>& audiences) const {
  std::shared_ptr<const PublicKeys> keys;
  {
    const std::lock_guard lock(mutex_);
    keys = keys_;
  }
  const auto payload = keys->open(token);
  if (!payload) return tl::unexpected(payload.error());
  const json claims = json::parse(*payload, nullptr, false);
  if (!claims.is_object()) return refuse("the token's claims are no JSON object");

  Claims out;
  out.issuer = text(claims, "iss");
  if (out.issuer != rules_.issuer) return refuse("the token is from another issuer");
  const auto ours = [&](const json& value) {
    return value.is_string() &&
           std::find(audiences.begin(), audiences.end(), value.get_ref<const std::string&>()) != audiences.end();
  };
  const auto audience = claims.find("aud");
  if (audience == claims.end()) return refuse("the token names no audience");
  if (audience->is_array()) {
    const auto found = std::find_if(audience->begin(), audience->end(), ours);
    if (found != audience->end()) out.audience = found->get<std::string>();
  } else if (ours(*audience)) {
    out.audience = audience->get<std::string>();
  }
  if (out.audience.empty()) return refuse("the token is for another audience");

  const auto issued_s = date(claims, "iat"), expires_s = date(claims, "exp"), from_s = date(claims, "nbf");
  const std::int64_t now_s = clock_();
  if (!issued_s || !expires_s) return refuse("the token does not say from when until when it is good");
  out.issued_s = *issued_s;
  out.expires_s = *expires_s;
  if (now_s >= out.expires_s + rules_.leeway_s)
    return refuse(fmt::format("the token has expired {} s ago", now_s - out.expires_s));
  if (std::max(from_s.value_or(0), out.issued_s) > now_s + rules_.leeway_s) return refuse("the token is not good yet");
  if (out.expires_s - out.issued_s > kLongestLife_s)
    return refuse(fmt::format("the token lives longer than {} s", kLongestLife_s));

  out.subject = text(claims, "sub");
  out.id = text(claims, "jti");
  out.grant = text(claims, "sid");
  out.client = text(claims, "client_id");
  if (const auto act = claims.find("act"); act != claims.end()) out.actor = text(*act, "sub");
  if (out.subject.empty() || out.id.empty()) return refuse("the token names no subject or has no id");
  auto scopes = parse_scopes(text(claims, "scope"));
  if (!scopes) return refuse("the token's scope: " + scopes.error().message());
  out.scopes = std::move(*scopes);
  if (revocations_.contains(out.id) || (!out.grant.empty() && revocations_.contains(out.grant)))
    return refuse("the token was revoked");
  return out;
}

}  // namespace farfield::services::auth
