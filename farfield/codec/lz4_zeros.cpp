#include "farfield/codec/lz4_zeros.hpp"

#include <fmt/core.h>

#include <cstdint>
#include <cstring>

#include "farfield/codec/endian.hpp"

// The format: https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md

namespace farfield::codec {
namespace {

using core::ErrorCode;
using core::Index;
using Word = std::uint64_t;
constexpr std::ptrdiff_t kWord = sizeof(Word);
static_assert(kLz4ZerosSlack >= kWord);
constexpr std::ptrdiff_t kNibble = 15, kLeastMatch = 4, kLongLiterals = 32;

Word load(const std::byte* from) {
  Word w;
  std::memcpy(&w, from, sizeof w);
  return w;
}
void store(std::byte* to, Word w) { std::memcpy(to, &w, sizeof w); }
/// The first n bytes of a word, 1 <= n <= 8; 0 in place of the others.
Word first_bytes(Word w, std::ptrdiff_t n) { return w & (~Word{0} >> (8 * (kWord - n))); }

/// Everything behind `at` is 0 and stays so: stores write zeros beyond their end, never anything else.
class Output {
public:
  Output(std::byte* begin, std::byte* end) : begin_(begin), end_(end), at_(begin), used_(begin) {}

  std::ptrdiff_t left() const { return end_ - at_; }
  std::ptrdiff_t made() const { return at_ - begin_; }

  /// n > 0 bytes; `readable` of them can be loaded.
  void literals(const std::byte* from, std::ptrdiff_t n, std::ptrdiff_t readable) {
    if (n > kLongLiterals || readable < n + kWord) {
      std::memcpy(at_, from, static_cast<std::size_t>(n));
      at_ += n;
      used_ = at_;
      return;
    }
    for (; n > kWord; n -= kWord, from += kWord, at_ += kWord) put(load(from));
    put(first_bytes(load(from), n));
    at_ += n;
  }

  /// n >= 4 bytes from `distance` back, 1 <= distance <= made().
  void match(std::ptrdiff_t distance, std::ptrdiff_t n) {
    if (at_ - distance >= used_) {  // zeros repeat themselves
      at_ += n;
      return;
    }
    if (distance < kWord) {  // a period of several times the distance, once that much is there
      for (std::ptrdiff_t i = 0; i < 2 * kWord; ++i) {
        if (n == 0) {
          used_ = at_;
          return;
        }
        *at_ = *(at_ - distance);
        ++at_;
        --n;
      }
      used_ = at_;
      distance *= (kWord + distance - 1) / distance;
    }
    for (; n > kWord; n -= kWord, at_ += kWord) put(load(at_ - distance));
    if (n == 0) return;
    put(first_bytes(load(at_ - distance), n));
    at_ += n;
  }

private:
  /// Behind used_ there are only zeros.
  void put(Word w) {
    store(at_, w);
    if (w != 0) used_ = at_ + kWord - __builtin_clzll(w) / 8;
  }
  std::byte *begin_, *end_, *at_, *used_;
};

}  // namespace

core::Result<void> lz4_decode_zeros(std::span<const std::byte> block, Index bytes, std::span<std::byte> room) {
  if (bytes < 0 || std::ssize(room) < bytes + kLz4ZerosSlack)
    return core::failure(
        ErrorCode::invalid_argument,
        fmt::format("room for {} bytes for an LZ4 block of {} and {} more", room.size(), bytes, kLz4ZerosSlack));
  const auto malformed = [&] {
    return core::failure(ErrorCode::corrupt_data, fmt::format("LZ4 block of {} bytes is malformed or does not decode "
                                                              "to {} bytes",
                                                              block.size(), bytes));
  };
  std::memset(room.data(), 0, static_cast<std::size_t>(bytes + kLz4ZerosSlack));
  Output out(room.data(), room.data() + bytes);
  const std::byte *in = block.data(), *const end = in + block.size();
  /// What follows a nibble of 15; -1 where the block ends. Cannot overflow: 255 a byte.
  const auto extended = [&](std::ptrdiff_t length) -> std::ptrdiff_t {
    for (;;) {
      if (in == end) return -1;
      const auto more = std::to_integer<std::ptrdiff_t>(*in++);
      length += more;
      if (more != 255) return length;
    }
  };
  for (;;) {
    if (in == end) return malformed();
    const auto token = std::to_integer<unsigned>(*in++);
    std::ptrdiff_t literals = token >> 4;
    if (literals == kNibble) literals = extended(literals);
    if (literals < 0 || literals > end - in || literals > out.left()) return malformed();
    if (literals > 0) out.literals(in, literals, end - in);
    in += literals;
    if (in == end) break;  // the last sequence has no match
    if (end - in < 2) return malformed();
    const auto distance = std::to_integer<std::ptrdiff_t>(in[0]) | std::to_integer<std::ptrdiff_t>(in[1]) << 8;
    in += 2;
    std::ptrdiff_t length = token & 15U;
    if (length == kNibble) length = extended(length);
    if (length < 0 || length + kLeastMatch > out.left() || distance == 0 || distance > out.made()) return malformed();
    out.match(distance, length + kLeastMatch);
  }
  if (out.left() != 0) return malformed();
  return {};
}

}  // namespace farfield::codec
