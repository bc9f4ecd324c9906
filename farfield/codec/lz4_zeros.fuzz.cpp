// Two bytes of decoded length, then a block: what both decode must come out the same. (liblz4 takes matches of
// distance 0, which the format does not have.)

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "farfield/codec/lz4.hpp"
#include "farfield/codec/lz4_zeros.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace farfield::codec;
  if (size < 2) return 0;
  const std::size_t bytes = data[0] | static_cast<std::size_t>(data[1]) << 8;
  const auto block = std::as_bytes(std::span(data, size)).subspan(2);
  std::vector<std::byte> expected(bytes), room(bytes + static_cast<std::size_t>(kLz4ZerosSlack));
  const bool decodes = lz4_decode(block, expected).has_value();
  const bool done = lz4_decode_zeros(block, static_cast<farfield::core::Index>(bytes), room).has_value();
  if (decodes && done && bytes > 0 && std::memcmp(expected.data(), room.data(), bytes) != 0) std::abort();
  return 0;
}
