#include "farfield/techniques/xpcs/fit.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "farfield/techniques/xpcs/pixel_groups.hpp"
#include "farfield/techniques/xpcs/product_parts.hpp"
#include "farfield/techniques/xpcs/result.hpp"

namespace farfield::techniques::xpcs {

using core::Error;
using core::ErrorCode;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

void check_range(const std::vector<double>& range, const char* name) {
  if (!range.empty() && (range.size() != 2 || !(range[0] < range[1])))
    throw Error(ErrorCode::invalid_argument, fmt::format("option {} must be low,high", name));
}

std::string text_of(const model::Product& p, const std::string& key) {
  const auto found = p.provenance.find(key);
  return found == p.provenance.end() ? "" : found->second;
}

/// What a standard deviation out of n values is to be multiplied with so that two of them hold as much as two of a
/// normal distribution, 95.4 %: half the quantile of Student's t with n - 1 degrees of freedom, by the expansion of
/// R. A. Fisher and E. A. Cornish (Technometrics 2, 209 (1960), doi:10.1080/00401706.1960.10489895) about z = 2.
double student(double n) {
  constexpr double z = 2, z2 = z * z;
  const double v = n - 1;
  const double t = z * (1 + (z2 + 1) / (4 * v) + (5 * z2 * z2 + 16 * z2 + 3) / (96 * v * v) +
                        (3 * z2 * z2 * z2 + 19 * z2 * z2 + 17 * z2 - 15) / (384 * v * v * v));
  return t / z;
}

/// Errors from fits without one group of the pixels each, in place of those that the fits have of themselves.
void jackknife(std::vector<CurveFit>& fits, const PixelGroups& groups, std::span<const double> delay,
               const core::Array<double, 2>& error, const FitOptions& o) {
  std::vector<std::vector<CurveFit>> without;
  for (Index k = 0; k < o.resample; ++k) {
    const auto g2 = groups.g2_without(k);
    if (g2.extents() != error.extents())
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("the pixels of the result give g2 ({}, {}), it has ({}, {})", g2.extent(0), g2.extent(1),
                              error.extent(0), error.extent(1)));
    without.push_back(fit_g2(delay, g2, error, o, fits));
  }
  for (std::size_t q = 0; q < fits.size(); ++q)
    for (std::size_t p = 0; p < kFitParameters; ++p) {
      if (!fits[q].converged || !(fits[q].error[p] > 0)) continue;
      const bool time = p == kTau || p == kSlowTau;
      double n = 0, mean = 0, squares = 0;
      for (const auto& w : without)
        if (w[q].converged && std::isfinite(w[q].value[p])) {
          const double x = time ? std::log(w[q].value[p]) : w[q].value[p], d = x - mean;
          mean += d / ++n;
          squares += d * (x - mean);
        }
      if (n < 2) continue;
      const double sigma = student(n) * std::sqrt((n - 1) / n * squares);
      fits[q].error[p] = time ? sigma * fits[q].value[p] : sigma;
    }
}

}  // namespace

const char* name(FitParameter parameter) {
  constexpr std::array kNames{"baseline", "contrast", "tau", "stretch", "fraction", "slow_tau", "slow_stretch"};
  return kNames.at(static_cast<std::size_t>(parameter));
}

PowerLaw fit_law(std::span<const double> q, std::span<const double> tau, std::span<const double> error) {
  double w = 0, wx = 0, wy = 0;
  PowerLaw law{kNaN, kNaN, kNaN, kNaN, kNaN, 0};
  const auto usable = [&](std::size_t i) {
    return q[i] > 0 && tau[i] > 0 && error[i] > 0 && std::isfinite(q[i]) && std::isfinite(tau[i]) &&
           std::isfinite(error[i]);
  };
  const auto weight = [&](std::size_t i) { return (tau[i] / error[i]) * (tau[i] / error[i]); };
  for (std::size_t i = 0; i < tau.size(); ++i) {
    if (!usable(i)) continue;
    w += weight(i);
    wx += weight(i) * std::log(q[i]);
    wy += weight(i) * std::log(tau[i]);
    ++law.points;
  }
  if (law.points < 2) return law;
  const double mx = wx / w, my = wy / w;
  double sxx = 0, sxy = 0;
  for (std::size_t i = 0; i < tau.size(); ++i) {
    if (!usable(i)) continue;
    sxx += weight(i) * (std::log(q[i]) - mx) * (std::log(q[i]) - mx);
    sxy += weight(i) * (std::log(q[i]) - mx) * (std::log(tau[i]) - my);
  }
  if (!(sxx > 0)) return law;
  law.exponent = sxy / sxx;
  law.exponent_error = std::sqrt(1 / sxx);
  const double intercept = my - law.exponent * mx;
  law.prefactor = std::exp(intercept);
  law.prefactor_error = law.prefactor * std::sqrt(1 / w + mx * mx / sxx);
  law.chi2 = 0;
  for (std::size_t i = 0; i < tau.size(); ++i) {
    if (!usable(i)) continue;
    const double r = std::log(tau[i]) - intercept - law.exponent * std::log(q[i]);
    law.chi2 += weight(i) * r * r;
  }
  return law;
}

model::Product fit(const model::Product& result, const FitOptions& o, technique::Observer& observer) {
  check_range(o.delay_range, "delay-range");
  check_range(o.q_range, "q-range");
  const auto& delay_frames = needed(result, result::kDelay, 1);
  const auto g2 = needed(result, result::kG2, 2).data.to<double, 2>();
  const auto error = needed(result, result::kG2Error, 2).data.to<double, 2>();
  const auto timed = result.metrics.find(result::kFrameTime);
  const double frame_time = timed == result.metrics.end() ? 1 : timed->second;
  const std::string unit = timed == result.metrics.end() ? "frames" : "s";
  auto frames = delay_frames.data.to<double, 1>();
  std::vector<double> delay(frames.begin(), frames.end());
  for (double& t : delay) t *= frame_time;

  const Index bins = g2.extent(1);
  std::vector<double> q(static_cast<std::size_t>(bins));
  for (std::size_t i = 0; i < q.size(); ++i) q[i] = static_cast<double>(i + 1);
  bool known_q = false;
  if (const auto* d = result.find(result::kQ); d != nullptr && d->data.rank() == 1 && d->data.size() == bins) {
    const auto values = d->data.to<double, 1>();
    known_q = std::any_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
    if (known_q) q.assign(values.begin(), values.end());
  }
  auto chosen = g2.clone();
  for (Index b = 0; b < bins; ++b) {
    const double v = q[static_cast<std::size_t>(b)];
    if (!o.q_range.empty() && !(v >= o.q_range[0] && v <= o.q_range[1]))
      for (Index i = 0; i < g2.extent(0); ++i) chosen(i, b) = kNaN;
  }
  auto fits = fit_g2(delay, chosen, error, o);
  const bool resampled = o.resample > 1 && PixelGroups::possible(result);
  if (resampled) jackknife(fits, PixelGroups(result, o.resample), delay, error, o);

  model::Product p;
  p.technique = "xpcs";
  p.verb = "fit";
  p.metrics = {};
  if (timed != result.metrics.end()) p.metrics[result::kFrameTime] = frame_time;
  const std::string q_unit =
      known_q ? text_of(result, "qmap/map_units").substr(0, text_of(result, "qmap/map_units").find(',')) : "";
  const auto add = [&](const std::string& name, core::AnyArray data, const std::string& of,
                       const std::vector<std::string>& axes, const std::string& help, const std::string& draw = "") {
    p.datasets.push_back({name, std::move(data), of, axes, help, draw});
  };
  add("delay", core::AnyArray(frames), "frames", {"delay"}, "delays of g2", "none");
  add("time", array_of(delay), unit, {"delay"}, "delays of g2", "abscissa-log");
  add("q", array_of(q), q_unit, {"q"}, known_q ? "value of each bin" : "number of each bin",
      known_q ? "abscissa-log" : "abscissa");
  add("g2", core::AnyArray(g2), "", {"delay", "q"}, "as measured", "curves");
  add("g2_error", core::AnyArray(error), "", {"delay", "q"}, "standard error", "error");
  core::Array<double, 2> curve({g2.extent(0), bins}, kNaN), residual({g2.extent(0), bins}, kNaN);
  std::vector<double> chi2;
  std::vector<std::uint8_t> converged;
  double total_chi2 = 0;
  Index failed = 0;
  for (Index b = 0; b < bins; ++b) {
    const auto& f = fits[static_cast<std::size_t>(b)];
    Index free = 0;
    for (const double e : f.error) free += e > 0 ? 1 : 0;
    chi2.push_back(f.points > free ? f.chi2 / static_cast<double>(f.points - free) : kNaN);
    converged.push_back(f.converged ? 1 : 0);
    if (!f.converged) {
      failed += f.points > 0 ? 1 : 0;
      continue;
    }
    total_chi2 += f.chi2;
    for (Index i = 0; i < g2.extent(0); ++i) {
      curve(i, b) = model_g2(o.model, f.value, delay[static_cast<std::size_t>(i)]);
      const double sigma = error(i, b);
      if (sigma > 0) residual(i, b) = (chosen(i, b) - curve(i, b)) / sigma;
    }
  }
  add("g2_fit", core::AnyArray(curve), "", {"delay", "q"}, "the model at the delays", "model");
  add("residual", core::AnyArray(residual), "", {"delay", "q"}, "(g2 - model) / error, of the points that entered",
      "curves");
  const int parameters = o.model == FitModel::single_exponential ? 4 : kFitParameters;
  for (int k = 0; k < parameters; ++k) {
    std::vector<double> value, sigma;
    for (const auto& f : fits) {
      value.push_back(f.value[static_cast<std::size_t>(k)]);
      sigma.push_back(f.error[static_cast<std::size_t>(k)]);
    }
    const std::string n = name(static_cast<FitParameter>(k)), u = k == kTau || k == kSlowTau ? unit : "";
    add(n, array_of(value), u, {"q"}, n + " of each bin", u.empty() ? "" : "log");
    add(n + "_error", array_of(sigma), u, {"q"}, "one standard deviation; 0: fixed", "error");
  }
  add("chi2_reduced", array_of(chi2), "", {"q"}, "chi2 per degree of freedom", "none");
  add("converged", core::AnyArray(core::View<const std::uint8_t, 1>(converged.data(), {bins})), "", {"q"}, "1: fitted",
      "none");
  p.metrics["chi2"] = total_chi2;
  p.metrics["resampled"] = resampled ? static_cast<double>(o.resample) : 0;
  p.metrics["bins_fitted"] = static_cast<double>(std::count(converged.begin(), converged.end(), 1));
  if (failed > 0) observer.warning(fmt::format("{} of {} bins could not be fitted; they are NaN", failed, bins));
  if (o.law && known_q) {
    const auto* tau = p.find("tau");
    const auto* tau_error = p.find("tau_error");
    const auto t = tau->data.to<double, 1>(), s = tau_error->data.to<double, 1>();
    const auto law = fit_law(q, {t.begin(), t.end()}, {s.begin(), s.end()});
    p.metrics["law_exponent"] = law.exponent;
    p.metrics["law_exponent_error"] = law.exponent_error;
    p.metrics["law_prefactor"] = law.prefactor;
    p.metrics["law_prefactor_error"] = law.prefactor_error;
    p.metrics["law_chi2"] = law.chi2;
    std::vector<double> line;
    for (const double v : q) line.push_back(v > 0 ? law.prefactor * std::pow(v, law.exponent) : kNaN);
    add("tau_law", array_of(line), unit, {"q"}, "tau = prefactor q^exponent", "log");
  }
  for (const auto& d : result.datasets)
    if (d.name.starts_with("qmap/")) p.datasets.push_back(d);
  for (const char* key : {"qmap/map_names", "qmap/map_units"})
    if (result.provenance.contains(key)) p.provenance[key] = result.provenance.at(key);
  return p;
}

const core::BoundSchema<FitOptions>& fit_schema() {
  static const auto schema = [] {
    using O = FitOptions;
    core::BoundSchema<O> s;
    s.add("model", &O::model, "one stretched exponential, or two whose amplitudes add before they are squared",
          {.choices = {"single", "double"}, .group = "Model"});
    const auto fixed = [&](const char* option, double O::* member, const char* help) {
      s.add(option, member, help, {.min = 0, .max = 100, .group = "Model"});
    };
    fixed("baseline", &O::baseline, "fix g2 at long delays at this value; 0: free");
    fixed("contrast", &O::contrast, "fix the contrast at this value; 0: free");
    fixed("stretch", &O::stretch, "fix the stretching exponent at this value; 0: free");
    s.add("share", &O::share, "parameters with one value for all bins: any of contrast,baseline,stretch",
          {.group = "Model"});
    s.add("delay-range", &O::delay_range,
          "low,high of the delays that enter, in s (frames where the frame time is not known)", {.group = "Data"});
    s.add("q-range", &O::q_range, "low,high of the bins that enter, by their first value (q)", {.group = "Data"});
    s.add(
        "resample", &O::resample,
        "groups of pixels that are left out in turn to find the errors, of a result made with --keep-pixels; 0: errors "
        "from those of g2, as if its delays were independent",
        {.min = 0, .max = 1000, .group = "Data"});
    s.add("law", &O::law, "fit tau = prefactor q^exponent through the relaxation times", {.group = "Model"});
    return s;
  }();
  return schema;
}

}  // namespace farfield::techniques::xpcs
