#pragma once
// Integrating detectors whose pixels switch their gain: the raw word says the gain, each gain has a pedestal and a
// factor. JUNGFRAU (A. Mozzanica et al., J. Instrum. 9, C05010, 2014, doi:10.1088/1748-0221/9/05/C05010; conversion as
// in S. Redford et al., J. Instrum. 13, C11006, 2018, doi:10.1088/1748-0221/13/11/C11006):
//   bits 15 and 14: 00 gain 0 (high), 01 gain 1, 11 gain 2 (low), 10 none; bits 13 to 0: ADU
//   energy = (ADU - pedestal[gain]) / ADU_per_energy[gain]           gains 1 and 2 count downwards: a negative factor

#include <cstdint>

#include "farfield/core/array.hpp"

namespace farfield::pipeline {

inline constexpr int kGains = 3;

/// Constants (gain, y, x). `factor` is energy per ADU, in the unit that the result shall have; negative for gains 1
/// and 2. A pixel without constants has a factor of 0 or one that is not finite.
struct GainConstants {
  core::Array<float, 3> pedestal_ADU, factor;
};

/// Pixels of one frame by what became of them.
struct GainCounts {
  core::Index gain[kGains] = {};  ///< converted
  core::Index saturated = 0;      ///< at the end of gain 2: NaN
  core::Index invalid = 0;        ///< a gain that there is not, or no constants: NaN
};

class GainCorrection {
public:
  /// Throws `invalid_argument` unless both arrays are (3, ny, nx).
  explicit GainCorrection(GainConstants constants);

  core::Index ny() const { return constants_.pedestal_ADU.extent(1); }
  core::Index nx() const { return constants_.pedestal_ADU.extent(2); }
  /// raw(y, x) to energy(y, x); pixels that have none are NaN. Throws `invalid_argument` where shapes differ.
  GainCounts apply(core::View<const std::uint16_t, 2> raw, core::View<float, 2> energy) const;

private:
  GainConstants constants_;
};

}  // namespace farfield::pipeline
