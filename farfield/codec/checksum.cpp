#include "farfield/codec/checksum.hpp"

#include <libdeflate.h>
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

namespace {
// CRCs are polynomials over GF(2) modulo Castagnoli's, bit-reflected: the highest bit is the coefficient of x^0.
constexpr std::uint32_t kPolynomial = 0x82f63b78U;
constexpr std::uint32_t kOne = 0x80000000U;

constexpr std::uint32_t multiply(std::uint32_t a, std::uint32_t b) {
  std::uint32_t product = 0;
  for (std::uint32_t bit = kOne; bit != 0; bit >>= 1) {
    if ((a & bit) != 0) product ^= b;
    b = (b >> 1) ^ ((b & 1) != 0 ? kPolynomial : 0U);  // times x
  }
  return product;
}

/// x^(8 bytes): what appending so many zero bytes multiplies by.
constexpr std::uint32_t shift_by(std::uint64_t bytes) {
  std::uint32_t power = kOne;
  std::uint32_t square = kOne >> 8;
  for (; bytes != 0; bytes >>= 1) {
    if ((bytes & 1) != 0) power = multiply(power, square);
    square = multiply(square, square);
  }
  return power;
}

std::uint64_t step(std::uint64_t sum, const std::byte* p) {
  std::uint64_t word;
  std::memcpy(&word, p, sizeof word);
  return _mm_crc32_u64(sum, word);
}

// The instruction takes 3 cycles but starts every cycle: three lanes side by side keep it busy. Joining them costs
// some 0.2 us, little beside the 1 us that a group of lanes takes.
constexpr std::size_t kLane = 8192;
constexpr std::uint32_t kShiftLane = shift_by(kLane);
}  // namespace

std::uint32_t crc32c(std::span<const std::byte> data, std::uint32_t previous) {
  std::uint64_t sum = ~previous;
  const std::byte* p = data.data();
  std::size_t left = data.size();
  for (; left >= 3 * kLane; left -= 3 * kLane, p += 3 * kLane) {
    std::uint64_t second = 0, third = 0;
    for (std::size_t i = 0; i < kLane; i += 8) {
      sum = step(sum, p + i);
      second = step(second, p + i + kLane);
      third = step(third, p + i + 2 * kLane);
    }
    sum = multiply(kShiftLane, static_cast<std::uint32_t>(sum)) ^ second;
    sum = multiply(kShiftLane, static_cast<std::uint32_t>(sum)) ^ third;
  }
  for (; left >= 8; left -= 8, p += 8) sum = step(sum, p);
  auto last = static_cast<std::uint32_t>(sum);
  for (; left > 0; --left, ++p) last = _mm_crc32_u8(last, static_cast<unsigned char>(*p));
  return ~last;
}

std::uint32_t crc32c_combine(std::uint32_t a, std::uint32_t b, std::uint64_t length_b) {
  return multiply(shift_by(length_b), a) ^ b;
}

std::uint32_t adler32(std::span<const std::byte> data) { return libdeflate_adler32(1, data.data(), data.size()); }

std::uint32_t adler32_combine(std::uint32_t a, std::uint32_t b, std::uint64_t length_b) {
  // The low half is 1 + the sum of the bytes, the high half the sum of the low halves so far; both modulo 65521.
  constexpr std::uint64_t kModulus = 65521;
  const std::uint64_t low_a = a & 0xffffU, low_b = b & 0xffffU, high_a = a >> 16, high_b = b >> 16;
  const std::uint64_t low = (low_a + low_b + kModulus - 1) % kModulus;
  const std::uint64_t high = (high_a + high_b + (length_b % kModulus) * ((low_a + kModulus - 1) % kModulus)) % kModulus;
  return static_cast<std::uint32_t>(high << 16 | low);
}

}  // namespace farfield::codec
