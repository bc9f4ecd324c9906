#include "farfield/services/auth/secret.hpp"

#include <cjose/base64.h>
#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <semaphore>
#include <span>
#include <vector>

#include "farfield/codec/checksum.hpp"
#include "farfield/core/error.hpp"

namespace farfield::services::auth {
namespace {
using core::Error;
using core::ErrorCode;

constexpr std::uint64_t kScryptN = 1 << 15, kScryptR = 8, kScryptP = 1;
constexpr std::size_t kSalt = 16, kHash = 32;

std::vector<unsigned char> random_bytes(std::size_t count) {
  std::vector<unsigned char> bytes(count);
  if (RAND_bytes(bytes.data(), static_cast<int>(count)) != 1)
    throw Error(ErrorCode::internal, "the system gives no random numbers");
  return bytes;
}

std::string hex(std::span<const unsigned char> bytes) {
  std::string out;
  for (const auto b : bytes) out += fmt::format("{:02x}", b);
  return out;
}

std::optional<std::vector<unsigned char>> from_hex(std::string_view text) {
  const auto digit = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; };
  std::vector<unsigned char> out;
  if (text.size() % 2 != 0) return std::nullopt;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int high = digit(text[i]), low = digit(text[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    out.push_back(static_cast<unsigned char>(high * 16 + low));
  }
  return out;
}

std::array<unsigned char, kHash> scrypt(std::string_view password, std::span<const unsigned char> salt, std::uint64_t n,
                                        std::uint64_t r, std::uint64_t p) {
  static std::counting_semaphore<2> at_once(2);
  std::array<unsigned char, kHash> out{};
  // Whoever cannot be served soon is sent away: waiting here would hold a handler, and all handlers are everybody's.
  if (!at_once.try_acquire_for(std::chrono::milliseconds(500)))
    throw Error(ErrorCode::unavailable, "too many passwords are being checked; try again");
  const int ok = EVP_PBE_scrypt(password.data(), password.size(), salt.data(), salt.size(), n, r, p, 256 << 20,
                                out.data(), out.size());
  at_once.release();
  if (ok != 1) throw Error(ErrorCode::resource_exhausted, "no memory to check a password");
  return out;
}
}  // namespace

std::string random_hex(int bytes) { return hex(random_bytes(static_cast<std::size_t>(bytes))); }

std::string random_user_code() {
  constexpr std::string_view kLetters = "BCDFGHJKLMNPQRSTVWXZ";
  std::string code;
  while (code.size() < 9) {
    if (code.size() == 4) code += '-';
    const unsigned char byte = random_bytes(1)[0];
    if (byte < 240) code += kLetters[byte % kLetters.size()];  // 240 = 12 x 20: every letter is as likely
  }
  return code;
}

std::string digest(std::string_view secret) { return codec::sha256_hex(std::as_bytes(std::span(secret))); }

std::string pkce_challenge(std::string_view verifier) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> hash{};
  SHA256(reinterpret_cast<const unsigned char*>(verifier.data()), verifier.size(), hash.data());
  char* text = nullptr;
  std::size_t length = 0;
  if (!cjose_base64url_encode(hash.data(), hash.size(), &text, &length, nullptr)) throw std::bad_alloc();
  std::string out(text, length);
  std::free(text);
  return out;
}

bool equal_secrets(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string hash_password(std::string_view password) {
  if (password.size() < 8 || password.size() > 1024)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("a password of {} bytes: it must have 8 to 1024", password.size()));
  const auto salt = random_bytes(kSalt);
  return fmt::format("scrypt:{}:{}:{}:{}:{}", kScryptN, kScryptR, kScryptP, hex(salt),
                     hex(scrypt(password, salt, kScryptN, kScryptR, kScryptP)));
}

bool check_password(std::string_view password, std::string_view hash) {
  if (password.size() > 1024) return false;
  const std::string head = fmt::format("scrypt:{}:{}:{}:", kScryptN, kScryptR, kScryptP);
  const auto colon = hash.rfind(':');
  if (!hash.starts_with(head) || colon < head.size()) return false;
  const auto salt = from_hex(hash.substr(head.size(), colon - head.size())), known = from_hex(hash.substr(colon + 1));
  if (!salt || !known || known->size() != kHash) return false;
  const auto tried = scrypt(password, *salt, kScryptN, kScryptR, kScryptP);
  return CRYPTO_memcmp(tried.data(), known->data(), kHash) == 0;
}

}  // namespace farfield::services::auth
