// A SIMPLON message of either version. First byte: 0 = one part; else parts with a length of 3 bytes before each.
// Images of up to 1 MiB are unpacked, too.

#include <cstdint>
#include <vector>

#include "farfield/stream/dectris/message.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace farfield::stream::dectris;
  if (size < 1) return 0;
  const auto bytes = std::as_bytes(std::span(data, size));
  std::vector<std::span<const std::byte>> parts;
  if (data[0] == 0) {
    parts.push_back(bytes.subspan(1));
  } else {
    for (std::size_t at = 1; at + 3 <= size && parts.size() < 16;) {
      const std::size_t length = data[at] | data[at + 1] << 8 | data[at + 2] << 16;
      at += 3;
      parts.push_back(bytes.subspan(at, std::min(length, size - at)));
      at += parts.back().size();
    }
  }
  const auto message = parse(parts);
  if (!message) return 0;
  if (const auto* image = std::get_if<SeriesImage>(&message->content))
    for (const auto& channel : image->channels) {
      if (channel.pixels.pixels_bytes() > (1 << 20)) continue;
      std::vector<std::byte> out(static_cast<std::size_t>(channel.pixels.pixels_bytes()));
      (void)unpack(channel.pixels, out);
    }
  return 0;
}
