#pragma once
// Several results of the same measurement made one, without those that do not belong.

#include <span>

#include "farfield/core/options.hpp"
#include "farfield/model/product.hpp"
#include "farfield/technique/technique.hpp"

namespace farfield::techniques::xpcs {

enum class Weighting { errors, equal };

struct AverageOptions {
  double reject = 4;                    ///< results further out than this many robust deviations; 0: none
  std::vector<double>
      baseline_range;   ///< low, high of the mean of g2 over the last three delays and all bins; empty: any
  Weighting weighting = Weighting::errors;
};

const core::BoundSchema<AverageOptions>& average_schema();

/// Averages products of `correlate` with the same delays and bins. For each result i
///   score_i = sqrt(mean over (delay, q) of ((g2_i - median g2) / error_i)^2)
/// and its mean intensity; a result is left out where either is more than `reject` robust standard deviations
/// (1.4826 times the median absolute deviation from the median; scores above, intensities to either side) from the
/// median of all. What deviates by less than a tenth of the median stays in any case. The mean of the rest is weighted
/// by 1 / error^2; its error is the larger of 1 / sqrt(sum 1 / error^2) and the scatter of the results, so that what
/// the single errors do not know of (drift between scans) is in it.
/// The product has delay, g2, g2_error, q, saxs_1d, saxs_2d, the q-map of the first, and per result: used, score,
/// intensity. Throws `invalid_argument` for fewer than two results, for results that differ in delays or bins, and
/// where fewer than one is left.
model::Product average(std::span<const model::Product> results, const AverageOptions& options,
                       technique::Observer& observer);

}  // namespace farfield::techniques::xpcs
