#include "farfield/techniques/statistics/kernels.hpp"

#include "farfield/core/cpu.hpp"
#include "farfield/techniques/statistics/kernels_isa.hpp"

namespace farfield::techniques::statistics {
namespace {

template <class T>
struct Rows {
  bool (*all_finite)(const T*, const std::uint8_t*, std::int64_t);
  void (*add)(const T*, double, double*, double*, std::int64_t);
};

template <class T>
Rows<T> rows() {
  switch (core::isa()) {
    case core::Isa::v4: return {v4::all_finite<T>, v4::add<T>};
    case core::Isa::v3: return {v3::all_finite<T>, v3::add<T>};
    case core::Isa::v2: break;
  }
  return {v2::all_finite<T>, v2::add<T>};
}

/// Calls f(pixels, row kernels) with the image in its own type.
template <class F>
void visit(const core::AnyImage& image, F&& f) {
  core::visit_dtype(image.dtype, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (std::is_arithmetic_v<T>) f(image.view<T>(), rows<T>());
    else throw core::Error(core::ErrorCode::unsupported, "frames of complex numbers have no mean count");
  });
}

}  // namespace

bool all_finite(const core::AnyImage& image, core::View<const std::uint8_t, 2> valid) {
  bool finite = true;
  visit(image, [&](auto x, auto kernels) {
    for (core::Index y = 0; y < image.ny && finite; ++y)
      finite = kernels.all_finite(x[y].data(), valid[y].data(), image.nx);
  });
  return finite;
}

void add_frame(const core::AnyImage& image, core::Index count, core::View<double, 2> mean, core::View<double, 2> m2) {
  visit(image, [&](auto x, auto kernels) {
    for (core::Index y = 0; y < image.ny; ++y)
      kernels.add(x[y].data(), static_cast<double>(count), mean[y].data(), m2[y].data(), image.nx);
  });
}

}  // namespace farfield::techniques::statistics
