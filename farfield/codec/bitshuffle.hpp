#pragma once
// Bitshuffle with LZ4 or Zstandard: the compression of most pixel detectors (HDF5 filter 32008, "bslz4" in
// DECTRIS streams). K. Masui et al., Astronomy and Computing 12, 181 (2015), doi:10.1016/j.ascom.2015.07.002.
//
// A chunk: u64 big-endian decoded bytes, u32 big-endian block bytes (0 = default), then per block u32 big-endian
// compressed bytes and the compressed, bit-shuffled block. The last block is shorter, a multiple of 8 elements;
// fewer than 8 elements that remain follow as they are.
//
// Bytes come from outside: every length is checked, malformed input gives `corrupt_data`, never an access out of
// bounds. Nothing is allocated on the word of the input alone: the caller says how many bytes it expects.

#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "farfield/core/error.hpp"
#include "farfield/core/view.hpp"

namespace farfield::codec {

enum class BlockCompression { lz4, zstd };

struct BitshuffleFormat {
  core::Index element_size = 2;  ///< bytes: 1, 2, 4 or 8
  BlockCompression compression = BlockCompression::lz4;
};

/// A chunk whose header was read (or, for producers that send bare blocks, filled in by the caller).
struct BitshuffleChunk {
  std::span<const std::byte> blocks;  ///< what follows the header
  core::Index bytes = 0;              ///< decoded, in all
  core::Index block_bytes = 0;        ///< decoded, per full block
  BitshuffleFormat format;
};

/// Block length in elements that the filter uses where none is given: 8192 bytes, at least 128 elements.
core::Index default_block_elements(core::Index element_size);

/// Reads the header. `corrupt_data` unless the chunk decodes to `expected_bytes`.
core::Result<BitshuffleChunk> open_bitshuffle(std::span<const std::byte> chunk, const BitshuffleFormat& format,
                                              core::Index expected_bytes);

/// Decodes block by block, so that what is done with a block finds it in the L1 cache.
class BitshuffleReader {
public:
  /// Throws `invalid_argument` for an element size, block or chunk length that the format does not have.
  explicit BitshuffleReader(const BitshuffleChunk& chunk);

  /// Decoded bytes of the next block, a multiple of the element size; 0 at the end. The remaining elements that
  /// are stored as they are count as the last block.
  core::Index next_bytes() const { return next_bytes_; }
  /// Decodes the next block into `out` of next_bytes() bytes.
  core::Result<void> next(std::span<std::byte> out);
  /// The next block still bit-shuffled (bit_transpose.hpp), valid until the next call; fewer than 8 remaining elements
  /// as they are. Fastest for blocks that are mostly 0 (lz4_zeros.hpp).
  core::Result<std::span<const std::byte>> next_shuffled() { return fetch(true); }
  /// After the last block: `corrupt_data` where the chunk goes on.
  core::Result<void> finish() const;

private:
  core::Result<std::span<const std::byte>> fetch(bool mostly_zero);
  core::Result<void> decompress(std::span<const std::byte> in, std::span<std::byte> out, bool mostly_zero) const;
  void advance(core::Index decoded);

  BitshuffleChunk chunk_;
  core::Index decoded_ = 0;  // bytes so far
  core::Index next_bytes_ = 0;
  std::unique_ptr<std::byte[]> shuffled_;  // of a block, and kLz4ZerosSlack
};

/// Decodes a chunk into `out`, which has exactly the decoded size.
core::Result<void> bitshuffle_decode(std::span<const std::byte> chunk, const BitshuffleFormat& format,
                                     std::span<std::byte> out);

/// Calls visit(first element, std::span<const std::byte> elements) for each block in order; the bytes are 64-byte
/// aligned, in the machine's order, and valid during the call. For reductions (mask, threshold, sum) that never
/// need the whole frame in memory.
template <class Visit>
core::Result<void> bitshuffle_for_each_block(const BitshuffleChunk& chunk, Visit&& visit);

/// Compresses. `block_elements`: a multiple of 8, 0 = default. Throws `invalid_argument`.
/// `level` is for Zstandard only.
std::vector<std::byte> bitshuffle_encode(std::span<const std::byte> data, const BitshuffleFormat& format,
                                         core::Index block_elements = 0, int level = 3);

/// 64-byte aligned scratch for one block.
class BlockBuffer {
public:
  explicit BlockBuffer(core::Index bytes);
  ~BlockBuffer();
  BlockBuffer(const BlockBuffer&) = delete;
  BlockBuffer& operator=(const BlockBuffer&) = delete;
  std::byte* data() { return data_; }

private:
  std::byte* data_;
};

template <class Visit>
core::Result<void> bitshuffle_for_each_block(const BitshuffleChunk& chunk, Visit&& visit) {
  BitshuffleReader reader(chunk);
  BlockBuffer buffer(reader.next_bytes());  // the first block is the largest
  core::Index first = 0;
  while (const core::Index bytes = reader.next_bytes()) {
    const std::span<std::byte> block(buffer.data(), static_cast<std::size_t>(bytes));
    if (auto done = reader.next(block); !done) return done;
    visit(first, std::span<const std::byte>(block));
    first += bytes / chunk.format.element_size;
  }
  return reader.finish();
}

}  // namespace farfield::codec
