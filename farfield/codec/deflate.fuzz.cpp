// First byte: wrapping; second: size of the output in units of 16 bytes; then a stream.

#include <cstdint>
#include <vector>

#include "farfield/codec/deflate.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace farfield::codec;
  if (size < 2) return 0;
  std::vector<std::byte> out(std::size_t{data[1]} * 16);
  (void)inflate(std::as_bytes(std::span(data, size)).subspan(2), static_cast<DeflateWrapping>(data[0] % 3), out);
  return 0;
}
