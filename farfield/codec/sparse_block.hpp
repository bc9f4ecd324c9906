#pragma once
// Elements of a bit-shuffled block (bit_transpose.hpp) that pass a mask and a threshold.
//
// Lengths are the caller's to check: n a multiple of 8, E one of 1, 2, 4; `shuffled` n * E bytes; `valid` n / 8 bytes,
// bit i of byte c for element 8c + i; `room` n / 8 + n * E bytes, `out` n elements, all apart.

#include <cstddef>
#include <cstdint>

#include "farfield/core/pixel_count.hpp"

namespace farfield::codec {

struct SparseBlock {
  const std::byte* shuffled = nullptr;
  std::int64_t elements = 0, element_size = 2;
  const std::byte* valid = nullptr;  ///< null: all
  std::uint32_t above = 0;           ///< kept: value > above
  std::uint32_t first = 0;           ///< index of the first element
};

/// Writes {first + i, value} in ascending order, returns their number. The fastest version for this machine.
std::int64_t sparse_block(const SparseBlock& block, std::byte* room, core::PixelCount* out);

/// Element by element: the oracle of the fast ones.
namespace reference {
std::int64_t sparse_block(const SparseBlock& block, std::byte* room, core::PixelCount* out);
}  // namespace reference

// sparse_block.isa.cpp, compiled for each level. Call only what the machine has.
#define FARFIELD_DECLARE(level)                                                                \
  namespace level {                                                                            \
  std::int64_t sparse_block(const SparseBlock& block, std::byte* room, core::PixelCount* out); \
  }
FARFIELD_DECLARE(v2)
FARFIELD_DECLARE(v3)
FARFIELD_DECLARE(v4)
#undef FARFIELD_DECLARE

}  // namespace farfield::codec
