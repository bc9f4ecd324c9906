#pragma once
// Two-time correlation of the pixels of one dynamic bin, from their events.
//
//   c2(t1, t2) = 1/N sum over the N pixels p of J_p(t1) J_p(t2),   J_p(t) = I_p(t) / mean of I(t) over the bin of p
// M. Sutton, K. Laaziri, F. Livet, F. Bley, Opt. Express 11, 2268 (2003), doi:10.1364/OE.11.002268.

#include <functional>
#include <span>
#include <vector>

#include "farfield/core/array.hpp"
#include "farfield/techniques/xpcs/event_block.hpp"
#include "farfield/techniques/xpcs/kernels.hpp"

namespace farfield::techniques::xpcs {

/// The pixels of one dynamic bin over all time, each with its events in order of time.
struct BinSeries {
  Index steps = 0;
  std::vector<std::uint8_t> valid;      ///< (step), 0: no good frame
  std::vector<TimedCount> events;       ///< by pixel, then time; one for each time
  std::vector<std::uint64_t> begin;     ///< pixel -> its first event; pixels + 1
  std::vector<std::uint32_t> group;     ///< pixel -> static bin, counted from 0 within the dynamic bin
  std::vector<Index> group_pixels;      ///< pixels of each static bin
  Index pixels() const { return static_cast<Index>(group.size()); }
};
/// Bin `dynamic_bin` (from 1) out of all blocks of a scan.
BinSeries gather_bin(std::span<const EventBlock> blocks, const Tiling& tiling, Index dynamic_bin);

/// Rows of c2 at a time, so that no matrix must fit the memory.
class TwoTime {
public:
  /// `by_static`: pixels are divided by the mean of their static bin, else of the dynamic bin. Keeps a reference.
  TwoTime(const BinSeries& series, bool by_static);
  /// c2(t1, t2) for first <= t1 < first + rows.extent(0), t2 >= t1; the elements before the diagonal are left alone.
  /// rows is (t1 - first, t2), contiguous. NaN where a time step is missing or has no light.
  void rows(Index first, core::View<float, 2> rows) const;

private:
  const BinSeries& series_;
  std::vector<double> weight_;   // (step): 1 / (mean sqrt(N)), NaN where there is none
  std::vector<TimedCount> scaled_;  // by_static: events over the mean of their static bin
};

/// What is made of c2 while its rows pass: g2 by delay, in parts along the diagonal, and cuts.
struct TwoTimeCurves {
  core::Array<double, 1> g2;       ///< (delay), mean of c2(t, t + delay)
  core::Array<double, 2> partial;  ///< (delay, part): t within part w of `length` steps, delay < length
  core::Array<double, 2> cut_time;  ///< (cut, t): c2(cut, t)
  core::Array<double, 2> cut_age;   ///< (cut, delay): c2 across the diagonal, (t1 + t2) / 2 = cut to within a half
};
class CurveSums {
public:
  /// Parts: as many as have all pairs of their delays, floor(steps / length) - 1. `cuts`: time steps in [0, steps).
  CurveSums(Index steps, Index length, std::vector<Index> cuts);
  void add(Index first, core::View<const float, 2> rows);
  TwoTimeCurves curves() const;

private:
  Index steps_, length_;
  std::vector<Index> cuts_;
  core::Array<double, 1> sum_;
  core::Array<std::int64_t, 1> count_;
  core::Array<double, 2> part_sum_;
  core::Array<std::int64_t, 2> part_count_;
  core::Array<double, 2> cut_time_, cut_age_;
};

}  // namespace farfield::techniques::xpcs
