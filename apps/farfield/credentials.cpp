#include "apps/farfield/credentials.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <nlohmann/json.hpp>

#include "farfield/core/system_error.hpp"
#include "farfield/io/atomic_file.hpp"
#include "farfield/net/tls.hpp"
#include "farfield/net/url.hpp"

namespace farfield::apps {
namespace {
using core::Error;
using core::ErrorCode;
using nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kClient = "farfield-cli";
constexpr std::int64_t kMargin_s = 60, kLargestFile = 1 << 20;

std::int64_t now_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

net::ClientResponse post_form(const Remote& remote, const std::string& target, const net::QueryFields& fields,
                              const std::stop_token& stop = {}) {
  net::Client client(remote.origin, {.trust = {remote.authority}});
  return client.send({.method = "POST",
                      .target = target,
                      .headers = {{"Content-Type", "application/x-www-form-urlencoded"}},
                      .body = net::format_query(fields)},
                     stop);
}

/// The answer's JSON; {} where it is none.
json object_of(const net::ClientResponse& response) {
  auto body = json::parse(response.body, nullptr, false);
  return body.is_object() ? body : json::object();
}

std::string text(const json& object, const char* name) {
  const auto it = object.find(name);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

/// Access and refresh token of a token endpoint's answer. An answer that is none (of a proxy's page, say) must not
/// replace what is known.
std::pair<std::string, std::string> tokens_of(const json& body, const Remote& remote) {
  auto tokens = std::pair(text(body, "access_token"), text(body, "refresh_token"));
  if (tokens.first.empty() || tokens.second.empty())
    throw Error(ErrorCode::corrupt_data, "the answer of " + remote.origin + " holds no tokens");
  return tokens;
}

std::int64_t number(const json& object, const char* name, std::int64_t otherwise) {
  const auto it = object.find(name);
  return it != object.end() && it->is_number_integer() ? it->get<std::int64_t>() : otherwise;
}

Error oauth_failure(const net::ClientResponse& response, const std::string& what) {
  const auto body = object_of(response);
  if (const auto why = text(body, "error_description"); !why.empty())
    return {response.status == 401 ? ErrorCode::unauthenticated : ErrorCode::invalid_argument,
            fmt::format("{}: {}", what, why)};
  return net::status_error(response, what);
}

Error not_logged_in(const std::string& origin) {
  return {ErrorCode::unauthenticated, origin.empty() ? "not logged in: farfield login URL"
                                                     : fmt::format("not logged in: farfield login {}", origin)};
}

/// One process of the user at a time.
class Lock {
public:
  explicit Lock(const fs::path& folder) {
    std::error_code error;
    fs::create_directories(folder, error);
    if (!error) fs::permissions(folder, fs::perms::owner_all, error);
    if (error) throw core::system_error(error.value(), "cannot use the folder " + folder.string());
    const auto path = folder / "credentials.lock";
    descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (descriptor_ < 0 || ::flock(descriptor_, LOCK_EX) != 0)
      throw core::system_error(errno, "cannot lock " + path.string());
  }
  ~Lock() { ::close(descriptor_); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

private:
  int descriptor_ = -1;
};

json load(const fs::path& path) {
  if (!fs::exists(path)) return {{"services", json::object()}, {"last", ""}};
  net::check_private(path);
  const auto bytes = io::read_file(path, kLargestFile);
  auto all = json::parse(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()), nullptr, false);
  if (!all.is_object() || !all.contains("services") || !all["services"].is_object())
    throw Error(ErrorCode::corrupt_data, "no credentials").at(path.string());
  return all;
}

void save(const fs::path& path, const json& all) {
  io::AtomicFile file(path);
  fs::permissions(file.temporary(), fs::perms::owner_read | fs::perms::owner_write);
  file.write(all.dump(2) + "\n");
  file.commit();
}

void put(json& all, const Remote& remote, const std::string& access, const std::string& refresh,
         std::int64_t expires_in_s) {
  all["services"][remote.origin] = {{"authority", remote.authority.string()},
                                    {"access_token", access},
                                    {"refresh_token", refresh},
                                    {"expires", now_s() + expires_in_s}};
}
}  // namespace

fs::path credentials_folder() {
  if (const char* xdg = std::getenv("XDG_CONFIG_HOME"); xdg != nullptr && *xdg != '\0')
    return fs::path(xdg) / "farfield";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0')
    return fs::path(home) / ".config" / "farfield";
  throw Error(ErrorCode::invalid_argument, "neither XDG_CONFIG_HOME nor HOME is set");
}

Remote Credentials::remote(const std::string& origin) const {
  const auto all = load(file());
  const std::string wanted = origin.empty() ? text(all, "last") : origin;
  const auto it = all["services"].find(wanted);
  if (it == all["services"].end()) throw not_logged_in(wanted);
  return {wanted, text(*it, "authority")};
}

void Credentials::keep(const Remote& remote, const std::string& access, const std::string& refresh,
                       std::int64_t expires_in_s) {
  const Lock lock(folder_);
  auto all = load(file());
  put(all, remote, access, refresh, expires_in_s);
  all["last"] = remote.origin;
  save(file(), all);
}

std::string Credentials::access_token(const Remote& remote) {
  const Lock lock(folder_);
  auto all = load(file());
  const auto it = all["services"].find(remote.origin);
  if (it == all["services"].end()) throw not_logged_in(remote.origin);
  if (number(*it, "expires", 0) - now_s() >= kMargin_s) return text(*it, "access_token");
  const auto response = post_form(
      remote, "/oauth/token",
      {{"grant_type", "refresh_token"}, {"client_id", kClient}, {"refresh_token", text(*it, "refresh_token")}});
  const auto body = object_of(response);
  if (response.status == 400 && text(body, "error") == "invalid_grant")
    throw Error(ErrorCode::unauthenticated,
                fmt::format("{}: log in again (farfield login {})", text(body, "error_description"), remote.origin));
  if (!response.ok()) throw oauth_failure(response, "refreshing the login to " + remote.origin);
  const auto [access, refreshed] = tokens_of(body, remote);
  put(all, remote, access, refreshed, number(body, "expires_in", 0));
  save(file(), all);
  return access;
}

void Credentials::forget(const Remote& remote) {
  const Lock lock(folder_);
  auto all = load(file());
  const auto it = all["services"].find(remote.origin);
  if (it == all["services"].end()) throw not_logged_in(remote.origin);
  const std::string refresh = text(*it, "refresh_token");
  all["services"].erase(it);
  if (text(all, "last") == remote.origin) all["last"] = "";
  save(file(), all);
  const auto response = post_form(remote, "/oauth/revoke", {{"client_id", kClient}, {"token", refresh}});
  if (!response.ok()) throw oauth_failure(response, "ending the session at " + remote.origin);
}

void log_in(Credentials& credentials, const Remote& remote, const std::string& scope,
            const std::function<void(const std::string&, const std::string&)>& show, const std::stop_token& stop) {
  const auto begun = post_form(remote, "/oauth/device_authorization", {{"client_id", kClient}, {"scope", scope}}, stop);
  if (!begun.ok()) throw oauth_failure(begun, "logging in to " + remote.origin);
  const auto device = object_of(begun);
  show(text(device, "verification_uri"), text(device, "user_code"));
  std::int64_t interval_s = std::clamp<std::int64_t>(number(device, "interval", 5), 1, 60);
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  for (;;) {
    wake.wait_for(lock, stop, std::chrono::seconds(interval_s), [] { return false; });
    if (stop.stop_requested()) throw Error(ErrorCode::cancelled, "cancelled");
    const auto response = post_form(remote, "/oauth/token",
                                    {{"grant_type", "urn:ietf:params:oauth:grant-type:device_code"},
                                     {"client_id", kClient},
                                     {"device_code", text(device, "device_code")}},
                                    stop);
    const auto body = object_of(response);
    if (response.ok()) {
      const auto [access, refresh] = tokens_of(body, remote);
      credentials.keep(remote, access, refresh, number(body, "expires_in", 0));
      return;
    }
    const std::string error = text(body, "error");
    if (error == "slow_down") interval_s += 5;
    else if (error == "access_denied") throw Error(ErrorCode::forbidden, "the login was refused");
    else if (error == "expired_token") throw Error(ErrorCode::timeout, "the code has expired: try again");
    else if (error != "authorization_pending") throw oauth_failure(response, "logging in to " + remote.origin);
  }
}

}  // namespace farfield::apps
