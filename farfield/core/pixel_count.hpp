#pragma once
// One pixel of a sparse image. A header of its own: kernels include it.

#include <cstdint>

namespace farfield::core {

struct PixelCount {
  std::uint32_t pixel = 0;  ///< y * nx + x
  std::uint32_t count = 0;
};

}  // namespace farfield::core
