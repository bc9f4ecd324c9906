// Any bytes as a container of blocks.

#include <cstdint>

#include "farfield/core/error.hpp"
#include "farfield/io/container.hpp"
#include "farfield/io/fuzz_folder.hpp"

using namespace farfield;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto path = io::fuzz::scratch("container");
  io::fuzz::write(path, data, size);
  try {
    const io::ContainerReader reader(path);
    for (const auto& name : reader.names()) {
      try {
        reader.get(name);
      } catch (const core::Error&) {}
    }
  } catch (const core::Error&) {}
  return 0;
}
