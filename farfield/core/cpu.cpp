#include "farfield/core/cpu.hpp"

#include <cstdlib>
#include <string>

#include "farfield/core/error.hpp"

namespace farfield::core {

Isa choose_isa(Isa best, std::string_view wanted) {
  if (wanted.empty()) return best;
  for (const Isa level : {Isa::v2, Isa::v3, Isa::v4}) {
    if (wanted != name(level).substr(name(level).size() - 2)) continue;
    if (level > best)
      throw Error(ErrorCode::invalid_argument, "FARFIELD_ISA=" + std::string(wanted) +
                                                   " is more than this machine has (" + std::string(name(best)) + ")");
    return level;
  }
  throw Error(ErrorCode::invalid_argument, "FARFIELD_ISA=" + std::string(wanted) + " must be one of v2, v3, v4");
}

Isa isa() {
  static const Isa chosen = [] {
    const Isa best = __builtin_cpu_supports("x86-64-v4")   ? Isa::v4
                     : __builtin_cpu_supports("x86-64-v3") ? Isa::v3
                                                           : Isa::v2;
    const char* wanted = std::getenv("FARFIELD_ISA");
    return choose_isa(best, wanted == nullptr ? "" : wanted);
  }();
  return chosen;
}

std::string_view name(Isa isa) {
  switch (isa) {
    case Isa::v2: return "x86-64-v2";
    case Isa::v3: return "x86-64-v3";
    case Isa::v4: return "x86-64-v4";
  }
  return "unknown";
}

}  // namespace farfield::core
