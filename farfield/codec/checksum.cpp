#include "farfield/codec/checksum.hpp"

#include <nmmintrin.h>
#include <openssl/evp.h>

#include <array>
#include <cstring>

#include "farfield/core/error.hpp"

namespace farfield::codec {
namespace {
using Context = std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)>;

void check(int result) {
  if (result != 1) throw core::Error(core::ErrorCode::internal, "the cryptographic library refused SHA-256");
}
}  // namespace

struct Sha256::State {
  Context context{EVP_MD_CTX_new(), &EVP_MD_CTX_free};
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  check(EVP_DigestInit_ex(state_->context.get(), EVP_sha256(), nullptr));
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::span<const std::byte> data) {
  check(EVP_DigestUpdate(state_->context.get(), data.data(), data.size()));
}

std::string Sha256::hex() const {
  const Context copy(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  check(EVP_MD_CTX_copy_ex(copy.get(), state_->context.get()));
  std::array<unsigned char, 32> digest{};
  check(EVP_DigestFinal_ex(copy.get(), digest.data(), nullptr));
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : digest) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

std::string sha256_hex(std::span<const std::byte> data) {
  Sha256 sum;
  sum.update(data);
  return sum.hex();
}

std::uint32_t crc32c(std::span<const std::byte> data, std::uint32_t previous) {
  std::uint64_t sum = ~previous;
  const std::byte* p = data.data();
  std::size_t left = data.size();
  for (; left >= 8; left -= 8, p += 8) {
    std::uint64_t word;
    std::memcpy(&word, p, 8);
    sum = _mm_crc32_u64(sum, word);
  }
  auto last = static_cast<std::uint32_t>(sum);
  for (; left > 0; --left, ++p) last = _mm_crc32_u8(last, static_cast<unsigned char>(*p));
  return ~last;
}

}  // namespace farfield::codec
