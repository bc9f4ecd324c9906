#pragma once
// DEFLATE (RFC 1951) bare as in zip members, in zlib (HDF5's gzip filter) or gzip wrapping, and the byte shuffle
// that HDF5 puts before it. Decoding takes untrusted bytes: `corrupt_data` on anything malformed or of another
// length than `out`.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "farfield/core/error.hpp"
#include "farfield/core/view.hpp"

namespace farfield::codec {

enum class DeflateWrapping { bare, zlib, gzip };

/// `out` has exactly the decoded size. Checksums of the wrapping are verified; `data` ends where the stream does.
core::Result<void> inflate(std::span<const std::byte> data, DeflateWrapping wrapping, std::span<std::byte> out);

/// `level` 1 (fast) to 12 (small). Throws `invalid_argument`.
std::vector<std::byte> deflate(std::span<const std::byte> data, DeflateWrapping wrapping, int level = 6);

/// A zlib stream of `data` whose first `stored` bytes are kept as they are, for noise. Throws `invalid_argument` for
/// more of them than there are, or another level.
std::vector<std::byte> deflate_tail(std::span<const std::byte> data, std::size_t stored, int level = 6);

/// CRC-32 of zip and PNG (reflected 0x04C11DB7). Pass the previous value to go on.
std::uint32_t crc32(std::span<const std::byte> data, std::uint32_t previous = 0);

/// HDF5's shuffle filter: all first bytes of the elements, then all second bytes ...; bytes that do not fill an
/// element follow as they are. `in` and `out` have the same length and lie apart; element_size >= 1 bytes.
/// Throws `invalid_argument`.
void byte_shuffle(std::span<const std::byte> in, core::Index element_size, std::span<std::byte> out);
void byte_unshuffle(std::span<const std::byte> in, core::Index element_size, std::span<std::byte> out);

}  // namespace farfield::codec
