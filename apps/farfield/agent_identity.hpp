#pragma once
// A service identity: the secret by which a daemon gets tokens of its own.

#include <filesystem>
#include <mutex>
#include <string>

#include "apps/farfield/credentials.hpp"

namespace farfield::apps {

/// Tokens by client credentials (RFC 6749 section 4.4), each used until shortly before its end. Thread-safe.
class ServiceIdentity {
public:
  /// `secret_file` holds the secret alone. Throws `forbidden` where others can read it, `not_found`.
  ServiceIdentity(Remote remote, std::string id, const std::filesystem::path& secret_file, std::string scope);

  const Remote& remote() const { return remote_; }
  /// Throws `unauthenticated` where the service refuses, and what net::Client throws.
  std::string token();

private:
  const Remote remote_;
  const std::string id_, scope_;
  std::string secret_;
  std::mutex mutex_;
  std::string token_;
  double good_until_s_ = 0;  ///< of the steady clock
};

}  // namespace farfield::apps
