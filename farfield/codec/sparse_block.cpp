#include "farfield/codec/sparse_block.hpp"

#include <cstring>

#include "farfield/codec/bit_transpose.hpp"
#include "farfield/core/cpu.hpp"

namespace farfield::codec {

std::int64_t sparse_block(const SparseBlock& block, std::byte* room, core::PixelCount* out) {
  switch (core::isa()) {
    case core::Isa::v4: return v4::sparse_block(block, room, out);
    case core::Isa::v3: return v3::sparse_block(block, room, out);
    case core::Isa::v2: return v2::sparse_block(block, room, out);
  }
  return 0;
}

std::int64_t reference::sparse_block(const SparseBlock& block, std::byte* room, core::PixelCount* out) {
  bit_unshuffle(block.shuffled, room, block.elements, block.element_size);
  std::int64_t made = 0;
  for (std::int64_t i = 0; i < block.elements; ++i) {
    std::uint32_t value = 0;
    std::memcpy(&value, room + i * block.element_size, static_cast<std::size_t>(block.element_size));
    const bool good = block.valid == nullptr || (std::to_integer<unsigned>(block.valid[i / 8]) >> (i % 8) & 1U) != 0;
    if (good && value > block.above) out[made++] = {block.first + static_cast<std::uint32_t>(i), value};
  }
  return made;
}

}  // namespace farfield::codec
