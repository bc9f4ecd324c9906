#include "apps/farfield/agent_identity.hpp"

#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "farfield/core/clock.hpp"
#include "farfield/net/tls.hpp"

namespace farfield::apps {

using core::Error;
using core::ErrorCode;
using nlohmann::json;

ServiceIdentity::ServiceIdentity(Remote remote, std::string id, const std::filesystem::path& secret_file,
                                 std::string scope)
    : remote_(std::move(remote)), id_(std::move(id)), scope_(std::move(scope)) {
  net::check_private(secret_file);
  std::ifstream in(secret_file);
  if (!(in >> secret_))
    throw Error(ErrorCode::not_found, fmt::format("there is no secret in {}", secret_file.string()));
}

std::string ServiceIdentity::token() {
  const std::lock_guard lock(mutex_);
  const double now_s = core::SteadyClock().now_s();
  if (!token_.empty() && now_s < good_until_s_) return token_;
  net::ClientOptions options{.trust = {.authorities = remote_.authority}};
  options.idle_timeout_s = 10;  // who stops the daemon waits for this
  net::Client client(remote_.origin, options);
  const auto response = client.send(
      {.method = "POST",
       .target = "/oauth/token",
       .headers = {{"Content-Type", "application/x-www-form-urlencoded"}},
       .body = net::format_query(
           {{"grant_type", "client_credentials"}, {"client_id", id_}, {"client_secret", secret_}, {"scope", scope_}})});
  const std::string who = fmt::format("{} as service identity {}", remote_.origin, id_);
  if (response.status == 400 || response.status == 401)
    throw Error(ErrorCode::unauthenticated, fmt::format("{}: refused; look at identity, secret and scope", who));
  if (!response.ok()) throw net::status_error(response, who);
  const json body = json::parse(response.body, nullptr, false);
  const auto token = body.is_object() ? body.find("access_token") : body.end();
  const auto life = body.is_object() ? body.find("expires_in") : body.end();
  if (token == body.end() || !token->is_string() || life == body.end() || !life->is_number_integer())
    throw Error(ErrorCode::corrupt_data, fmt::format("{}: the answer holds no token", who));
  token_ = token->get<std::string>();
  good_until_s_ = now_s + static_cast<double>(life->get<std::int64_t>()) / 2;
  return token_;
}

}  // namespace farfield::apps
