#pragma once
// g2 with some of the pixels left out: how much a fit owes to chance.

#include <vector>

#include "farfield/core/array.hpp"
#include "farfield/model/product.hpp"
#include "farfield/techniques/xpcs/qmap.hpp"

namespace farfield::techniques::xpcs {

/// The pixels of a result that keeps them (`correlate --keep-pixels`), dealt out to groups in turn within each static
/// bin. Pixels further apart than a speckle are independent of each other, delays are not: what changes when a group is
/// left out holds the noise that the delays have in common, which the errors of g2 cannot tell.
class PixelGroups {
public:
  /// Whether the product has G2, IP, IF, pixel and a map.
  static bool possible(const model::Product& result);
  /// Throws `corrupt_data` where these contradict each other.
  PixelGroups(const model::Product& result, Index groups);

  /// g2(delay, q) as correlate computes it, from all groups but `left_out` (-1: from all).
  core::Array<double, 2> g2_without(Index left_out) const;

private:
  struct Sums {
    double g2 = 0, ip = 0, if_ = 0;
  };
  Index groups_, delays_ = 0, dynamic_bins_ = 0, static_bins_ = 0;
  std::vector<std::uint32_t> dynamic_of_;  // static bin - 1 -> dynamic bin
  std::vector<Sums> sums_;                 // [delay][static bin][group]
  std::vector<double> pixels_;             // [static bin][group]
};

}  // namespace farfield::techniques::xpcs
