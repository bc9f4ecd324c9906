#include "farfield/io/hdf5/filters.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <cstring>

#include "farfield/codec/deflate.hpp"
#include "farfield/codec/endian.hpp"
#include "farfield/codec/lz4.hpp"
#include "farfield/io/hdf5/library.hpp"

namespace farfield::io::hdf5 {

using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
// Parameters of 32008: version major, minor, element bytes, block elements, compression (0 none, 2 LZ4, 3 Zstandard).
constexpr std::size_t kElementAt = 2, kCompressionAt = 4;
constexpr unsigned kNone = 0, kWithLz4 = 2, kWithZstd = 3;

unsigned parameter(const Filter& f, std::size_t at, unsigned fallback) {
  return at < f.parameters.size() ? f.parameters[at] : fallback;
}

bool good_element(unsigned bytes) { return bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8; }

codec::BitshuffleFormat format_of(const Filter& f) {
  return {static_cast<Index>(parameter(f, kElementAt, 0)), parameter(f, kCompressionAt, kNone) == kWithZstd
                                                               ? codec::BlockCompression::zstd
                                                               : codec::BlockCompression::lz4};
}

// One filter undone. `out` has the exact size: every filter but the last undone keeps the length.
core::Result<void> undo(const Filter& f, Index item_bytes, std::span<const std::byte> in, std::span<std::byte> out) {
  switch (f.id) {
    case kDeflate: return codec::inflate(in, codec::DeflateWrapping::zlib, out);
    case kLz4: return codec::lz4_framed_decode(in, out);
    case kBitshuffle: return codec::bitshuffle_decode(in, format_of(f), out);
    case kShuffle:
      if (in.size() != out.size())
        return core::failure(ErrorCode::corrupt_data,
                             fmt::format("chunk has {} bytes instead of {}", in.size(), out.size()));
      codec::byte_unshuffle(in, parameter(f, 0, static_cast<unsigned>(item_bytes)), out);
      return {};
    default: return core::failure(ErrorCode::unsupported, fmt::format("HDF5 filter {} is not known", f.id));
  }
}
}  // namespace

bool can_decode(const std::vector<Filter>& filters) {
  // One compression at most: between two, the length of the intermediate bytes would not be known.
  int compressions = 0;
  for (const auto& f : filters) {
    if (f.id == kShuffle) {
      if (parameter(f, 0, 1) < 1) return false;
      continue;
    }
    ++compressions;
    if (f.id == kBitshuffle) {
      const unsigned with = parameter(f, kCompressionAt, kNone);
      if (!good_element(parameter(f, kElementAt, 0)) || (with != kWithLz4 && with != kWithZstd)) return false;
    } else if (f.id != kDeflate && f.id != kLz4) {
      return false;
    }
  }
  return compressions <= 1;
}

void decode_chunk(const std::vector<Filter>& filters, std::uint32_t skipped, Index item_bytes,
                  std::span<const std::byte> in, std::span<std::byte> out) {
  std::vector<const Filter*> left;
  for (std::size_t i = 0; i < filters.size(); ++i)
    if (i >= 32 || (skipped >> i & 1U) == 0) left.push_back(&filters[i]);
  if (left.empty()) {
    if (in.size() != out.size())
      throw Error(ErrorCode::corrupt_data, fmt::format("chunk has {} bytes instead of {}", in.size(), out.size()));
    std::memcpy(out.data(), in.data(), in.size());
    return;
  }
  std::vector<std::byte> held;
  for (std::size_t n = left.size(); n-- > 0;) {
    std::vector<std::byte> scratch;
    std::span<std::byte> target = out;
    if (n > 0) {
      scratch.resize(out.size());
      target = scratch;
    }
    core::value_or_throw(undo(*left[n], item_bytes, in, target));
    held = std::move(scratch);
    in = held;
  }
}

std::optional<codec::BitshuffleFormat> only_bitshuffle(const std::vector<Filter>& filters) {
  if (filters.size() != 1 || filters.front().id != kBitshuffle || !can_decode(filters)) return std::nullopt;
  return format_of(filters.front());
}

std::vector<std::byte> encode_bitshuffle_lz4(std::span<const std::byte> in, Index item_bytes) {
  return codec::bitshuffle_encode(in, {item_bytes, codec::BlockCompression::lz4});
}

Filter bitshuffle_lz4(Index item_bytes) {
  return {kBitshuffle, {0, 3, static_cast<unsigned>(item_bytes), 0, kWithLz4}};
}

namespace {
// For data that the library reads itself. Both filters say in their first 8 bytes how long the result is;
// the library has checked nothing, so neither is believed beyond what a chunk may be.
std::size_t run_filter(const Filter& f, unsigned flags, std::size_t bytes, std::size_t* buffer_bytes, void** buffer) {
  try {
    const std::span<const std::byte> in(static_cast<const std::byte*>(*buffer), bytes);
    std::vector<std::byte> out;
    if ((flags & H5Z_FLAG_REVERSE) != 0) {
      if (bytes < 12) return 0;
      const std::uint64_t decoded = codec::load_be64(in.data());
      // LZ4 shrinks at most 255-fold.
      if (decoded == 0 || decoded > (std::uint64_t{1} << 32) || decoded / 256 > bytes) return 0;
      out.resize(decoded);
      if (!undo(f, 1, in, out)) return 0;
    } else {
      out = f.id == kLz4 ? codec::lz4_framed_encode(in) : codec::bitshuffle_encode(in, format_of(f));
    }
    void* memory = H5allocate_memory(out.size(), false);
    if (memory == nullptr) return 0;
    std::memcpy(memory, out.data(), out.size());
    H5free_memory(*buffer);
    *buffer = memory;
    *buffer_bytes = out.size();
    return out.size();
  } catch (...) {
    return 0;  // the library takes 0 as failure; exceptions must not pass through C
  }
}

template <int Id>
std::size_t run(unsigned flags, std::size_t count, const unsigned values[], std::size_t bytes,
                std::size_t* buffer_bytes, void** buffer) {
  const Filter f{Id, {values, values + count}};
  return can_decode({f}) ? run_filter(f, flags, bytes, buffer_bytes, buffer) : 0;
}
}  // namespace

void register_filters() {
  static const H5Z_class2_t lz4{H5Z_CLASS_T_VERS, kLz4, 1, 1, "lz4", nullptr, nullptr, run<kLz4>};
  static const H5Z_class2_t bitshuffle{H5Z_CLASS_T_VERS, kBitshuffle, 1,       1,
                                       "bitshuffle",     nullptr,     nullptr, run<kBitshuffle>};
  H5Zregister(&lz4);
  H5Zregister(&bitshuffle);
}

}  // namespace farfield::io::hdf5
