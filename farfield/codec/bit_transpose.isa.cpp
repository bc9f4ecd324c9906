// Bit transposition on whole vectors, the same text for 16-, 32- and 64-byte registers.
//
// A tile is kWidth byte columns (8 kWidth elements) of all 8E rows. Two steps, both exchanges of address bits:
//   1. transpose_bits: the 8 rows of one element byte hold bit r of element 8c+i at (row r, byte c, bit i);
//      three rounds of swaps across registers bring it to (row i, byte c, bit r).
//   2. interleave: register p = E*i + byte now holds that byte of elements 8c+i. With p and c as one number
//      (p, c), unpacking register j with register j + n/2 rotates that number left by one bit; log2(8E) rounds
//      turn (p, c) into (c, p), which is memory order. Shuffling goes on to rotate it by the 4 bits of c.
// Unpacks work inside 16-byte lanes, so a lane keeps its own 16 columns and is stored by itself.
// About 9 + log2(8E) register operations per kWidth bytes (6 + log2(8E) with ternary logic).

#include <cstring>
#include <utility>

#include "farfield/codec/bit_transpose.hpp"

namespace farfield::codec::FARFIELD_ISA_NAMESPACE {
namespace {

#if defined(__AVX512BW__)
constexpr int kWidth = 64;
#elif defined(__AVX2__)
constexpr int kWidth = 32;
#else
constexpr int kWidth = 16;
#endif
// A level that was compiled with the options of a lower one would be right, and slow without a word.
constexpr char level_of(const char* name) { return name[1]; }
#define FARFIELD_TEXT_(x) #x
#define FARFIELD_TEXT(x) FARFIELD_TEXT_(x)
static_assert(kWidth == 16 << (level_of(FARFIELD_TEXT(FARFIELD_ISA_NAMESPACE)) - '2'));
#undef FARFIELD_TEXT
#undef FARFIELD_TEXT_
constexpr int kLane = 16;
using Bytes = std::uint8_t __attribute__((vector_size(kWidth)));
using Words = std::uint16_t __attribute__((vector_size(kWidth)));  // x86 shifts words, not bytes

/// Byte i of lane-wise unpack: the low or high halves of a's and b's lanes, alternating.
constexpr int unpack_index(int i, bool high) {
  return i / kLane * kLane + i % kLane / 2 + (high ? kLane / 2 : 0) + (i % 2 == 1 ? kWidth : 0);
}
template <bool high, int... i>
inline Bytes unpack(Bytes a, Bytes b, std::integer_sequence<int, i...>) {
  return __builtin_shufflevector(a, b, unpack_index(i, high)...);
}
using Every = std::make_integer_sequence<int, kWidth>;

/// One round: (p, c) rotated left by one bit, for n registers.
template <int n>
inline void rotate(const Bytes* in, Bytes* out) {
#pragma GCC unroll 32
  for (int j = 0; j < n / 2; ++j) {
    out[2 * j] = unpack<false>(in[j], in[j + n / 2], Every{});
    out[2 * j + 1] = unpack<true>(in[j], in[j + n / 2], Every{});
  }
}
template <int n, int rounds>
inline void rotate_by(Bytes* t) {
  Bytes u[n];
  rotate<n>(t, u);
  if constexpr (rounds == 1) {
    for (int j = 0; j < n; ++j) t[j] = u[j];
  } else {
    rotate<n>(u, t);
    if constexpr (rounds > 2) rotate_by<n, rounds - 2>(t);
  }
}

/// Exchanges bit `shift` of the register number with bit `shift` of the bit number.
template <int shift, std::uint16_t keep>
inline void swap_bits(Words& a, Words& b) {
  const Words mask = Words{} + keep;
  const Words low = (a & mask) | ((b << shift) & ~mask);
  b = ((a >> shift) & mask) | (b & ~mask);
  a = low;
}
inline void transpose_bits(Words* r) {
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) swap_bits<4, 0x0f0f>(r[i], r[i + 4]);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) swap_bits<2, 0x3333>(r[i + (i & 2)], r[i + (i & 2) + 2]);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) swap_bits<1, 0x5555>(r[2 * i], r[2 * i + 1]);
}

constexpr int log2_of(int n) { return n == 1 ? 0 : 1 + log2_of(n / 2); }

template <int E>
void unshuffle_tile(const std::byte* in, std::int64_t row_bytes, std::byte* out) {
  constexpr int n = 8 * E;
  Bytes t[n];
#pragma GCC unroll 8
  for (int byte = 0; byte < E; ++byte) {
    Words r[8];
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) std::memcpy(&r[k], in + (8 * byte + k) * row_bytes, kWidth);
    transpose_bits(r);
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) t[k * E + byte] = reinterpret_cast<Bytes>(r[k]);
  }
  rotate_by<n, log2_of(n)>(t);
  for (int lane = 0; lane < kWidth / kLane; ++lane)
    for (int j = 0; j < n; ++j)
      std::memcpy(out + (lane * n + j) * kLane, reinterpret_cast<const std::byte*>(&t[j]) + lane * kLane, kLane);
}

template <int E>
void shuffle_tile(const std::byte* in, std::int64_t row_bytes, std::byte* out) {
  constexpr int n = 8 * E;
  Bytes t[n];
  for (int lane = 0; lane < kWidth / kLane; ++lane)
    for (int j = 0; j < n; ++j)
      std::memcpy(reinterpret_cast<std::byte*>(&t[j]) + lane * kLane, in + (lane * n + j) * kLane, kLane);
  rotate_by<n, log2_of(kLane)>(t);
#pragma GCC unroll 8
  for (int byte = 0; byte < E; ++byte) {
    Words r[8];
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) r[k] = reinterpret_cast<Words>(t[k * E + byte]);
    transpose_bits(r);
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) std::memcpy(out + (8 * byte + k) * row_bytes, &r[k], kWidth);
  }
}

/// One byte column (8 elements), for blocks narrower than a tile.
inline std::uint64_t transpose_8x8(std::uint64_t x) {
  const auto swap = [&x](int shift, std::uint64_t mask) {
    const std::uint64_t t = (x ^ (x >> shift)) & mask;
    x ^= t ^ (t << shift);
  };
  swap(7, 0x00aa00aa00aa00aaULL);
  swap(14, 0x0000cccc0000ccccULL);
  swap(28, 0x00000000f0f0f0f0ULL);
  return x;
}
template <int E>
void unshuffle_column(const std::byte* in, std::int64_t row_bytes, std::byte* out) {
  for (int byte = 0; byte < E; ++byte) {
    std::uint64_t x = 0;
    for (int k = 7; k >= 0; --k) x = x << 8 | static_cast<std::uint64_t>(in[(8 * byte + k) * row_bytes]);
    x = transpose_8x8(x);
    for (int k = 0; k < 8; ++k) out[k * E + byte] = static_cast<std::byte>(x >> (8 * k));
  }
}
template <int E>
void shuffle_column(const std::byte* in, std::int64_t row_bytes, std::byte* out) {
  for (int byte = 0; byte < E; ++byte) {
    std::uint64_t x = 0;
    for (int k = 7; k >= 0; --k) x = x << 8 | static_cast<std::uint64_t>(in[k * E + byte]);
    x = transpose_8x8(x);
    for (int k = 0; k < 8; ++k) out[(8 * byte + k) * row_bytes] = static_cast<std::byte>(x >> (8 * k));
  }
}

/// Calls tile(c) for columns c .. c + kWidth, the last tile overlapping its neighbour where the width demands it,
/// or column(c) for each where there are fewer than kWidth.
template <class Tile, class Column>
inline void for_columns(std::int64_t columns, Tile tile, Column column) {
  if (columns < kWidth) {
    for (std::int64_t c = 0; c < columns; ++c) column(c);
    return;
  }
  for (std::int64_t c = 0; c + kWidth <= columns; c += kWidth) tile(c);
  if (columns % kWidth != 0) tile(columns - kWidth);
}

template <int E>
void unshuffle(const std::byte* in, std::byte* out, std::int64_t elements) {
  const std::int64_t columns = elements / 8;
  for_columns(
      columns, [=](std::int64_t c) { unshuffle_tile<E>(in + c, columns, out + c * 8 * E); },
      [=](std::int64_t c) { unshuffle_column<E>(in + c, columns, out + c * 8 * E); });
}
template <int E>
void shuffle(const std::byte* in, std::byte* out, std::int64_t elements) {
  const std::int64_t columns = elements / 8;
  for_columns(
      columns, [=](std::int64_t c) { shuffle_tile<E>(in + c * 8 * E, columns, out + c); },
      [=](std::int64_t c) { shuffle_column<E>(in + c * 8 * E, columns, out + c); });
}

}  // namespace

void bit_unshuffle(const std::byte* in, std::byte* out, std::int64_t elements, std::int64_t element_size) {
  switch (element_size) {
    case 1: return unshuffle<1>(in, out, elements);
    case 2: return unshuffle<2>(in, out, elements);
    case 4: return unshuffle<4>(in, out, elements);
    case 8: return unshuffle<8>(in, out, elements);
    default: break;
  }
}

void bit_shuffle(const std::byte* in, std::byte* out, std::int64_t elements, std::int64_t element_size) {
  switch (element_size) {
    case 1: return shuffle<1>(in, out, elements);
    case 2: return shuffle<2>(in, out, elements);
    case 4: return shuffle<4>(in, out, elements);
    case 8: return shuffle<8>(in, out, elements);
    default: break;
  }
}

}  // namespace farfield::codec::FARFIELD_ISA_NAMESPACE
