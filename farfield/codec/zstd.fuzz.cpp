// First byte: size of the output in units of 64 bytes; then a frame.

#include <cstdint>
#include <vector>

#include "farfield/codec/zstd.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  std::vector<std::byte> out(std::size_t{data[0]} * 64);
  (void)farfield::codec::zstd_decode(std::as_bytes(std::span(data, size)).subspan(1), out);
  return 0;
}
