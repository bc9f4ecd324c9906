#pragma once
// Instruction set chosen at start. Hot kernels are compiled once per level; nothing uses -march=native.

#include <string_view>

namespace farfield::core {

/// x86-64 micro-architecture levels: v2 = SSE4.2, v3 = AVX2 + FMA, v4 = AVX-512 (F, BW, CD, DQ, VL).
enum class Isa { v2 = 2, v3 = 3, v4 = 4 };

/// The best level of this machine, or the lower one named by the environment variable FARFIELD_ISA
/// (v2, v3, v4). Throws `invalid_argument` for another word or a level that the machine lacks.
Isa isa();

/// isa() for a machine whose best level is `best` and the word `wanted` ("" for none).
Isa choose_isa(Isa best, std::string_view wanted);

std::string_view name(Isa isa);

}  // namespace farfield::core
