#pragma once
// What `farfield login` keeps for the commands that talk to a service: a file of mode 0600 in a folder of the user's.

#include <filesystem>
#include <functional>
#include <stop_token>
#include <string>

#include "farfield/net/client.hpp"

namespace farfield::apps {

/// How a service is reached.
struct Remote {
  std::string origin;
  std::filesystem::path authority;  ///< whom to trust; empty: the system's authorities
};

class Credentials {
public:
  /// `folder`: usually $XDG_CONFIG_HOME/farfield.
  explicit Credentials(std::filesystem::path folder) : folder_(std::move(folder)) {}

  /// The service that was logged in to last, or the one named. Throws `unauthenticated`: there is none.
  Remote remote(const std::string& origin = {}) const;
  /// A token that is good for at least a minute. Refreshes are taken in turn by all processes of the user: a refresh
  /// token is good once. Throws `unauthenticated`: log in again; and what Client throws.
  std::string access_token(const Remote& remote);
  void keep(const Remote& remote, const std::string& access, const std::string& refresh, std::int64_t expires_in_s);
  /// Forgets, after telling the service, if it can be reached.
  void forget(const Remote& remote);

private:
  std::filesystem::path file() const { return folder_ / "credentials.json"; }
  std::filesystem::path folder_;
};

/// $XDG_CONFIG_HOME/farfield, or ~/.config/farfield.
std::filesystem::path credentials_folder();

/// The device code grant (RFC 8628): `show` is given the page and the code for the user, then it waits until he has
/// decided. Throws `forbidden`: refused; `timeout`: the code has expired; `cancelled`.
void log_in(Credentials& credentials, const Remote& remote, const std::string& scope,
            const std::function<void(const std::string& page, const std::string& code)>& show,
            const std::stop_token& stop);

}  // namespace farfield::apps
