// 64 elements are one word of each of the 8E rows of bits. The rows, or-ed together, say which elements are not 0; the
// bits of these are then collected from the rows that have any, or, where there are many, the block is unshuffled.

#include "farfield/codec/sparse_block.hpp"

#include <immintrin.h>

#include <cstring>

#include "farfield/codec/bit_transpose.hpp"

namespace farfield::codec::FARFIELD_ISA_NAMESPACE {
namespace {

constexpr std::int64_t kWordBytes = 8;

/// any |= row & valid, byte by byte: whole vectors, as the compiler makes them. Returns the or over all.
unsigned join_row(const std::byte* row, const std::byte* valid, std::byte* __restrict any, std::int64_t bytes) {
  std::byte seen{};
  if (valid == nullptr)
    for (std::int64_t c = 0; c < bytes; ++c) {
      any[c] |= row[c];
      seen |= row[c];
    }
  else
    for (std::int64_t c = 0; c < bytes; ++c) {
      const std::byte bits = row[c] & valid[c];
      any[c] |= bits;
      seen |= bits;
    }
  return static_cast<unsigned>(seen);
}

std::uint64_t load_word(const std::byte* from, std::int64_t left) {
  std::uint64_t word = 0;
  std::memcpy(&word, from, left < kWordBytes ? static_cast<std::size_t>(left) : sizeof word);
  return word;
}

/// Calls value(byte column, word of them, bit) for each element that is not 0, and keeps what is large enough.
template <class Value>
std::int64_t collect(const SparseBlock& block, const std::byte* any, core::PixelCount* out, Value value) {
  const std::int64_t columns = block.elements / 8;
  std::int64_t made = 0;
  for (std::int64_t c = 0; c < columns; c += kWordBytes)
    for (std::uint64_t left = load_word(any + c, columns - c); left != 0; left &= left - 1) {
      const int bit = __builtin_ctzll(left);
      const std::uint32_t count = value(c, bit);
      // Written before it is judged: no branch that would be guessed wrong.
      out[made] = {block.first + static_cast<std::uint32_t>(8 * c + bit), count};
      made += count > block.above ? 1 : 0;
    }
  return made;
}

template <int E>
std::uint32_t load_element(const std::byte* from) {
  std::uint32_t value = 0;
  std::memcpy(&value, from, E);
  return value;
}

#if defined(__AVX512BW__)
// Whole vectors whatever they hold: about one cycle for each element.
constexpr std::int64_t kElementCost = 1;

template <int E>
__m512i load_elements(const std::byte* from) {
  if constexpr (E == 1) return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  else if constexpr (E == 2) return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  else return _mm512_loadu_si512(from);
}

/// From elements in order. Stores 16 events at a time: those to come write over what was too much, and behind the last
/// of n elements there is none.
template <int E>
std::int64_t collect_ordered(const SparseBlock& block, const std::byte* any, const std::byte* ordered,
                             core::PixelCount* out) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
  const __m512i above = _mm512_set1_epi32(static_cast<int>(block.above));
  __m512i index = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(block.first)),
                                   _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  std::int64_t made = 0, i = 0;
  for (; i + 16 <= block.elements; i += 16) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, any + i / 8, sizeof bits);
    const __m512i value = load_elements<E>(ordered + i * E);
    const __mmask16 keep = _mm512_mask_cmpgt_epu32_mask(bits, value, above);
    const __m512i kept_index = _mm512_maskz_compress_epi32(keep, index);
    const __m512i kept_value = _mm512_maskz_compress_epi32(keep, value);
    _mm512_storeu_si512(out + made, _mm512_permutex2var_epi32(kept_index, low, kept_value));
    _mm512_storeu_si512(out + made + 8, _mm512_permutex2var_epi32(kept_index, high, kept_value));
    made += __builtin_popcount(keep);
    index = _mm512_add_epi32(index, _mm512_set1_epi32(16));
  }
  for (; i < block.elements; ++i) {
    const std::uint32_t value = load_element<E>(ordered + i * E);
    if ((static_cast<unsigned>(any[i / 8]) >> (i % 8) & 1U) != 0 && value > block.above)
      out[made++] = {block.first + static_cast<std::uint32_t>(i), value};
  }
  return made;
}
#else
constexpr std::int64_t kElementCost = 2;

/// From elements in order, every one of them: where many are kept, looking for the next one takes longer.
template <int E>
std::int64_t collect_ordered(const SparseBlock& block, const std::byte* any, const std::byte* ordered,
                             core::PixelCount* out) {
  std::int64_t made = 0;
  for (std::int64_t i = 0; i < block.elements; ++i) {
    const std::uint32_t value = load_element<E>(ordered + i * E);
    out[made] = {block.first + static_cast<std::uint32_t>(i), value};
    made += (static_cast<unsigned>(any[i / 8]) >> (i % 8) & 1U) & (value > block.above ? 1U : 0U);
  }
  return made;
}
#endif

template <int E>
std::int64_t run(const SparseBlock& block, std::byte* room, core::PixelCount* out) {
  const std::int64_t columns = block.elements / 8;
  std::byte* any = room;
  std::memset(any, 0, static_cast<std::size_t>(columns));
  int rows[8 * E];
  int used = 0;
  for (int r = 0; r < 8 * E; ++r)
    if (join_row(block.shuffled + r * columns, block.valid, any, columns) != 0) rows[used++] = r;
  if (used == 0) return 0;

  std::int64_t events = 0;
  for (std::int64_t c = 0; c < columns; c += kWordBytes)
    events += __builtin_popcountll(load_word(any + c, columns - c));
  // Cycles, roughly: two for each bit of an event; a quarter of one for each byte that is unshuffled.
  if (8 * events * used > block.elements * (E + 4 * kElementCost)) {
    std::byte* ordered = room + columns;
    bit_unshuffle(block.shuffled, ordered, block.elements, E);
    return collect_ordered<E>(block, any, ordered, out);
  }
  if (used == 1) return collect(block, any, out, [&](std::int64_t, int) { return std::uint32_t{1} << rows[0]; });
  return collect(block, any, out, [&](std::int64_t c, int bit) {
    const std::byte* byte = block.shuffled + c + bit / 8;
    std::uint32_t count = 0;
    for (int k = 0; k < used; ++k)
      count |= (static_cast<std::uint32_t>(byte[rows[k] * columns]) >> (bit % 8) & 1U) << rows[k];
    return count;
  });
}

}  // namespace

std::int64_t sparse_block(const SparseBlock& block, std::byte* room, core::PixelCount* out) {
  switch (block.element_size) {
    case 1: return run<1>(block, room, out);
    case 2: return run<2>(block, room, out);
    case 4: return run<4>(block, room, out);
    default: return 0;
  }
}

}  // namespace farfield::codec::FARFIELD_ISA_NAMESPACE
