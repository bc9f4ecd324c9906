#pragma once
// The 1024-byte header before every frame of an IMM file (APS sector 8).

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "farfield/core/view.hpp"

namespace farfield::io::imm {

inline constexpr core::Index kHeaderBytes = 1024;
inline constexpr std::int32_t kCompressed = 6;  ///< value of `compression` where frames are stored sparse

/// The fields that are used; little-endian, at the offsets of the C struct with its natural alignment.
struct Header {
  std::int32_t compression = 0;
  std::int32_t rows = 0, cols = 0;
  std::int32_t bytes = 2;         ///< of a pixel value: 2, or 4
  double elapsed_s = 0;           ///< since the first frame
  double exposure_s = 0;          ///< `preset`
  std::uint32_t length = 0;       ///< `dlen`: values that follow
  std::int32_t number = 0, buffer_number = 0;
  std::uint32_t tick = 0;

  bool sparse() const { return compression == kCompressed; }
  /// Bytes behind the header: sparse, an int32 pixel number and a value each; else the values.
  core::Index payload_bytes() const { return core::Index{length} * (bytes + (sparse() ? 4 : 0)); }
  /// Why no frame can follow this header; null where one can.
  const char* implausible() const;
};

Header parse(std::span<const std::byte, kHeaderBytes> stored);
std::array<std::byte, kHeaderBytes> format(const Header& header);

}  // namespace farfield::io::imm
