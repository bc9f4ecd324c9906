// A PNG file of up to 64 Ki pixels.

#include <cstdint>

#include "farfield/codec/png.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  (void)farfield::codec::png_decode(std::as_bytes(std::span(data, size)), 1 << 16);
  return 0;
}
