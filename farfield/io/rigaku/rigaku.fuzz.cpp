// Any bytes as one module of a Rigaku detector, and cut in six as those of a 3M detector: errors are core::Error,
// every pixel of a frame lies within it.

#include <cstdint>
#include <cstdlib>

#include "farfield/core/error.hpp"
#include "farfield/io/rigaku/rigaku.hpp"

using namespace farfield;

namespace {
void take_all(model::FrameSource& source) {
  const auto& detector = source.acquisition().detector;
  int batches = 0;
  // A word may name any of 2^24 frames, and the ones before it are empty: enough is enough.
  while (++batches < 3 && source.next(
                              {},
                              [&](const model::FrameBatch& batch) {
                                for (const auto& frame : batch.frames)
                                  for (const auto& event : frame.sparse.events)
                                    if (event.pixel >= detector.ny * detector.nx) std::abort();
                              })) {}
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  io::OpenOptions options;
  options.batch_bytes = 4096;
  try {
    take_all(*io::rigaku::open_500k(io::memory_bytes({bytes, bytes + size}), "fuzz.bin", "", options));
  } catch (const core::Error&) {}
  try {
    std::vector<std::unique_ptr<io::Bytes>> modules;
    std::vector<std::string> names;
    const std::size_t part = size / 6;
    for (std::size_t i = 0; i < 6; ++i) {
      modules.push_back(io::memory_bytes({bytes + i * part, bytes + (i + 1) * part}));
      names.push_back("fuzz.bin.00" + std::to_string(i));
    }
    take_all(*io::rigaku::open_3m(std::move(modules), names, "", options));
  } catch (const core::Error&) {}
  return 0;
}
