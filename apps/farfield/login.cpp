// farfield login, logout, whoami

#include <fmt/format.h>

#include "apps/farfield/commands.hpp"
#include "apps/farfield/credentials.hpp"
#include "farfield/net/url.hpp"

namespace farfield::apps {
namespace {

struct LoginOptions {
  std::string authority, scope = "farfield";
};
const core::BoundSchema<LoginOptions>& login_schema() {
  static const auto schema = [] {
    core::BoundSchema<LoginOptions> s;
    s.add("authority", &LoginOptions::authority,
          "certificate (PEM) of the service or of its authority; none: the system's authorities");
    s.add("scope", &LoginOptions::scope, "what to ask for; farfield: all that you may do");
    return s;
  }();
  return schema;
}

Remote remote_of(const Arguments& arguments, const Credentials& credentials) {
  return credentials.remote(
      arguments.inputs.empty() ? std::string() : core::value_or_throw(net::parse_url(arguments.inputs[0])).origin());
}
}  // namespace

Command login_command() {
  return {{"login"},
          "log in to a service: shows a code to enter on its web page",
          {"URL"},
          {login_schema()},
          [](const Arguments& arguments, const Session& session) {
            const auto options = login_schema().make(arguments.given);
            const auto url = core::value_or_throw(net::parse_url(arguments.inputs.at(0)));
            Credentials credentials(credentials_folder());
            Remote remote{url.origin(), {}};
            if (!options.authority.empty()) remote.authority = std::filesystem::absolute(options.authority);
            log_in(
                credentials, remote, options.scope,
                [](const std::string& page, const std::string& code) {
                  fmt::print(stderr, "Open {} and enter the code {}\n", page, code);
                },
                session.stop);
            fmt::print("logged in to {}\n", remote.origin);
            return core::kExitOk;
          }};
}

Command logout_command() {
  return {{"logout"},
          "end the session at a service (the last one, if none is named)",
          {"[URL]"},
          {},
          [](const Arguments& arguments, const Session&) {
            Credentials credentials(credentials_folder());
            const Remote remote = remote_of(arguments, credentials);
            credentials.forget(remote);
            fmt::print("logged out of {}\n", remote.origin);
            return core::kExitOk;
          }};
}

Command whoami_command() {
  return {
      {"whoami"},
      "who one is to a service, as JSON",
      {"[URL]"},
      {},
      [](const Arguments& arguments, const Session& session) {
        Credentials credentials(credentials_folder());
        const Remote remote = remote_of(arguments, credentials);
        net::Client client(remote.origin, {.trust = {remote.authority}});
        const auto response = client.send(
            {.target = "/api/v1/whoami", .headers = {{"Authorization", "Bearer " + credentials.access_token(remote)}}},
            session.stop);
        if (!response.ok()) throw net::status_error(response, "GET " + remote.origin + "/api/v1/whoami");
        fmt::print("{}", response.body);
        return core::kExitOk;
      }};
}

}  // namespace farfield::apps
