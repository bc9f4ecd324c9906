#include "farfield/techniques/xpcs/average.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "farfield/techniques/xpcs/product_parts.hpp"
#include "farfield/techniques/xpcs/result.hpp"

namespace farfield::techniques::xpcs {

using core::Error;
using core::ErrorCode;
using core::Index;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kSigmaPerDeviation = 1.4826;  // of a normal distribution
constexpr double kAlwaysKept = 0.1;

double median(std::vector<double> v) {
  v.erase(std::remove_if(v.begin(), v.end(), [](double x) { return !std::isfinite(x); }), v.end());
  if (v.empty()) return kNaN;
  const auto middle = v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2);
  std::nth_element(v.begin(), middle, v.end());
  if (v.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(v.begin(), middle)) / 2;
}

/// How far each value is from the median, in robust standard deviations; 0 for what is near it in any case.
std::vector<double> deviations(const std::vector<double>& v) {
  const double centre = median(v);
  std::vector<double> distance;
  for (const double x : v) distance.push_back(std::abs(x - centre));
  const double sigma = kSigmaPerDeviation * median(distance);
  std::vector<double> out;
  for (const double x : v) {
    const bool near = std::abs(x - centre) <= kAlwaysKept * std::abs(centre);
    const double infinite = std::numeric_limits<double>::infinity();
    out.push_back(!std::isfinite(x) ? infinite
                  : near            ? 0
                  : sigma > 0       ? (x - centre) / sigma
                                    : std::copysign(infinite, x - centre));
  }
  return out;
}

const core::AnyArray& needed_of(std::span<const model::Product> results, std::size_t i, const char* name, int rank) {
  return needed(results[i], name, rank, fmt::format("result {}", i + 1)).data;
}

double mean_of(const core::AnyArray& array) {
  double sum = 0;
  Index n = 0;
  core::visit_dtype(array.dtype(), [&](auto zero) {
    using T = decltype(zero);
    if constexpr (std::is_arithmetic_v<T>)
      for (Index i = 0; i < array.size(); ++i)
        if (const auto v = static_cast<double>(static_cast<const T*>(array.data())[i]); std::isfinite(v)) {
          sum += v;
          ++n;
        }
  });
  return n > 0 ? sum / static_cast<double>(n) : kNaN;
}

template <int Rank>
struct Measured {
  core::Array<double, Rank> g2, error;
};
using Curves = Measured<2>;

std::vector<Curves> curves_of(std::span<const model::Product> results) {
  std::vector<Curves> all;
  const auto delays = needed_of(results, 0, result::kDelay, 1).to<double, 1>();
  for (std::size_t i = 0; i < results.size(); ++i) {
    const auto own = needed_of(results, i, result::kDelay, 1).to<double, 1>();
    all.push_back({needed_of(results, i, result::kG2, 2).to<double, 2>(),
                   needed_of(results, i, result::kG2Error, 2).to<double, 2>()});
    if (!std::equal(own.begin(), own.end(), delays.begin(), delays.end()))
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("result {} has other delays ({}) than the first ({})", i + 1, own.size(), delays.size()));
    if (all[i].g2.extents() != all[0].g2.extents() || all[i].error.extents() != all[0].g2.extents())
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("result {} has {} bins, the first {}", i + 1, all[i].g2.extent(1), all[0].g2.extent(1)));
  }
  return all;
}

/// score_i of the header.
std::vector<double> scores_of(const std::vector<Curves>& all) {
  std::vector<double> sum(all.size(), 0), count(all.size(), 0), cell(all.size());
  for (Index k = 0; k < all[0].g2.size(); ++k) {
    for (std::size_t i = 0; i < all.size(); ++i) cell[i] = all[i].g2.data()[k];
    const double centre = median(cell);
    for (std::size_t i = 0; i < all.size(); ++i) {
      const double d = (cell[i] - centre) / all[i].error.data()[k];
      if (!std::isfinite(d)) continue;
      sum[i] += d * d;
      ++count[i];
    }
  }
  for (std::size_t i = 0; i < all.size(); ++i) sum[i] = count[i] > 0 ? std::sqrt(sum[i] / count[i]) : kNaN;
  return sum;
}

double baseline_of(const Curves& c) {
  const Index rows = std::min<Index>(3, c.g2.extent(0));
  double sum = 0;
  Index n = 0;
  for (Index i = c.g2.extent(0) - rows; i < c.g2.extent(0); ++i)
    for (Index q = 0; q < c.g2.extent(1); ++q)
      if (std::isfinite(c.g2(i, q))) {
        sum += c.g2(i, q);
        ++n;
      }
  return n > 0 ? sum / static_cast<double>(n) : kNaN;
}

template <int Rank>
Measured<Rank> mean_of(const std::vector<Measured<Rank>>& all, const std::vector<std::uint8_t>& used,
                       Weighting weighting) {
  Measured<Rank> mean{core::Array<double, Rank>(all[0].g2.extents(), kNaN),
                      core::Array<double, Rank>(all[0].g2.extents(), kNaN)};
  for (Index k = 0; k < mean.g2.size(); ++k) {
    double weights = 0, sum = 0, squares = 0, propagated = 0;
    Index n = 0;
    for (const bool second : {false, true}) {
      for (std::size_t i = 0; i < all.size(); ++i) {
        if (used[i] == 0) continue;
        const double v = all[i].g2.data()[k], e = all[i].error.data()[k];
        if (!std::isfinite(v) || !(e > 0)) continue;
        const double w = weighting == Weighting::errors ? 1 / (e * e) : 1;
        if (second) {
          const double d = v - sum / weights;
          squares += w * d * d;
        } else {
          weights += w;
          sum += w * v;
          propagated += w * w * e * e;
          ++n;
        }
      }
    }
    if (n == 0) continue;
    mean.g2.data()[k] = sum / weights;
    const double scatter = n > 1 ? std::sqrt(squares / weights / static_cast<double>(n - 1)) : 0;
    mean.error.data()[k] = std::max(std::sqrt(propagated) / weights, scatter);
  }
  return mean;
}

/// Equal-weight mean of an optional dataset over the results that are used and have it in the shape of the first.
void add_mean(model::Product& out, std::span<const model::Product> results, const std::vector<std::uint8_t>& used,
              const char* name) {
  const auto* first = results[0].find(name);
  if (first == nullptr || first->data.empty()) return;
  core::AnyArray sum(core::DType::f64, first->data.shape());
  auto* to = static_cast<double*>(sum.data());
  double n = 0;
  for (std::size_t i = 0; i < results.size(); ++i) {
    const auto* d = results[i].find(name);
    if (used[i] == 0 || d == nullptr || d->data.shape() != first->data.shape()) continue;
    core::visit_dtype(d->data.dtype(), [&](auto zero) {
      using T = decltype(zero);
      if constexpr (std::is_arithmetic_v<T>)
        for (Index k = 0; k < sum.size(); ++k) to[k] += static_cast<double>(static_cast<const T*>(d->data.data())[k]);
    });
    ++n;
  }
  for (Index k = 0; k < sum.size(); ++k) to[k] /= n;
  out.datasets.push_back({name, sum, first->unit, first->axes, first->help, first->draw});
}

/// The mean of g2 within each part of the scans, where every result that is used has the parts of the first.
void add_parts(model::Product& out, std::span<const model::Product> results, const std::vector<std::uint8_t>& used,
               Weighting weighting, technique::Observer& observer) {
  const auto* first = results[0].find(result::kG2Partial);
  if (first == nullptr || first->data.rank() != 3) return;
  std::vector<Measured<3>> all;
  for (std::size_t i = 0; i < results.size(); ++i) {
    const auto *g2 = results[i].find(result::kG2Partial), *error = results[i].find(result::kG2PartialError);
    const bool same = g2 != nullptr && error != nullptr && g2->data.shape() == first->data.shape() &&
                      error->data.shape() == first->data.shape();
    if (!same && used[i] != 0) {
      observer.warning(
          fmt::format("result {} has no g2 in parts like those of the first: there is no mean of parts", i + 1));
      return;
    }
    all.push_back(same ? Measured<3>{g2->data.to<double, 3>(), error->data.to<double, 3>()} : Measured<3>{});
  }
  if (all[0].g2.empty()) return;
  const auto mean = mean_of(all, used, weighting);
  out.datasets.push_back({result::kG2Partial, core::AnyArray(mean.g2), "", first->axes, first->help, first->draw});
  out.datasets.push_back(
      {result::kG2PartialError, core::AnyArray(mean.error), "", first->axes, "its standard error", "none"});
}

}  // namespace

model::Product average(std::span<const model::Product> results, const AverageOptions& o,
                       technique::Observer& observer) {
  if (results.size() < 2)
    throw Error(ErrorCode::invalid_argument, fmt::format("{} results; an average needs at least 2", results.size()));
  if (!o.baseline_range.empty() && (o.baseline_range.size() != 2 || !(o.baseline_range[0] < o.baseline_range[1])))
    throw Error(ErrorCode::invalid_argument, "option baseline-range must be low,high");
  const auto all = curves_of(results);
  const auto scores = scores_of(all);
  std::vector<double> intensity;
  for (const auto& r : results) {
    const auto* d = r.find(result::kSaxs1d);
    intensity.push_back(d == nullptr ? 1 : mean_of(d->data));
  }
  std::vector<std::uint8_t> used(results.size(), 1);
  const auto off = deviations(scores), off_intensity = deviations(intensity);
  for (std::size_t i = 0; i < results.size(); ++i) {
    const double baseline = baseline_of(all[i]);
    std::string reason;
    if (o.reject > 0 && off[i] > o.reject) reason = fmt::format("its g2 is {:.1f} deviations off the others", off[i]);
    else if (o.reject > 0 && std::abs(off_intensity[i]) > o.reject)
      reason = fmt::format("its intensity is {:.1f} deviations off the others", off_intensity[i]);
    else if (!o.baseline_range.empty() && !(baseline >= o.baseline_range[0] && baseline <= o.baseline_range[1]))
      reason =
          fmt::format("its baseline {:.4f} is not within {} to {}", baseline, o.baseline_range[0], o.baseline_range[1]);
    if (reason.empty()) continue;
    used[i] = 0;
    observer.warning(fmt::format("result {} is left out: {}", i + 1, reason));
  }
  const auto kept = std::count(used.begin(), used.end(), 1);
  if (kept == 0) throw Error(ErrorCode::invalid_argument, fmt::format("all {} results were rejected", results.size()));

  const Curves mean = mean_of(all, used, o.weighting);
  model::Product p;
  p.technique = "xpcs";
  p.verb = "average";
  const auto& first = results[0];
  p.datasets.push_back(
      {result::kDelay, needed_of(results, 0, result::kDelay, 1), "frames", {"delay"}, "delays", "abscissa-log"});
  p.datasets.push_back(
      {result::kG2, core::AnyArray(mean.g2), "", {"delay", "q"}, "weighted mean of the results", "curves"});
  p.datasets.push_back({result::kG2Error, core::AnyArray(mean.error), "", {"delay", "q"}, "standard error", "error"});
  add_parts(p, results, used, o.weighting, observer);
  if (const auto* q = first.find(result::kQ)) p.datasets.push_back(*q);
  add_mean(p, results, used, result::kSaxs1d);
  add_mean(p, results, used, result::kSaxs2d);
  p.datasets.push_back({"used", array_of(used), "", {"result"}, "1: in the average", "none"});
  p.datasets.push_back(
      {"score", array_of(scores), "", {"result"}, "root mean square of (g2 - median) / error", "none"});
  p.datasets.push_back({"intensity", array_of(intensity), "", {"result"}, "mean counts per pixel and frame", "none"});
  for (const auto& d : first.datasets)
    if (d.name.starts_with("qmap/")) p.datasets.push_back(d);
  for (const char* key : {"qmap/map_names", "qmap/map_units"})
    if (first.provenance.contains(key)) p.provenance[key] = first.provenance.at(key);
  if (first.metrics.contains(result::kFrameTime)) p.metrics[result::kFrameTime] = first.metrics.at(result::kFrameTime);
  p.metrics["results"] = static_cast<double>(results.size());
  p.metrics["results_used"] = static_cast<double>(kept);
  return p;
}

const core::BoundSchema<AverageOptions>& average_schema() {
  static const auto schema = [] {
    using O = AverageOptions;
    core::BoundSchema<O> s;
    s.add("reject", &O::reject, "leave out results whose g2 or intensity is so many robust deviations off; 0: none",
          {.min = 0, .max = 1e6, .group = "Average"});
    s.add("baseline-range", &O::baseline_range, "low,high that g2 at the last delays must lie in; empty: any",
          {.group = "Average"});
    s.add("weighting", &O::weighting, "by 1 / error^2, or all the same",
          {.choices = {"errors", "equal"}, .group = "Average"});
    return s;
  }();
  return schema;
}

}  // namespace farfield::techniques::xpcs
