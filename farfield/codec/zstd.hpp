#pragma once
// Zstandard frames (RFC 8878). Decoding takes untrusted bytes: `corrupt_data` on anything malformed or of another
// length than `out`.

#include <cstddef>
#include <span>
#include <vector>

#include "farfield/core/error.hpp"
#include "farfield/core/view.hpp"

namespace farfield::codec {

/// One or more frames; `out` has exactly the decoded size.
core::Result<void> zstd_decode(std::span<const std::byte> frames, std::span<std::byte> out);

/// Bytes that `bytes` may need at most when compressed.
core::Index zstd_bound(core::Index bytes);
/// Into `out` of at least zstd_bound() bytes; returns the length. `level` 1 (fast) to 19 (small).
core::Index zstd_encode(std::span<const std::byte> data, std::span<std::byte> out, int level = 3);
std::vector<std::byte> zstd_encode(std::span<const std::byte> data, int level = 3);

}  // namespace farfield::codec
