#include "farfield/techniques/xpcs/kernels.hpp"

#include "farfield/core/cpu.hpp"
#include "farfield/techniques/xpcs/kernels_isa.hpp"

namespace farfield::techniques::xpcs {
namespace {

template <class T>
std::int64_t compact_row(const T* row, std::int64_t n, std::uint32_t first_pixel, model::PixelCount* out) {
  switch (core::isa()) {
    case core::Isa::v4: return v4::compact(row, n, first_pixel, out);
    case core::Isa::v3: return v3::compact(row, n, first_pixel, out);
    case core::Isa::v2: break;
  }
  return v2::compact(row, n, first_pixel, out);
}

}  // namespace

void correlate_tile(const TileBlock& tile) {
  switch (core::isa()) {
    case core::Isa::v4: return v4::correlate_tile(tile);
    case core::Isa::v3: return v3::correlate_tile(tile);
    case core::Isa::v2: break;
  }
  return v2::correlate_tile(tile);
}

void add_scaled(float* row, const float* x, float value, std::int64_t n) {
  switch (core::isa()) {
    case core::Isa::v4: return v4::add_scaled(row, x, value, n);
    case core::Isa::v3: return v3::add_scaled(row, x, value, n);
    case core::Isa::v2: break;
  }
  return v2::add_scaled(row, x, value, n);
}

std::int64_t compact(const std::uint8_t* row, std::int64_t n, std::uint32_t first_pixel, model::PixelCount* out) {
  return compact_row(row, n, first_pixel, out);
}
std::int64_t compact(const std::uint16_t* row, std::int64_t n, std::uint32_t first_pixel, model::PixelCount* out) {
  return compact_row(row, n, first_pixel, out);
}
std::int64_t compact(const std::uint32_t* row, std::int64_t n, std::uint32_t first_pixel, model::PixelCount* out) {
  return compact_row(row, n, first_pixel, out);
}

}  // namespace farfield::techniques::xpcs
