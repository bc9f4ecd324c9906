#pragma once
// LZ4 blocks of data that is mostly 0, as the rows of bits of frames with few counts: hundreds of short sequences, most
// of which say "zeros". Into memory that is cleared first, these are steps, not copies.

#include <cstddef>
#include <span>

#include "farfield/core/error.hpp"
#include "farfield/core/view.hpp"

namespace farfield::codec {

/// Behind the decoded bytes there must be room for so many more, which are lost.
inline constexpr core::Index kLz4ZerosSlack = 16;

/// Decodes one bare block to exactly `bytes` bytes at the front of `room`, of at least bytes + kLz4ZerosSlack. Takes
/// what lz4_decode() takes, and gives the same. `corrupt_data` on anything malformed or of another length,
/// `invalid_argument` for too little room.
core::Result<void> lz4_decode_zeros(std::span<const std::byte> block, core::Index bytes, std::span<std::byte> room);

}  // namespace farfield::codec
