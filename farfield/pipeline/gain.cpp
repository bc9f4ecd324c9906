#include "farfield/pipeline/gain.hpp"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "farfield/core/error.hpp"

namespace farfield::pipeline {

using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
constexpr std::uint16_t kAdu = 0x3fff, kEndOfGain2 = 0xc000;  // gain 2 counts down to 0
}

GainCorrection::GainCorrection(GainConstants constants) : constants_(std::move(constants)) {
  const auto &p = constants_.pedestal_ADU.extents(), &f = constants_.factor.extents();
  if (p[0] != kGains || p != f)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("pedestals ({}, {}, {}) and factors ({}, {}, {}) must both be (3, ny, nx)", p[0], p[1],
                            p[2], f[0], f[1], f[2]));
  // What cannot be used becomes NaN once, so that the loop over pixels need not look.
  for (auto& factor : constants_.factor)
    if (factor == 0 || !std::isfinite(factor)) factor = std::numeric_limits<float>::quiet_NaN();
}

GainCounts GainCorrection::apply(core::View<const std::uint16_t, 2> raw, core::View<float, 2> energy) const {
  if (raw.extent(0) != ny() || raw.extent(1) != nx() || energy.extents() != raw.extents())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("a frame of {} x {} pixels, constants of {} x {}, a result of {} x {}", raw.extent(0),
                            raw.extent(1), ny(), nx(), energy.extent(0), energy.extent(1)));
  const auto pedestal = constants_.pedestal_ADU.view(), factor = constants_.factor.view();
  GainCounts counts;
  Index usable = 0, of_gain[4] = {}, bad_of_gain[4] = {};
  for (Index y = 0; y < ny(); ++y) {
    for (Index x = 0; x < nx(); ++x) {
      const std::uint16_t word = raw(y, x);
      const int code = word >> 14;
      const int gain = code - (code >> 1);  // 0, 1, (10: 1, put right below), 11: 2
      float value = (static_cast<float>(word & kAdu) - pedestal(gain, y, x)) * factor(gain, y, x);
      if (code == 2 || word == kEndOfGain2) value = std::numeric_limits<float>::quiet_NaN();
      energy(y, x) = value;
      const bool bad = std::isnan(value);
      ++of_gain[code];
      bad_of_gain[code] += bad ? 1 : 0;
      usable += bad ? 0 : 1;
      counts.saturated += word == kEndOfGain2 ? 1 : 0;
    }
  }
  counts.gain[0] = of_gain[0] - bad_of_gain[0];
  counts.gain[1] = of_gain[1] - bad_of_gain[1];
  counts.gain[2] = of_gain[3] - bad_of_gain[3];
  counts.invalid = ny() * nx() - usable - counts.saturated;
  return counts;
}

}  // namespace farfield::pipeline
