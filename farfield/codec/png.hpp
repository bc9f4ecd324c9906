#pragma once
// PNG images (RFC 2083) of 8 bits per channel, to and from bytes.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "farfield/core/error.hpp"
#include "farfield/core/view.hpp"

namespace farfield::codec {

/// pixels[(y * nx + x) * channels + c]. Channels: 1 gray, 3 RGB, 4 RGBA (alpha not premultiplied).
struct Image8 {
  core::Index ny = 0, nx = 0;
  int channels = 3;
  std::vector<std::uint8_t> pixels{};
  /// tEXt: keyword (1 to 79 Latin-1 characters) and text ("Title", "Author", "Software", "Description" ...).
  std::vector<std::pair<std::string, std::string>> text{};
  /// Pixels per metre (pHYs), 0: not said.
  std::uint32_t pixels_per_metre = 0;
};

/// `level` 1 (fast) to 9 (small). Throws `invalid_argument` where sizes contradict each other or an axis is not
/// 1 to 2^31 - 1.
std::vector<std::byte> png_encode(const Image8& image, int level = 6);

/// Any PNG; palettes, 1-16 bits and interlacing are turned into 8-bit gray, RGB or RGBA (gray with alpha becomes
/// RGBA). Untrusted: `corrupt_data` on malformed input, `resource_exhausted` above `max_pixels`.
core::Result<Image8> png_decode(std::span<const std::byte> data, core::Index max_pixels = core::Index{1} << 28);

}  // namespace farfield::codec
