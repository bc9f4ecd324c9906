#include "farfield/codec/bitshuffle_sparse.hpp"

#include <fmt/core.h>

#include <cstring>
#include <limits>

#include "farfield/codec/sparse_block.hpp"

namespace farfield::codec {

using core::ErrorCode;
using core::Index;

namespace {
constexpr Index kGroup = 8;

core::Result<void> check(const BitshuffleChunk& chunk, const SparseRule& rule, Index room) {
  const auto refuse = [](std::string message) {
    return core::failure(ErrorCode::invalid_argument, std::move(message));
  };
  const Index size = chunk.format.element_size;
  if (size != 1 && size != 2 && size != 4)
    return refuse(fmt::format("counts of {} bytes cannot be made sparse; 1, 2 and 4 are possible", size));
  const Index elements = chunk.bytes / size;
  if (elements > Index{std::numeric_limits<std::uint32_t>::max()})
    return refuse(fmt::format("a chunk of {} elements must have less than 2^32", elements));
  if (room < elements) return refuse(fmt::format("room for {} of {} elements", room, elements));
  if (!rule.valid.empty() && std::ssize(rule.valid) != (elements + 7) / 8)
    return refuse(fmt::format("a mask of {} bytes for {} elements", rule.valid.size(), elements));
  return {};
}

/// Elements that are stored as they are.
Index keep(std::span<const std::byte> stored, Index size, Index first, const SparseRule& rule, core::PixelCount* out) {
  Index made = 0;
  for (Index i = 0; i < std::ssize(stored) / size; ++i) {
    const Index at = first + i;
    std::uint32_t value = 0;
    std::memcpy(&value, stored.data() + i * size, static_cast<std::size_t>(size));
    const bool good = rule.valid.empty() ||
                      (std::to_integer<unsigned>(rule.valid[static_cast<std::size_t>(at / 8)]) >> (at % 8) & 1U) != 0;
    if (good && value > rule.above) out[made++] = {static_cast<std::uint32_t>(at), value};
  }
  return made;
}
}  // namespace

std::vector<std::byte> valid_bits(std::span<const std::uint32_t> mask) {
  std::vector<std::byte> bits((mask.size() + 7) / 8);
  for (std::size_t i = 0; i < mask.size(); ++i)
    if (mask[i] == 0) bits[i / 8] |= static_cast<std::byte>(1U << (i % 8));
  return bits;
}

core::Result<Index> bitshuffle_sparse(const BitshuffleChunk& chunk, const SparseRule& rule,
                                      std::span<core::PixelCount> out) {
  if (auto good = check(chunk, rule, std::ssize(out)); !good) return tl::unexpected(good.error());
  const Index size = chunk.format.element_size;
  BitshuffleReader reader(chunk);
  const Index largest = reader.next_bytes();  // the first block
  BlockBuffer room(largest + largest / kGroup);
  Index first = 0, made = 0;
  while (const Index bytes = reader.next_bytes()) {
    const auto shuffled = reader.next_shuffled();
    if (!shuffled) return tl::unexpected(shuffled.error());
    core::PixelCount* to = out.data() + made;
    if (bytes < kGroup * size) {
      made += keep(*shuffled, size, first, rule, to);
    } else {
      // Blocks are multiples of 8 elements: their bits of the mask begin with a byte.
      const std::byte* valid = rule.valid.empty() ? nullptr : rule.valid.data() + first / kGroup;
      made += sparse_block({shuffled->data(), bytes / size, size, valid, rule.above, static_cast<std::uint32_t>(first)},
                           room.data(), to);
    }
    first += bytes / size;
  }
  if (auto done = reader.finish(); !done) return tl::unexpected(done.error());
  return made;
}

core::Result<Index> bitshuffle_sparse(std::span<const std::byte> chunk, const BitshuffleFormat& format, Index elements,
                                      const SparseRule& rule, std::span<core::PixelCount> out) {
  Index bytes = 0;
  if (elements < 0 || __builtin_mul_overflow(elements, format.element_size, &bytes))
    return core::failure(ErrorCode::invalid_argument, fmt::format("{} elements are not possible", elements));
  const auto opened = open_bitshuffle(chunk, format, bytes);
  if (!opened) return tl::unexpected(opened.error());
  return bitshuffle_sparse(*opened, rule, out);
}

}  // namespace farfield::codec
