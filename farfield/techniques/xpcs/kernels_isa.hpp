#pragma once
// The kernels, declared once per instruction set level.

#include "farfield/techniques/xpcs/kernels.hpp"

#define FARFIELD_XPCS_DECLARE(level)                                                                                 \
  namespace level {                                                                                                  \
  void correlate_tile(const TileBlock& tile);                                                                        \
  void add_scaled(float* row, const float* x, float value, std::int64_t n);                                          \
  std::int64_t compact(const std::uint8_t* row, std::int64_t n, std::uint32_t first_pixel, model::PixelCount* out);  \
  std::int64_t compact(const std::uint16_t* row, std::int64_t n, std::uint32_t first_pixel, model::PixelCount* out); \
  std::int64_t compact(const std::uint32_t* row, std::int64_t n, std::uint32_t first_pixel, model::PixelCount* out); \
  }

namespace farfield::techniques::xpcs {
FARFIELD_XPCS_DECLARE(v2)
FARFIELD_XPCS_DECLARE(v3)
FARFIELD_XPCS_DECLARE(v4)
}  // namespace farfield::techniques::xpcs
