#pragma once
// g2 of every pixel as time goes on, in memory bounded by pixels x levels.
//
//   G2(k) = 1/N sum I_t I_t+k,   IP(k) = 1/N sum I_t,   IF(k) = 1/N sum I_t+k
// over the N pairs (t, t + k) of a level whose samples are both good: symmetric normalisation. Then, over the pixels of
// a static bin s, g2_s = <G2> / (<IP> <IF>), and for a dynamic bin d the mean of its g2_s.
// D. Lumma, L. B. Lurio, S. G. J. Mochrie, M. Sutton, Rev. Sci. Instrum. 71, 3274 (2000), doi:10.1063/1.1287637.

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "farfield/core/array.hpp"
#include "farfield/core/thread_pool.hpp"
#include "farfield/techniques/xpcs/event_block.hpp"
#include "farfield/techniques/xpcs/kernels.hpp"
#include "farfield/techniques/xpcs/lags.hpp"

namespace farfield::techniques::xpcs {

/// Sums over the pixels of each static bin, for each lag; what ranks add up.
struct BinSums {
  enum Part { kG2, kPast, kFuture, kRatio, kRatio2, kParts };
  std::vector<Lag> lags;
  std::vector<Index> pairs;  ///< good pairs of each lag
  core::Array<double, 3> sums;  ///< (lag, static bin, part): G2, IP, IF (sums over pairs), r, r^2; r = G2/(IP IF)
  core::Array<double, 1> intensity;  ///< (static bin), sum over pixels and steps
  core::Array<double, 2> window_intensity;  ///< (window, static bin)
  core::Array<double, 1> pixel_intensity;  ///< (place in the tiles), sum over steps
};

/// Of one pixel, where they are kept: sums over pairs, divided by their number.
struct PixelCorrelations {
  core::Array<float, 2> g2, past, future;  ///< (lag, slot of PixelOrder)
};

class Correlator {
public:
  /// `window_steps`: length of the windows of window_intensity. `first_tile`, `last_tile`: the tiles of this rank.
  Correlator(const Tiling& tiling, const LagScheme& scheme, Index window_steps, Index first_tile, Index last_tile);
  ~Correlator();

  /// The time steps that follow what came so far.
  void absorb(const EventBlock& block, core::ThreadPool& pool);
  /// Of everything absorbed, and of `rest`, which comes after it, as if it were absorbed too. Same bits either way.
  /// `pixels`, where given, is filled.
  BinSums sums(const EventBlock& rest, core::ThreadPool& pool, PixelCorrelations* pixels = nullptr) const;

  Index steps() const;  ///< absorbed so far
  /// Bytes of level data for a scan of `steps` time steps.
  static double bytes(const Tiling& tiling, const LagScheme& scheme, Index steps);

  /// The state as blocks of bytes, in order; put them back in the same order into a new one of the same making.
  void save(const std::function<void(std::span<const std::byte>)>& put) const;
  void restore(const std::function<std::vector<std::byte>()>& get);

private:
  struct Tile;
  struct LevelTime;
  struct Plan;
  struct Scratch;
  static void run(Tile& tile, Index number, const EventBlock& block, const Plan& plan, Scratch& scratch,
                  const Correlator& self);
  void collect(const Tile& tile, Index number, BinSums& out, core::View<double, 3> edges,
               PixelCorrelations* pixels) const;

  const Tiling& tiling_;
  LagScheme scheme_;
  Index window_steps_, first_tile_;
  std::vector<LevelTime> time_;  // one per level that has samples
  std::vector<Tile> tiles_;  // first_tile_ ...
};

/// g2 and its errors from the sums.
///   g2(d) = mean over static bins s of d of <G2>_s / (<IP>_s <IF>_s), those without light left out (NaN if all are)
///   error(d) = standard deviation of G2_p / (IP_p IF_p) over the N pixels p of d, dark ones as 0, / sqrt(N)
///   bin_error(d) = standard deviation (n - 1) of g2_s over the n static bins of d, / sqrt(n); NaN for one bin
/// `error` is what the field reports. Each pixel is normalised by its own mean there, so that it misses the speckles
/// that come and go slowly; `bin_error` has them.
struct G2Table {
  core::Array<double, 2> g2, error, bin_error;  ///< (lag, dynamic bin)
};
G2Table g2_of(const BinSums& sums, const PixelOrder& order, Index dynamic_bins);

}  // namespace farfield::techniques::xpcs
