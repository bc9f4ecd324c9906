#pragma once
// Fits of g2: how fast, how much, and how the relaxation time depends on q.

#include <array>
#include <span>
#include <string>
#include <vector>

#include "farfield/core/array.hpp"
#include "farfield/core/options.hpp"
#include "farfield/model/product.hpp"
#include "farfield/technique/technique.hpp"

namespace farfield::techniques::xpcs {

using core::Index;

/// single:  g2(t) = baseline + contrast exp(-2 (t / tau)^stretch)
/// double:  g2(t) = baseline + contrast [fraction exp(-(t / tau)^stretch) + (1 - fraction) exp(-(t /
/// slow_tau)^slow_stretch)]^2
enum class FitModel { single_exponential, double_exponential };

struct FitOptions {
  FitModel model = FitModel::single_exponential;
  double baseline = 0;                 ///< > 0: fixed at this value; 0: free
  double contrast = 0;                 ///< likewise
  double stretch = 0;                  ///< likewise, of both terms
  std::string share;                   ///< "contrast,baseline,stretch": one value for all q, fitted together
  std::vector<double> delay_range;     ///< low, high in the unit of the delays; empty: all
  std::vector<double> q_range;         ///< of the bins that enter; empty: all
  Index resample = 16;  ///< groups of pixels left out in turn for the errors, where the result keeps them
  bool law = true;  ///< tau = prefactor q^exponent through the relaxation times
};

const core::BoundSchema<FitOptions>& fit_schema();

/// Parameters in the order of the model; those of the single exponential are the first four.
enum FitParameter { kBaseline, kContrast, kTau, kStretch, kFraction, kSlowTau, kSlowStretch, kFitParameters };
const char* name(FitParameter parameter);

double model_g2(FitModel model, std::span<const double, kFitParameters> parameters, double delay);

struct CurveFit {
  std::array<double, kFitParameters> value{},
      error{};  ///< error: one standard deviation; 0 where fixed; NaN: not known
  double chi2 = 0;  ///< sum of ((g2 - model) / error)^2
  Index points = 0;  ///< that entered
  bool converged = false;
};

struct PowerLaw {
  double prefactor = 0, prefactor_error = 0, exponent = 0, exponent_error = 0;
  double chi2 = 0;
  Index points = 0;
};

/// Fits g2(delay, q) with standard errors(delay, q); points that are not finite, or whose error is not > 0, are left
/// out. Errors of the parameters follow from the inverse of J^T J at the minimum; where a fit is worse than its errors
/// allow (chi2 above the degrees of freedom) they are widened by sqrt(chi2 / degrees of freedom). A bin with fewer
/// points than free parameters, or without a minimum, gives NaN and converged = false. `begin`, where given, has a fit
/// of nearly the same curve for each bin, to go on from. Throws `invalid_argument` for shapes that differ, delays that
/// are not > 0, or a name in `share` that is unknown.
std::vector<CurveFit> fit_g2(std::span<const double> delay, core::View<const double, 2> g2,
                             core::View<const double, 2> error, const FitOptions& options,
                             std::span<const CurveFit> begin = {});

/// ln(tau) = ln(prefactor) + exponent ln(q), a straight line weighted by (tau / error)^2; points without tau, error or
/// q > 0 are left out. Fewer than two points: NaN.
PowerLaw fit_law(std::span<const double> q, std::span<const double> tau, std::span<const double> error);

/// The verb: a product with g2 in, the parameters, curves and residuals out. Relaxation times are in seconds where the
/// product knows its frame time, else in frames. Where the result keeps its pixels (PixelGroups), the errors are those
/// of the jackknife: sqrt((K - 1) / K sum (x_k - mean x)^2) over the fits without group k of K = `resample`, of tau on
/// a logarithmic scale (B. Efron, C. Stein 1981, doi:10.1214/aos/1176345462). Throws `invalid_argument` where the
/// product has no g2.
model::Product fit(const model::Product& result, const FitOptions& options, technique::Observer& observer);

}  // namespace farfield::techniques::xpcs
