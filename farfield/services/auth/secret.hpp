#pragma once
// Secrets: made, compared and kept so that the database does not hold what opens doors.

#include <string>
#include <string_view>

namespace farfield::services::auth {

/// `bytes` of randomness, in hexadecimal. Throws `internal` where the system has none.
std::string random_hex(int bytes);
/// "BCDF-GHJK": eight letters that are not mistaken for others and form no words (34 bits, RFC 8628 section 6.1).
std::string random_user_code();
/// SHA-256 in hexadecimal: enough for secrets that are random already.
std::string digest(std::string_view secret);
/// BASE64URL(SHA256(verifier)) of RFC 7636.
std::string pkce_challenge(std::string_view verifier);
/// In a time that depends on the lengths only.
bool equal_secrets(std::string_view a, std::string_view b);

/// scrypt (RFC 7914; N = 2^15, r = 8, p = 1: 32 MiB and about 0.1 s a try), as text with its parameters and salt.
/// Throws `invalid_argument` unless the password has 8 to 1024 bytes.
std::string hash_password(std::string_view password);
/// False also for a `hash` that is none. At most two run at once in a process: a flood of tries must not take its
/// memory.
bool check_password(std::string_view password, std::string_view hash);

}  // namespace farfield::services::auth
