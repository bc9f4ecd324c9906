// Any text as a recipe.

#include <cstdint>

#include "farfield/core/error.hpp"
#include "farfield/io/recipe/recipe.hpp"

using namespace farfield;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    io::recipe::parse({reinterpret_cast<const char*>(data), size}, "fuzz.toml");
  } catch (const core::Error&) {}
  return 0;
}
