// Any bytes as a message or a preview from a peer: refused, or read so that writing and reading it again gives the
// same.

#include "farfield/services/compute/protocol.hpp"

#include <cstdint>

#include "farfield/core/error.hpp"

using namespace farfield;
using namespace farfield::services::compute;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto refused = [](const auto& read) {
    try {
      read();
    } catch (const core::Error& e) {
      if (e.code() != core::ErrorCode::corrupt_data) __builtin_trap();
    }
  };
  refused([&] {
    const Message message = decode(text);
    std::string written;
    try {
      written = encode(message);
    } catch (const core::Error&) {
      return;  // an output that grew over the limit as its numbers were written out
    }
    if (encode(decode(written)) != written) __builtin_trap();
  });
  refused([&] {
    const Preview preview = decode_preview(text);
    if (decode_preview(encode_preview(preview)).bytes != preview.bytes) __builtin_trap();
  });
  return 0;
}
