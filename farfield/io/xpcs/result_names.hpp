#pragma once
// Private to this folder: where each dataset of a product stands in a result file.

#include <array>

namespace farfield::io::xpcs {

struct Place {
  const char* name;      ///< of the dataset in the product
  int rank;              ///< there
  const char* path;      ///< below /xpcs
  const char* exchange;  ///< below /exchange; null: the older layout has none
  const char* axes;      ///< comma-separated, slow -> fast
};

inline constexpr std::array kPlaces{
    Place{"g2", 2, "multitau/normalized_g2", "norm-0-g2", "delay,q"},
    Place{"g2_error", 2, "multitau/normalized_g2_err", "norm-0-stderr", "delay,q"},
    Place{"g2_partial", 3, "multitau/normalized_g2_partial", nullptr, "part,delay,q"},
    Place{"g2_partial_error", 3, "multitau/normalized_g2_partial_err", nullptr, "part,delay,q"},
    Place{"c2_g2", 2, "twotime/normalized_g2", "g2full", "delay,bin"},
    Place{"c2_g2_partial", 3, "twotime/normalized_g2_segments", "g2partials", "delay,part,bin"},
    Place{"bins", 1, "twotime/processed_bins", nullptr, "bin"},
    Place{"saxs_2d", 2, "temporal_mean/scattering_2d", "pixelSum", "y,x"},
    Place{"saxs_1d_partial", 2, "temporal_mean/scattering_1d_segments", "partition-mean-partial", "window,static"},
};

}  // namespace farfield::io::xpcs
