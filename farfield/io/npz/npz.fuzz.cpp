// Any bytes as an npz archive: errors are core::Error, memory stays bounded.

#include <cstdint>

#include "farfield/core/error.hpp"
#include "farfield/io/npz/scan.hpp"

using namespace farfield;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  const auto archive = [&] { return io::npz::Npz(io::memory_bytes({bytes, bytes + size}), "fuzz.npz"); };
  try {
    const auto npz = archive();
    for (const auto& name : npz.arrays()) {
      try {
        npz.read(name, 1 << 20);
      } catch (const core::Error&) {}
    }
    io::OpenOptions options;
    options.batch_bytes = 4096;
    const auto source = io::npz::open_tike(archive(), "", options);
    while (source->next({}, [](const model::FrameBatch&) {})) {}
  } catch (const core::Error&) {}
  return 0;
}
