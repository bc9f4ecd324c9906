#pragma once
// Signing keys: ES256 (ECDSA on P-256 with SHA-256, RFC 7518), one private file each, and their rotation. All token
// cryptography of Farfield is here and in token.cpp, by libcjose.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "farfield/core/error.hpp"

namespace farfield::services::auth {

/// Seconds since 1970; handed in, so that tests need not wait.
using UnixClock = std::function<std::int64_t()>;
std::int64_t system_unix_time();

struct KeyRules {
  std::int64_t publish_s = 600;  ///< a new key is published this long before it signs: verifiers keep a copy of the set
  std::int64_t keep_s = 1800;  ///< a key is published this long after it has signed for the last time
};

/// Thread-safe.
class KeyRing {
public:
  /// Reads the keys in `folder` (made with mode 0700), and makes the first one. Throws `forbidden` for a key or a
  /// folder that others can read or write, `corrupt_data`, `io`.
  KeyRing(std::filesystem::path folder, UnixClock clock, KeyRules rules = {});
  ~KeyRing();
  KeyRing(const KeyRing&) = delete;
  KeyRing& operator=(const KeyRing&) = delete;

  /// A compact JWS of `payload` by the key whose turn it is.
  std::string sign(std::string_view payload) const;
  /// The public halves as a JSON Web Key Set (RFC 7517).
  std::string jwks() const;
  /// Makes a new key, which signs from publish_s on, and removes those whose time is over.
  void rotate();
  /// When the key that signs was made.
  std::int64_t signing_since() const;

private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Public keys by their id, as somebody else published them. Thread-safe once filled.
class PublicKeys {
public:
  PublicKeys();
  ~PublicKeys();
  PublicKeys(PublicKeys&&) noexcept;
  PublicKeys& operator=(PublicKeys&&) noexcept;

  /// Takes the P-256 signature keys of a JSON Web Key Set. `corrupt_data`.
  static core::Result<PublicKeys> parse(std::string_view jwks);
  bool contains(const std::string& kid) const;
  std::size_t size() const;

  /// The payload of a compact JWS whose header names ES256 and a known key, and whose signature is right.
  /// `unauthenticated` for anything else; the message never holds the token.
  core::Result<std::string> open(std::string_view compact) const;

private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace farfield::services::auth
