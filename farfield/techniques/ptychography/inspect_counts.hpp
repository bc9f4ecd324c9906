#pragma once
// One pass over the patterns: what every pixel and every frame came to.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "farfield/core/any_array.hpp"
#include "farfield/model/acquisition.hpp"
#include "farfield/model/frame.hpp"

namespace farfield::techniques::ptychography {

struct FrameCounts {
  double total = 0, peak = 0;  ///< over the valid pixels
  core::Index saturated = 0;   ///< valid pixels at or above saturation
};

/// Sums over the frames given so far. Plain data: copied by clone(), saved block by block.
struct CountStatistics {
  core::Array<double, 2> sum, peak;  ///< (y, x)
  core::Array<double, 1>
      histogram;  ///< valid pixel values in bins 0, [1, 2), [2, 4), [4, 8) ...; bin 1 also holds (0, 1)
  std::map<model::FrameId, FrameCounts> frames;

  CountStatistics clone() const;
};

class PatternCounter {
public:
  static constexpr core::Index kHistogramBins = 42;

  /// Throws `corrupt_data` when the mask hides every pixel.
  explicit PatternCounter(const model::Detector& detector);

  /// Adds a frame. Returns why it was refused (shape, not finite, negative), or nothing.
  std::optional<std::string> add(model::FrameId id, const core::AnyImage& image);

  const CountStatistics& statistics() const { return statistics_; }
  CountStatistics& statistics() { return statistics_; }
  const core::Array<std::uint8_t, 2>& valid() const { return valid_; }  ///< (y, x), 1 = good
  /// Counts at or above are not to be trusted: of the detector, else the largest value of an integer pixel type.
  std::optional<double> saturation() const { return saturation_; }

private:
  template <class T>
  std::optional<std::string> add(model::FrameId id, core::View<const T, 2> image);

  core::Array<std::uint8_t, 2> valid_;
  std::optional<double> saturation_;
  CountStatistics statistics_;
};

/// Valid pixels that never counted although a Poisson pixel as bright as the darkest of its valid neighbours would
/// have, at odds of exp(25) to 1.
std::vector<core::Index> dead_pixel_candidates(const CountStatistics& statistics,
                                               const core::Array<std::uint8_t, 2>& valid);

/// Valid pixels brighter than ten times the brightest of their valid neighbours (a pattern is oversampled: real
/// peaks are wider than a pixel), by more than 20 counts in all.
std::vector<core::Index> hot_pixel_candidates(const CountStatistics& statistics,
                                              const core::Array<std::uint8_t, 2>& valid);

}  // namespace farfield::techniques::ptychography
