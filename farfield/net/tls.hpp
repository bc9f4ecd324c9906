#pragma once
// TLS: certificates and whom to trust. Keys are files that only their owner can read.

#include <filesystem>
#include <string>
#include <vector>

namespace farfield::net {

/// A server's own certificate (PEM, with its chain) and key.
struct TlsIdentity {
  std::filesystem::path certificate, key;
  bool given() const { return !certificate.empty(); }
};

/// Whom a client believes: the system's authorities, or only those in a PEM file or text (for a self-signed
/// certificate: the certificate itself). Names are always checked.
struct TlsTrust {
  std::filesystem::path authorities{};  ///< empty: the system's
  std::string pem{};                    ///< in place of the file
};

/// Makes a self-signed certificate (EC P-256, SHA-256) for these DNS names and IP addresses, valid from an hour ago
/// for `days` from now. Both files are replaced atomically; the key's mode is 0600. Throws `invalid_argument`, `io`.
void make_self_signed(const TlsIdentity& files, const std::vector<std::string>& names, int days = 825);

struct CertificateInfo {
  std::string subject;
  std::vector<std::string> names;  ///< subject alternative names
  double days_left = 0;            ///< negative: expired
  std::string sha256;              ///< fingerprint, hex
};
/// Throws `not_found`, `corrupt_data`.
CertificateInfo read_certificate(const std::filesystem::path& certificate);

/// Throws `forbidden` unless `key` is a file that group and others can neither read nor write. `not_found`.
void check_private(const std::filesystem::path& key);

}  // namespace farfield::net
