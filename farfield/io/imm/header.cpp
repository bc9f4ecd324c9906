#include "farfield/io/imm/header.hpp"

#include <bit>
#include <cstring>
#include <type_traits>

namespace farfield::io::imm {

static_assert(std::endian::native == std::endian::little, "headers are read as they are stored");

namespace {
constexpr std::int32_t kMostPixels = 1 << 20;  // along one edge
constexpr std::size_t kMark = 1012, kMarkBytes = 12;

// Calls `f(offset, field)` for every field that is used.
template <class H, class F>
void for_each_field(H& h, F&& f) {
  f(4, h.compression);
  f(56, h.number);
  f(108, h.rows);
  f(112, h.cols);
  f(116, h.bytes);
  f(128, h.elapsed_s);
  f(136, h.exposure_s);
  f(152, h.length);
  f(160, h.buffer_number);
  f(164, h.tick);
}
}  // namespace

const char* Header::implausible() const {
  if (rows < 1 || rows > kMostPixels || cols < 1 || cols > kMostPixels) return "the frame has no possible shape";
  if (core::Index{rows} * cols >= core::Index{1} << 31) return "the frame has more than 2^31 pixels";
  if (bytes != 2 && bytes != 4) return "a value has neither 2 nor 4 bytes";
  if (compression < 0 || compression > kCompressed) return "the compression is unknown";
  const core::Index pixels = core::Index{rows} * cols;
  if (sparse() ? core::Index{length} > pixels : core::Index{length} != pixels)
    return "the number of values does not fit the shape of the frame";
  return nullptr;
}

Header parse(std::span<const std::byte, kHeaderBytes> stored) {
  Header h;
  for_each_field(h, [&](std::size_t at, auto& field) { std::memcpy(&field, stored.data() + at, sizeof field); });
  return h;
}

std::array<std::byte, kHeaderBytes> format(const Header& header) {
  std::array<std::byte, kHeaderBytes> stored{};
  const auto put = [&](std::size_t at, const auto& field) { std::memcpy(stored.data() + at, &field, sizeof field); };
  for_each_field(header, put);
  // What readers of the format expect besides: acquisition mode, the whole chip unbinned, and the end mark.
  put(0, std::int32_t{2});
  put(88, header.rows - 1);
  put(96, header.cols - 1);
  put(100, std::int32_t{1});
  put(104, std::int32_t{1});
  put(616, std::int32_t{12});
  std::memset(stored.data() + kMark, 0xff, kMarkBytes);
  return stored;
}

}  // namespace farfield::io::imm
