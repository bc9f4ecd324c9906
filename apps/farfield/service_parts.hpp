#pragma once
// What the service host is made of besides the services: its folder, its name, its certificate. Only service*.cpp
// include it.

#include <filesystem>
#include <string>
#include <vector>

#include "apps/farfield/service.hpp"
#include "farfield/net/tls.hpp"

namespace farfield::apps {

/// URL under which everybody reaches the service. Throws `invalid_argument`.
std::string issuer_of(const ServeOptions& options);

/// Made where it is missing, and readable by its owner only; absolute.
std::filesystem::path private_folder(const std::filesystem::path& path);
/// A file of mode 0600.
void write_private(const std::filesystem::path& path, const std::string& text);

/// The certificate that the service shows: the user's own, or one that is made, and made anew before it ends or where
/// it lacks a name that was asked for.
class ServiceCertificate {
public:
  /// Throws `invalid_argument` for options that make no sense.
  ServiceCertificate(const ServeOptions& options, const std::filesystem::path& folder);
  /// Empty without TLS.
  const net::TlsIdentity& identity() const { return identity_; }
  /// Whether it was made here: clients have to be told to trust it.
  bool made() const { return made_; }
  /// True if the files are not those of the last call: the server has to read them again. Call it now and then.
  bool keep_up();

private:
  net::TlsIdentity identity_;
  std::vector<std::string> names_;
  bool made_ = false;
  std::string shown_;  ///< fingerprint
};

}  // namespace farfield::apps
