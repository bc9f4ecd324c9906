// Any bytes as an IMM file: errors are core::Error, every pixel of a frame lies within it.

#include <cstdint>
#include <cstdlib>

#include "farfield/core/error.hpp"
#include "farfield/io/imm/imm.hpp"

using namespace farfield;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  try {
    io::OpenOptions options;
    options.batch_bytes = 4096;
    const auto source = io::imm::open(io::memory_bytes({bytes, bytes + size}), "fuzz.imm", "", options);
    const auto& detector = source->acquisition().detector;
    while (source->next({}, [&](const model::FrameBatch& batch) {
      for (const auto& frame : batch.frames)
        for (const auto& event : frame.sparse.events)
          if (event.pixel >= detector.ny * detector.nx) std::abort();
    })) {}
  } catch (const core::Error&) {}
  return 0;
}
