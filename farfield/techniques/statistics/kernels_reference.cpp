#include <cmath>

#include "farfield/techniques/statistics/kernels.hpp"

namespace farfield::techniques::statistics {
namespace {

double value(const core::AnyImage& image, core::Index y, core::Index x) {
  return core::visit_dtype(image.dtype, [&](auto zero) -> double {
    using T = decltype(zero);
    if constexpr (std::is_arithmetic_v<T>) return static_cast<double>(image.view<T>()(y, x));
    throw core::Error(core::ErrorCode::unsupported, "frames of complex numbers have no mean count");
  });
}

}  // namespace

bool all_finite_reference(const core::AnyImage& image, core::View<const std::uint8_t, 2> valid) {
  for (core::Index y = 0; y < image.ny; ++y)
    for (core::Index x = 0; x < image.nx; ++x)
      if (valid(y, x) != 0 && !std::isfinite(value(image, y, x))) return false;
  return true;
}

void add_frame_reference(const core::AnyImage& image, core::Index count, core::View<double, 2> mean,
                         core::View<double, 2> m2) {
  for (core::Index y = 0; y < image.ny; ++y)
    for (core::Index x = 0; x < image.nx; ++x) {
      const double d = value(image, y, x) - mean(y, x);
      mean(y, x) += d / static_cast<double>(count);
      m2(y, x) += d * (value(image, y, x) - mean(y, x));
    }
}

}  // namespace farfield::techniques::statistics
