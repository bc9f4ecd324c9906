#pragma once
// Pixels as SIMPLON detectors send them, and how they are unpacked.

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "farfield/core/any_array.hpp"

namespace farfield::stream::dectris {

using core::Index;

enum class Compression {
  none,
  lz4,             ///< stream v1: one bare block; some write the framing of HDF5 there, too
  lz4_framed,      ///< stream v2: the framing of HDF5 filter 32004
  bitshuffle_lz4,  ///< the framing of HDF5 filter 32008
};

/// Pixels (y, x) still packed; the bytes belong to the message.
struct PackedPixels {
  core::DType dtype = core::DType::u16;
  Index ny = 0, nx = 0;
  Compression compression = Compression::none;
  bool big_endian = false;
  std::span<const std::byte> bytes;

  Index pixels_bytes() const { return ny * nx * core::item_size(dtype); }
};

struct Encoding {
  Compression compression = Compression::none;
  Index shuffle_bytes = 0;  ///< of an element, for bitshuffle
  bool big_endian = false;
};

/// Stream v1: [bs<bits>][[-]lz4][<|>], as "lz4<", "bs16-lz4<" or "<". `unsupported` for anything else, also for
/// bitshuffle without compression, which no detector sends.
core::Result<Encoding> parse_encoding(std::string_view text);
/// "uint8", "uint16", "uint32", "float32" ...
core::Result<core::DType> parse_type(std::string_view text);
std::string_view type_name(core::DType type);

/// `corrupt_data` for sides outside 1 to 65536, for a frame over 1 GiB, and for more pixels than the bytes could ever
/// unpack to. Checked before anything is allocated.
core::Result<void> check(const PackedPixels& pixels);
/// Unpacks to `out` of pixels_bytes() bytes, in the machine's order. `corrupt_data`. Thread-safe.
core::Result<void> unpack(const PackedPixels& pixels, std::span<std::byte> out);

}  // namespace farfield::stream::dectris
