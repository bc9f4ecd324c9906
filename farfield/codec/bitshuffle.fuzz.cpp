// First byte: element size and compression; then a chunk. The decoded size is what the header says, up to 64 KiB.

#include <cstdint>
#include <vector>

#include "farfield/codec/bitshuffle.hpp"
#include "farfield/codec/endian.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace farfield::codec;
  if (size < 9) return 0;
  const BitshuffleFormat format{1 << (data[0] & 3),
                                (data[0] & 4) != 0 ? BlockCompression::zstd : BlockCompression::lz4};
  const auto chunk = std::as_bytes(std::span(data, size)).subspan(1);
  std::vector<std::byte> out(load_be64(chunk.data()) & 0xffff);
  (void)bitshuffle_decode(chunk, format, out);
  return 0;
}
