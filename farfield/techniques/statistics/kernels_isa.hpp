#pragma once
// The kernels on one row of pixels, declared once per instruction set level. T: any real pixel type.

#include <cstdint>

#define FARFIELD_STATISTICS_PIXEL_TYPES(X)                                                                          \
  X(std::uint8_t)                                                                                                   \
  X(std::uint16_t) X(std::uint32_t) X(std::uint64_t) X(std::int8_t) X(std::int16_t) X(std::int32_t) X(std::int64_t) \
      X(float) X(double)

#define FARFIELD_STATISTICS_DECLARE(level)                                      \
  namespace level {                                                             \
  template <class T>                                                            \
  void add(const T* x, double count, double* mean, double* m2, std::int64_t n); \
  template <class T>                                                            \
  bool all_finite(const T* x, const std::uint8_t* valid, std::int64_t n);       \
  }

namespace farfield::techniques::statistics {
FARFIELD_STATISTICS_DECLARE(v2)
FARFIELD_STATISTICS_DECLARE(v3)
FARFIELD_STATISTICS_DECLARE(v4)
}  // namespace farfield::techniques::statistics
