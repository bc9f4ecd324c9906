// Compiled for x86-64-v2, v3 and v4. Written so that the compiler turns each loop into vector code:
// no branch, no aliasing, one pass over memory.

#include "farfield/techniques/statistics/kernels_isa.hpp"

#include <limits>
#include <type_traits>

namespace farfield::techniques::statistics::FARFIELD_ISA_NAMESPACE {

template <class T>
void add(const T* x, double count, double* __restrict mean, double* __restrict m2, std::int64_t n) {
  const double weight = 1.0 / count;
  for (std::int64_t i = 0; i < n; ++i) {
    const double value = static_cast<double>(x[i]);
    const double d = value - mean[i];
    mean[i] += d * weight;
    m2[i] += d * (value - mean[i]);
  }
}

template <class T>
bool all_finite(const T* x, const std::uint8_t* valid, std::int64_t n) {
  if constexpr (std::is_integral_v<T>) {
    return true;
  } else {
    int bad = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      const T magnitude = x[i] < 0 ? -x[i] : x[i];
      bad |= static_cast<int>(valid[i] != 0) & static_cast<int>(!(magnitude <= std::numeric_limits<T>::max()));
    }
    return bad == 0;
  }
}

#define FARFIELD_INSTANTIATE(T)                                           \
  template void add<T>(const T*, double, double*, double*, std::int64_t); \
  template bool all_finite<T>(const T*, const std::uint8_t*, std::int64_t);
FARFIELD_STATISTICS_PIXEL_TYPES(FARFIELD_INSTANTIATE)

}  // namespace farfield::techniques::statistics::FARFIELD_ISA_NAMESPACE
