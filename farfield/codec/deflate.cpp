#include "farfield/codec/deflate.hpp"

#include <fmt/core.h>
#include <libdeflate.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

namespace farfield::codec {
namespace {
using core::ErrorCode;
using core::Index;

struct Free {
  void operator()(libdeflate_decompressor* p) const { libdeflate_free_decompressor(p); }
  void operator()(libdeflate_compressor* p) const { libdeflate_free_compressor(p); }
};

libdeflate_decompressor* decompressor() {
  thread_local const std::unique_ptr<libdeflate_decompressor, Free> one(libdeflate_alloc_decompressor());
  if (one == nullptr) throw std::bad_alloc();
  return one.get();
}

/// Of the level asked for last: chunks of a file are many, and each compressor is a megabyte that must be zeroed.
libdeflate_compressor* compressor(int level) {
  thread_local std::unique_ptr<libdeflate_compressor, Free> one;
  thread_local int level_of_one = 0;
  if (one != nullptr && level_of_one == level) return one.get();
  one.reset(libdeflate_alloc_compressor(level));
  if (one == nullptr) throw std::bad_alloc();
  level_of_one = level;
  return one.get();
}
}  // namespace

core::Result<void> inflate(std::span<const std::byte> data, DeflateWrapping wrapping, std::span<std::byte> out) {
  std::byte nothing{};
  std::byte* to = out.empty() ? &nothing : out.data();
  std::size_t used = 0, written = 0;
  const auto run = [&](auto function) {
    return function(decompressor(), data.data(), data.size(), to, out.size(), &used, &written);
  };
  const libdeflate_result result = wrapping == DeflateWrapping::bare   ? run(libdeflate_deflate_decompress_ex)
                                   : wrapping == DeflateWrapping::zlib ? run(libdeflate_zlib_decompress_ex)
                                                                       : run(libdeflate_gzip_decompress_ex);
  if (result == LIBDEFLATE_BAD_DATA)
    return core::failure(ErrorCode::corrupt_data, fmt::format("DEFLATE data of {} bytes is malformed, truncated or "
                                                              "fails its checksum",
                                                              data.size()));
  if (result != LIBDEFLATE_SUCCESS)
    return core::failure(ErrorCode::corrupt_data, fmt::format("DEFLATE data of {} bytes decodes to more than {} bytes",
                                                              data.size(), out.size()));
  if (written != out.size())
    return core::failure(ErrorCode::corrupt_data,
                         fmt::format("DEFLATE data decodes to {} bytes, expected {}", written, out.size()));
  if (used != data.size())
    return core::failure(ErrorCode::corrupt_data, fmt::format("{} bytes follow the DEFLATE data", data.size() - used));
  return {};
}

std::vector<std::byte> deflate(std::span<const std::byte> data, DeflateWrapping wrapping, int level) {
  if (level < 1 || level > 12)
    throw core::Error(ErrorCode::invalid_argument, fmt::format("DEFLATE level {} must be 1 to 12", level));
  auto* const one = compressor(level);
  const auto run = [&](auto bound, auto compress) {
    std::vector<std::byte> out(bound(one, data.size()));
    out.resize(compress(one, data.data(), data.size(), out.data(), out.size()));
    if (out.empty()) throw core::Error(ErrorCode::internal, "DEFLATE did not compress into its own bound");
    return out;
  };
  switch (wrapping) {
    case DeflateWrapping::bare: return run(libdeflate_deflate_compress_bound, libdeflate_deflate_compress);
    case DeflateWrapping::zlib: return run(libdeflate_zlib_compress_bound, libdeflate_zlib_compress);
    case DeflateWrapping::gzip: return run(libdeflate_gzip_compress_bound, libdeflate_gzip_compress);
  }
  throw core::Error(ErrorCode::internal, "unknown DEFLATE wrapping");
}

std::vector<std::byte> deflate_tail(std::span<const std::byte> data, std::size_t stored, int level) {
  if (stored > data.size())
    throw core::Error(ErrorCode::invalid_argument, fmt::format("{} of {} bytes cannot be stored", stored, data.size()));
  if (stored == 0) return deflate(data, DeflateWrapping::zlib, level);
  constexpr std::size_t kMostStored = 65535;  // of one block
  std::vector<std::byte> out{std::byte{0x78}, std::byte{0x01}};
  const auto tail = deflate(data.subspan(stored), DeflateWrapping::bare, level);  // ends the stream
  out.reserve(stored + stored / kMostStored * 5 + tail.size() + 16);
  for (std::size_t at = 0; at < stored;) {
    const auto length = static_cast<std::uint16_t>(std::min(kMostStored, stored - at));
    const auto inverse = static_cast<std::uint16_t>(~length);
    for (const unsigned byte : {0U, length & 0xffU, length >> 8U & 0xffU, inverse & 0xffU, inverse >> 8U & 0xffU})
      out.push_back(static_cast<std::byte>(byte));
    const auto block = data.subspan(at, length);
    out.insert(out.end(), block.begin(), block.end());
    at += length;
  }
  out.insert(out.end(), tail.begin(), tail.end());
  const std::uint32_t sum = libdeflate_adler32(1, data.data(), data.size());
  for (const int shift : {24, 16, 8, 0}) out.push_back(static_cast<std::byte>(sum >> shift));
  return out;
}

std::uint32_t crc32(std::span<const std::byte> data, std::uint32_t previous) {
  return libdeflate_crc32(previous, data.data(), data.size());
}

namespace {
void check_shuffle(std::span<const std::byte> in, Index element_size, std::span<std::byte> out) {
  if (element_size < 1)
    throw core::Error(ErrorCode::invalid_argument, fmt::format("element size {} must be >= 1", element_size));
  if (in.size() != out.size())
    throw core::Error(ErrorCode::invalid_argument,
                      fmt::format("byte shuffle of {} bytes into {}", in.size(), out.size()));
}

/// One pass over the elements for each byte of them; E > 0: known to the compiler, which then vectorises.
template <Index E, bool unshuffle>
void shuffle_elements(const std::byte* in, std::byte* out, Index elements, Index element_size) {
  const Index size = E > 0 ? E : element_size;
  if constexpr (E > 0) {
    for (Index i = 0; i < elements; ++i)
      for (Index b = 0; b < E; ++b) {
        if constexpr (unshuffle) {
          out[i * E + b] = in[b * elements + i];
        } else {
          out[b * elements + i] = in[i * E + b];
        }
      }
  } else {
    for (Index b = 0; b < size; ++b)
      for (Index i = 0; i < elements; ++i) {
        if constexpr (unshuffle) {
          out[i * size + b] = in[b * elements + i];
        } else {
          out[b * elements + i] = in[i * size + b];
        }
      }
  }
}

template <bool unshuffle>
void shuffle(std::span<const std::byte> in, Index element_size, std::span<std::byte> out) {
  check_shuffle(in, element_size, out);
  const Index elements = std::ssize(in) / element_size;
  const std::size_t whole = static_cast<std::size_t>(elements * element_size);
  switch (element_size) {
    case 2: shuffle_elements<2, unshuffle>(in.data(), out.data(), elements, 2); break;
    case 4: shuffle_elements<4, unshuffle>(in.data(), out.data(), elements, 4); break;
    case 8: shuffle_elements<8, unshuffle>(in.data(), out.data(), elements, 8); break;
    default: shuffle_elements<0, unshuffle>(in.data(), out.data(), elements, element_size); break;
  }
  if (whole < in.size()) std::memcpy(out.data() + whole, in.data() + whole, in.size() - whole);
}
}  // namespace

void byte_shuffle(std::span<const std::byte> in, Index element_size, std::span<std::byte> out) {
  shuffle<false>(in, element_size, out);
}
void byte_unshuffle(std::span<const std::byte> in, Index element_size, std::span<std::byte> out) {
  shuffle<true>(in, element_size, out);
}

}  // namespace farfield::codec
