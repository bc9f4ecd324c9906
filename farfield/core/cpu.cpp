#include "farfield/core/cpu.hpp"

#include <cstdlib>
#include <string>

#include "farfield/core/error.hpp"

namespace farfield::core {
namespace {
Isa detect() {
  Isa best = Isa::v2;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2") &&
      __builtin_cpu_supports("bmi")) {
    best = Isa::v3;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
      best = Isa::v4;
  }
  const char* wanted = std::getenv("FARFIELD_ISA");
  if (wanted == nullptr || *wanted == '\0') return best;
  for (const Isa level : {Isa::v2, Isa::v3, Isa::v4})
    if (name(level).ends_with(wanted)) {
      if (level > best)
        throw Error(
            ErrorCode::invalid_argument,
            "FARFIELD_ISA=" + std::string(wanted) + " is more than this machine has (" + std::string(name(best)) + ")");
      return level;
    }
  throw Error(ErrorCode::invalid_argument, "FARFIELD_ISA=" + std::string(wanted) + " must be one of v2, v3, v4");
}
}  // namespace

Isa isa() {
  static const Isa chosen = detect();
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
