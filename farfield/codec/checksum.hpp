#pragma once
// SHA-256 (identity of files, provenance), CRC-32C (fast damage check), Adler-32 (for XRootD).

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace farfield::codec {

/// Incremental SHA-256 (FIPS 180-4).
class Sha256 {
public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::span<const std::byte> data);
  /// 64 lower-case hexadecimal digits of everything so far; updates may follow.
  std::string hex() const;

private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string sha256_hex(std::span<const std::byte> data);

/// CRC-32C (Castagnoli, RFC 3720). Pass the previous value to go on.
std::uint32_t crc32c(std::span<const std::byte> data, std::uint32_t previous = 0);

/// The CRC-32C of A followed by B from that of each and the length of B: pieces may be summed in any order.
std::uint32_t crc32c_combine(std::uint32_t a, std::uint32_t b, std::uint64_t length_b);

/// Adler-32 (RFC 1950): weak, but what XRootD servers offer.
std::uint32_t adler32(std::span<const std::byte> data);
std::uint32_t adler32_combine(std::uint32_t a, std::uint32_t b, std::uint64_t length_b);

}  // namespace farfield::codec
