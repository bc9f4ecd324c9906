// First byte: bare or framed; second: size of the output where bare.

#include <cstdint>
#include <vector>

#include "farfield/codec/endian.hpp"
#include "farfield/codec/lz4.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace farfield::codec;
  if (size < 10) return 0;
  const auto bytes = std::as_bytes(std::span(data, size));
  if ((data[0] & 1) != 0) {
    std::vector<std::byte> out(std::size_t{data[1]} * 16);
    (void)lz4_decode(bytes.subspan(2), out);
  } else {
    std::vector<std::byte> out(load_be64(bytes.data() + 1) & 0xffff);
    (void)lz4_framed_decode(bytes.subspan(1), out);
  }
  return 0;
}
