#pragma once
// The transform inside bitshuffle: a block of n elements of E bytes is an n x 8E matrix of bits (bit 0 the
// lowest of a little-endian element); shuffled, it lies transposed: 8E rows of n/8 bytes, in which bit i
// of byte c belongs to element 8c + i. Rows of high bits of small counts are runs of zeros, which LZ4 loves.
//
// Lengths are the caller's to check: n >= 0 a multiple of 8; E one of 1, 2, 4, 8; `in` and `out` n * E bytes
// and apart.

#include <cstddef>
#include <cstdint>

namespace farfield::codec {

/// The fastest version for this machine (core::isa()).
void bit_shuffle(const std::byte* in, std::byte* out, std::int64_t elements, std::int64_t element_size);
void bit_unshuffle(const std::byte* in, std::byte* out, std::int64_t elements, std::int64_t element_size);

/// Bit by bit, straight from the definition above: the oracle of the fast ones.
namespace reference {
void bit_shuffle(const std::byte* in, std::byte* out, std::int64_t elements, std::int64_t element_size);
void bit_unshuffle(const std::byte* in, std::byte* out, std::int64_t elements, std::int64_t element_size);
}  // namespace reference

// bit_transpose.isa.cpp, compiled for each level. Call only what the machine has.
#define FARFIELD_DECLARE(level)                                                                              \
  namespace level {                                                                                          \
  void bit_shuffle(const std::byte* in, std::byte* out, std::int64_t elements, std::int64_t element_size);   \
  void bit_unshuffle(const std::byte* in, std::byte* out, std::int64_t elements, std::int64_t element_size); \
  }
FARFIELD_DECLARE(v2)
FARFIELD_DECLARE(v3)
FARFIELD_DECLARE(v4)
#undef FARFIELD_DECLARE

}  // namespace farfield::codec
