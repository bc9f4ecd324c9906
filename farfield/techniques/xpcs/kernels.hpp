#pragma once
// The arithmetic of one tile of pixels over one block of time, as plain pointers: compiled per instruction set.

#include <cstdint>

#include "farfield/model/pixel_count.hpp"

namespace farfield::techniques::xpcs {

/// What one sample of a pixel counted; `at` counts samples from the first of a level's history.
struct TimedCount {
  std::uint32_t at;
  float value;
};

/// One level of a tile during one block. Row `slot` of each array belongs to one pixel.
struct LevelBlock {
  std::int64_t history = 0;    ///< samples kept from the past: as many as the longest lag
  std::int64_t first_lag = 0, lags = 0;
  std::int64_t samples = 0;    ///< new ones in this block
  std::int64_t before = 0;     ///< samples that this level had before the block
  float* recent = nullptr;     ///< (slot, history), the last samples, oldest first; 0 before the first
  float* first = nullptr;      ///< (slot, history), the first samples
  double* g2 = nullptr;        ///< (slot, lags), sum over pairs of I_t I_t+k
  double* total = nullptr;     ///< (slot), sum over samples
  /// Samples that are missing (bad frames). Null where none is, and only then sparse sums are possible.
  const std::uint8_t* valid = nullptr;  ///< (history + samples)
  double* gap_past = nullptr;    ///< (slot, lags), sum of I_t where t + k is missing
  double* gap_future = nullptr;  ///< (slot, lags), sum of I_t where t - k is missing
};

struct TileBlock {
  std::int64_t slots = 0, levels = 0;
  LevelBlock* level = nullptr;
  /// Events by slot, then time: those of slot s are [begin[s], begin[s + 1]); `at` is the time step in the block. Equal
  /// times stand side by side and are added.
  const TimedCount* events = nullptr;
  const std::uint32_t* begin = nullptr;
  /// Scratch: two rows of max(history + samples) + kRowPadding floats over all levels.
  float* row[2] = {nullptr, nullptr};
  /// Scratch: two lists of history + most events of a slot, + 1.
  TimedCount* list[2] = {nullptr, nullptr};
};
inline constexpr std::int64_t kRowPadding = 64;

/// Carries a tile over a block: every pair whose later sample is in it is added to g2, for every level.
/// Level l + 1 has samples of twice the length: the sum of two, or twice the good one where the other is missing.
/// Sums of products are taken in float within a vector lane (at most samples / lanes terms) and in double beyond: exact
/// for counts whose level sums of products stay below 2^24, else within 1e-7 typically.
void correlate_tile(const TileBlock& tile);

/// row[i] += value x[i]
void add_scaled(float* row, const float* x, float value, std::int64_t n);

/// Writes the pixels that are not 0 to `out` (room for n), with `first_pixel` added to their position; returns how
/// many.
std::int64_t compact(const std::uint8_t* row, std::int64_t n, std::uint32_t first_pixel, model::PixelCount* out);
std::int64_t compact(const std::uint16_t* row, std::int64_t n, std::uint32_t first_pixel, model::PixelCount* out);
std::int64_t compact(const std::uint32_t* row, std::int64_t n, std::uint32_t first_pixel, model::PixelCount* out);

}  // namespace farfield::techniques::xpcs
