#pragma once
// Big-endian integers in byte streams. The caller has checked that the bytes are there.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace farfield::codec {

static_assert(std::endian::native == std::endian::little, "Farfield runs on little-endian machines");

inline std::uint32_t load_be32(const std::byte* from) {
  std::uint32_t value;
  std::memcpy(&value, from, sizeof value);
  return __builtin_bswap32(value);
}
inline std::uint64_t load_be64(const std::byte* from) {
  std::uint64_t value;
  std::memcpy(&value, from, sizeof value);
  return __builtin_bswap64(value);
}
inline void store_be32(std::byte* to, std::uint32_t value) {
  value = __builtin_bswap32(value);
  std::memcpy(to, &value, sizeof value);
}
inline void store_be64(std::byte* to, std::uint64_t value) {
  value = __builtin_bswap64(value);
  std::memcpy(to, &value, sizeof value);
}

}  // namespace farfield::codec
