#include "farfield/codec/lz4.hpp"

#include <fmt/core.h>
#include <lz4.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "farfield/codec/endian.hpp"

namespace farfield::codec {
namespace {
using core::ErrorCode;
using core::Index;
constexpr Index kHeaderBytes = 12;
constexpr Index kMaxInt = std::numeric_limits<int>::max();

const char* chars(const std::byte* p) { return reinterpret_cast<const char*>(p); }
char* chars(std::byte* p) { return reinterpret_cast<char*>(p); }
}  // namespace

core::Result<void> lz4_decode(std::span<const std::byte> block, std::span<std::byte> out) {
  if (std::ssize(block) > kMaxInt || std::ssize(out) > kMaxInt)
    return core::failure(ErrorCode::unsupported, fmt::format("LZ4 block of {} bytes, decoded {}, must be below 2 GiB",
                                                             block.size(), out.size()));
  if (block.empty()) return core::failure(ErrorCode::corrupt_data, "LZ4 block of 0 bytes");
  char nothing = 0;  // liblz4 wants an address even for an empty result
  const int decoded = LZ4_decompress_safe(chars(block.data()), out.empty() ? &nothing : chars(out.data()),
                                          static_cast<int>(block.size()), static_cast<int>(out.size()));
  if (decoded == static_cast<int>(out.size())) return {};
  if (decoded < 0)
    return core::failure(
        ErrorCode::corrupt_data,
        fmt::format("LZ4 block of {} bytes is malformed or decodes to more than {} bytes", block.size(), out.size()));
  return core::failure(ErrorCode::corrupt_data, fmt::format("LZ4 block of {} bytes decodes to {} bytes, expected {}",
                                                            block.size(), decoded, out.size()));
}

Index lz4_bound(Index bytes) {
  if (bytes < 0 || bytes > LZ4_MAX_INPUT_SIZE)
    throw core::Error(ErrorCode::invalid_argument,
                      fmt::format("LZ4 block of {} bytes must be at most {}", bytes, LZ4_MAX_INPUT_SIZE));
  return LZ4_compressBound(static_cast<int>(bytes));
}

Index lz4_encode(std::span<const std::byte> data, std::span<std::byte> out) {
  const Index bound = lz4_bound(std::ssize(data));
  if (std::ssize(out) < bound)
    throw core::Error(ErrorCode::invalid_argument,
                      fmt::format("LZ4 needs room for {} bytes, has {}", bound, out.size()));
  const int length = LZ4_compress_default(chars(data.data()), chars(out.data()), static_cast<int>(data.size()),
                                          static_cast<int>(std::min<Index>(std::ssize(out), kMaxInt)));
  if (length <= 0) throw core::Error(ErrorCode::internal, "LZ4 did not compress into its own bound");
  return length;
}

core::Result<void> lz4_framed_decode(std::span<const std::byte> chunk, std::span<std::byte> out) {
  if (std::ssize(chunk) < kHeaderBytes)
    return core::failure(ErrorCode::corrupt_data, fmt::format("LZ4 chunk of {} bytes is shorter than its header of {}",
                                                              chunk.size(), kHeaderBytes));
  const std::uint64_t bytes = load_be64(chunk.data());
  if (bytes != out.size())
    return core::failure(ErrorCode::corrupt_data,
                         fmt::format("LZ4 chunk decodes to {} bytes, expected {}", bytes, out.size()));
  const std::size_t block_bytes = load_be32(chunk.data() + 8);
  if (block_bytes == 0 && !out.empty())
    return core::failure(ErrorCode::corrupt_data, "LZ4 chunk has blocks of 0 bytes");
  chunk = chunk.subspan(kHeaderBytes);
  while (!out.empty()) {
    const auto block = out.first(std::min(block_bytes, out.size()));
    if (chunk.size() < 4) return core::failure(ErrorCode::corrupt_data, "LZ4 chunk is truncated before a block length");
    const std::size_t stored = load_be32(chunk.data());
    chunk = chunk.subspan(4);
    if (chunk.size() < stored)
      return core::failure(ErrorCode::corrupt_data,
                           fmt::format("LZ4 chunk is truncated: {} bytes left of a block of {}", chunk.size(), stored));
    if (stored == block.size()) {
      std::memcpy(block.data(), chunk.data(), stored);
    } else if (auto done = lz4_decode(chunk.first(stored), block); !done) {
      return done;
    }
    chunk = chunk.subspan(stored);
    out = out.subspan(block.size());
  }
  if (!chunk.empty())
    return core::failure(ErrorCode::corrupt_data, fmt::format("{} bytes follow the last LZ4 block", chunk.size()));
  return {};
}

std::vector<std::byte> lz4_framed_encode(std::span<const std::byte> data, Index block_bytes) {
  if (block_bytes < 1)
    throw core::Error(ErrorCode::invalid_argument, fmt::format("LZ4 block of {} bytes must be > 0", block_bytes));
  const Index bound = lz4_bound(block_bytes);
  std::vector<std::byte> out(kHeaderBytes);
  store_be64(out.data(), data.size());
  store_be32(out.data() + 8, static_cast<std::uint32_t>(block_bytes));
  while (!data.empty()) {
    const auto block = data.first(std::min(static_cast<std::size_t>(block_bytes), data.size()));
    const std::size_t start = out.size();
    out.resize(start + 4 + static_cast<std::size_t>(bound));
    Index stored = lz4_encode(block, std::span(out).subspan(start + 4));
    if (stored >= std::ssize(block)) {
      stored = std::ssize(block);
      std::memcpy(out.data() + start + 4, block.data(), block.size());
    }
    store_be32(out.data() + start, static_cast<std::uint32_t>(stored));
    out.resize(start + 4 + static_cast<std::size_t>(stored));
    data = data.subspan(block.size());
  }
  return out;
}

}  // namespace farfield::codec
