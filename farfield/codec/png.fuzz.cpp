// A PNG file of up to 4096 pixels.

#include <cstdint>

#include "farfield/codec/png.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  (void)farfield::codec::png_decode(std::as_bytes(std::span(data, size)), 4096);
  return 0;
}
