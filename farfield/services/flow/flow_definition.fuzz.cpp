// A definition from outside: parsed, or refused with its mistakes.

#include <cstdint>
#include <string_view>

#include "farfield/services/flow/definition.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  (void)farfield::services::flow::check_definition({reinterpret_cast<const char*>(data), size});
  return 0;
}
