// Any bytes. What decodes is written again and must then decode to the same bytes once more.

#include <cstdint>
#include <cstdlib>

#include "farfield/codec/cbor.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace farfield::codec;
  const auto message = std::as_bytes(std::span(data, size));
  const auto first = cbor_decode(message);
  if (!first) return 0;
  const auto written = CborWriter().value(first->root()).message();
  // Pieces of strings count as items only while they are in pieces: the second message has no more of them.
  const auto second = cbor_decode(written);
  if (!second || CborWriter().value(second->root()).message() != written) std::abort();
  return 0;
}
