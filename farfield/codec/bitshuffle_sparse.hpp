#pragma once
// Bitshuffled counts -> the few pixels that counted something, without the frame in between. Where most pixels are 0,
// most rows of bits are, too: a block is searched as it lies in the first-level cache, still shuffled, and only
// blocks with many counts are put in order at all.

#include <span>

#include "farfield/codec/bitshuffle.hpp"
#include "farfield/core/pixel_count.hpp"

namespace farfield::codec {

/// Which elements are wanted.
struct SparseRule {
  std::uint32_t above = 0;  ///< kept: count > above
  /// Bit i % 8 of byte i / 8 set: element i may be kept. Empty: all. Else (elements + 7) / 8 bytes.
  std::span<const std::byte> valid{};
};

/// The bits of SparseRule::valid from a pixel mask, 0 = good.
std::vector<std::byte> valid_bits(std::span<const std::uint32_t> mask);

/// Decodes a chunk of `elements` unsigned integers of 1, 2 or 4 bytes to {index of the element, value}, ascending, at
/// the front of `out`, and returns their number. `out` has room for every element; what is not needed is not touched.
/// `corrupt_data` for what is malformed (`out` is then undefined), `invalid_argument` for another element size, a
/// chunk of 2^32 elements or more, too little room or a mask of another length.
core::Result<core::Index> bitshuffle_sparse(std::span<const std::byte> chunk, const BitshuffleFormat& format,
                                            core::Index elements, const SparseRule& rule,
                                            std::span<core::PixelCount> out);
/// The same of a chunk that was opened.
core::Result<core::Index> bitshuffle_sparse(const BitshuffleChunk& chunk, const SparseRule& rule,
                                            std::span<core::PixelCount> out);

}  // namespace farfield::codec
