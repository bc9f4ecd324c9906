#include <cstring>

#include "farfield/codec/bit_transpose.hpp"

namespace farfield::codec::reference {
namespace {
bool bit_at(const std::byte* bytes, std::int64_t bit) {
  return (std::to_integer<unsigned>(bytes[bit / 8]) >> (bit % 8) & 1U) != 0;
}
void set_bit(std::byte* bytes, std::int64_t bit) { bytes[bit / 8] |= static_cast<std::byte>(1U << (bit % 8)); }
}  // namespace

void bit_shuffle(const std::byte* in, std::byte* out, std::int64_t elements, std::int64_t element_size) {
  const std::int64_t bits = 8 * element_size;
  if (elements == 0) return;
  std::memset(out, 0, static_cast<std::size_t>(elements * element_size));
  for (std::int64_t i = 0; i < elements; ++i)
    for (std::int64_t b = 0; b < bits; ++b)
      if (bit_at(in, i * bits + b)) set_bit(out, b * elements + i);
}

void bit_unshuffle(const std::byte* in, std::byte* out, std::int64_t elements, std::int64_t element_size) {
  const std::int64_t bits = 8 * element_size;
  if (elements == 0) return;
  std::memset(out, 0, static_cast<std::size_t>(elements * element_size));
  for (std::int64_t i = 0; i < elements; ++i)
    for (std::int64_t b = 0; b < bits; ++b)
      if (bit_at(in, b * elements + i)) set_bit(out, i * bits + b);
}

}  // namespace farfield::codec::reference
