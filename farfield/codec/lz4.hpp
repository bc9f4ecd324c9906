#pragma once
// LZ4 blocks, bare or in the framing of the HDF5 filter 32004 (also "lz4" of DECTRIS stream v2):
// u64 big-endian decoded bytes, u32 big-endian block bytes, then per block u32 big-endian stored bytes and the
// block, as it is where it did not shrink (stored bytes = block bytes). DECTRIS stream v1 "lz4" is one bare block.
//
// Decoders take untrusted bytes: `corrupt_data` on anything malformed or of another length than `out`.

#include <cstddef>
#include <span>
#include <vector>

#include "farfield/core/error.hpp"
#include "farfield/core/view.hpp"

namespace farfield::codec {

/// One bare block; `out` has exactly the decoded size, below 2 GiB.
core::Result<void> lz4_decode(std::span<const std::byte> block, std::span<std::byte> out);
/// Bytes that `bytes` may need at most when compressed.
core::Index lz4_bound(core::Index bytes);
/// One bare block into `out` of at least lz4_bound() bytes; returns its length. Throws `invalid_argument`.
core::Index lz4_encode(std::span<const std::byte> data, std::span<std::byte> out);

/// HDF5 framing; `out` has exactly the decoded size.
core::Result<void> lz4_framed_decode(std::span<const std::byte> chunk, std::span<std::byte> out);
std::vector<std::byte> lz4_framed_encode(std::span<const std::byte> data, core::Index block_bytes = 1 << 20);

}  // namespace farfield::codec
