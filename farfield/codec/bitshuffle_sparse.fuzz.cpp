// First byte: element size, compression, mask; second: threshold; then a chunk of up to 64 Ki elements. What decodes
// must give the same events as decoding and then looking.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "farfield/codec/bitshuffle_sparse.hpp"
#include "farfield/codec/endian.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace farfield::codec;
  if (size < 10) return 0;
  const BitshuffleFormat format{1 << ((data[0] & 3) % 3),
                                (data[0] & 4) != 0 ? BlockCompression::zstd : BlockCompression::lz4};
  const auto chunk = std::as_bytes(std::span(data, size)).subspan(2);
  const auto elements = static_cast<farfield::core::Index>(load_be64(chunk.data()) & 0xffff) / format.element_size;
  std::vector<std::byte> valid;
  if ((data[0] & 8) != 0) valid.assign(static_cast<std::size_t>(elements + 7) / 8, std::byte{data[1]});
  std::vector<farfield::core::PixelCount> events(static_cast<std::size_t>(elements));
  const auto made = bitshuffle_sparse(chunk, format, elements, {data[1], valid}, events);

  std::vector<std::byte> decoded(static_cast<std::size_t>(elements * format.element_size));
  const bool decodes = bitshuffle_decode(chunk, format, decoded).has_value();
  // liblz4 takes some blocks that the format does not have, and refuses some ends that could be decoded.
  if (!decodes || !made) return 0;
  farfield::core::Index next = 0;
  for (std::uint32_t i = 0; i < elements; ++i) {
    std::uint32_t value = 0;
    std::memcpy(&value, decoded.data() + i * format.element_size, static_cast<std::size_t>(format.element_size));
    if (value <= data[1] || (!valid.empty() && (data[1] >> (i % 8) & 1) == 0)) continue;
    if (next >= *made || events[static_cast<std::size_t>(next)].pixel != i ||
        events[static_cast<std::size_t>(next)].count != value)
      std::abort();
    ++next;
  }
  if (next != *made) std::abort();
  return 0;
}
