// The only source that knows Ceres, which compiles slowly.

#include <ceres/ceres.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <sstream>

#include "farfield/techniques/xpcs/fit.hpp"

namespace farfield::techniques::xpcs {

using core::Error;
using core::ErrorCode;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
using Parameters = std::array<double, kFitParameters>;

// Both relaxation times are fitted as their logarithms: they are positive, and known to a factor.
bool is_logarithmic(int p) { return p == kTau || p == kSlowTau; }

template <class T>
T decay(const T& log_ratio, const T& stretch) {
  using std::exp;
  return exp(-exp(stretch * log_ratio));  // exp(-(t / tau)^stretch)
}

/// g2 with ln(tau) in the place of tau.
template <class T>
T evaluate(FitModel model, const T* const* p, double log_delay) {
  const T first = decay<T>(T(log_delay) - p[kTau][0], p[kStretch][0]);
  if (model == FitModel::single_exponential) return p[kBaseline][0] + p[kContrast][0] * first * first;
  const T second = decay<T>(T(log_delay) - p[kSlowTau][0], p[kSlowStretch][0]);
  const T f = p[kFraction][0] * first + (1.0 - p[kFraction][0]) * second;
  return p[kBaseline][0] + p[kContrast][0] * f * f;
}

struct Point {
  double log_delay = 0, g2 = 0, weight = 0;
};

struct Residual {
  FitModel model;
  Point point;

  template <class T>
  bool operator()(T const* const* p, T* residual) const {
    residual[0] = (evaluate<T>(model, p, point.log_delay) - point.g2) * point.weight;
    return true;
  }
};

int parameters_of(FitModel model) { return model == FitModel::single_exponential ? 4 : kFitParameters; }

double fixed_value(const FitOptions& o, int p) {
  switch (p) {
    case kBaseline: return o.baseline;
    case kContrast: return o.contrast;
    case kStretch:
    case kSlowStretch: return o.stretch;
    default: return 0;
  }
}

std::set<int> shared(const std::string& names) {
  std::set<int> out;
  std::istringstream in(names);
  for (std::string word; std::getline(in, word, ',');) {
    if (word == "contrast") out.insert(kContrast);
    else if (word == "baseline") out.insert(kBaseline);
    else if (word == "stretch") out.insert({kStretch, kSlowStretch});
    else
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("option share: \"{}\" must be contrast, baseline or stretch", word));
  }
  return out;
}

/// Values to begin with, from the looks of the curve.
Parameters start(const std::vector<Point>& points, const FitOptions& o) {
  Parameters p{1, 0.1, 0, 1, 0.5, 0, 1};
  const std::size_t tail = std::min<std::size_t>(3, points.size());
  double last = 0;
  for (std::size_t i = points.size() - tail; i < points.size(); ++i) last += points[i].g2 / static_cast<double>(tail);
  p[kBaseline] = o.baseline > 0 ? o.baseline : last;
  p[kContrast] = o.contrast > 0 ? o.contrast : std::clamp(points.front().g2 - p[kBaseline], 1e-3, 10.0);
  // Where the decay has come down to exp(-2): t = tau.
  p[kTau] = points.back().log_delay;
  for (const auto& point : points)
    if (point.g2 - p[kBaseline] < p[kContrast] * std::exp(-2.0)) {
      p[kTau] = point.log_delay;
      break;
    }
  p[kSlowTau] = p[kTau] + 2;
  p[kStretch] = p[kSlowStretch] = o.stretch > 0 ? o.stretch : 1;
  return p;
}

/// All curves that are fitted together, and where each parameter of each curve lives.
class Problem {
public:
  Problem(const std::vector<const std::vector<Point>*>& curves, const FitOptions& options,
          const std::vector<const CurveFit*>& begin)
      : options_(options), curves_(curves), shared_(shared(options.share)), values_(curves.size()) {
    for (std::size_t c = 0; c < curves.size(); ++c) {
      values_[c] = start(*curves[c], options);
      if (begin.empty() || !begin[c]->converged) continue;
      near_ = true;
      for (int p = 0; p < parameters_of(options.model); ++p) {
        const double v = begin[c]->value[static_cast<std::size_t>(p)];
        values_[c][static_cast<std::size_t>(p)] = is_logarithmic(p) ? std::log(v) : v;
      }
    }
  }

  /// The best of several beginnings.
  void solve() {
    if (near_) {
      run(true);
      return;
    }
    double best = std::numeric_limits<double>::infinity();
    std::vector<Parameters> kept;
    const auto first = values_;
    for (const double factor : {0.0, -1.5, 1.5}) {
      values_ = first;
      for (auto& v : values_) {
        v[kTau] += factor;
        v[kSlowTau] += factor;
      }
      const double cost = run(false);
      if (cost < best) {
        best = cost;
        kept = values_;
      }
    }
    if (kept.empty()) return;
    values_ = kept;
    run(true);
  }

  CurveFit result(std::size_t c) const {
    CurveFit fit;
    fit.converged = converged_;
    fit.points = static_cast<Index>(curves_[c]->size());
    fit.value.fill(kNaN);
    fit.error.fill(kNaN);
    const int n = parameters_of(options_.model);
    std::array<const double*, kFitParameters> at{};
    for (int p = 0; p < n; ++p) at[static_cast<std::size_t>(p)] = address(c, p);
    for (const auto& point : *curves_[c]) {
      const double r = (evaluate<double>(options_.model, at.data(), point.log_delay) - point.g2) * point.weight;
      fit.chi2 += r * r;
    }
    if (!converged_) return fit;
    for (int p = 0; p < n; ++p) {
      const auto i = static_cast<std::size_t>(p);
      fit.value[i] = is_logarithmic(p) ? std::exp(*at[i]) : *at[i];
      const double sigma = errors_.empty() ? kNaN : errors_[owner(c, p)][i] * widening_;
      fit.error[i] = is_logarithmic(p) ? sigma * fit.value[i] : sigma;
    }
    // The faster term first.
    if (options_.model == FitModel::double_exponential && fit.value[kSlowTau] < fit.value[kTau])
      for (auto* a : {&fit.value, &fit.error}) {
        std::swap((*a)[kTau], (*a)[kSlowTau]);
        std::swap((*a)[kStretch], (*a)[kSlowStretch]);
        if (a == &fit.value) (*a)[kFraction] = 1 - (*a)[kFraction];
      }
    return fit;
  }

private:
  std::size_t owner(std::size_t c, int p) const { return shared_.contains(p) ? 0 : c; }
  double* address(std::size_t c, int p) { return &values_[owner(c, p)][static_cast<std::size_t>(p)]; }
  const double* address(std::size_t c, int p) const { return &values_[owner(c, p)][static_cast<std::size_t>(p)]; }

  double run(bool with_errors) {
    ceres::Problem problem;
    const int n = parameters_of(options_.model);
    Index points = 0;
    for (std::size_t c = 0; c < curves_.size(); ++c) {
      std::vector<double*> blocks;
      for (int p = 0; p < n; ++p) blocks.push_back(address(c, p));
      for (const auto& point : *curves_[c]) {
        auto* cost = new ceres::DynamicAutoDiffCostFunction<Residual, kFitParameters>(  // the problem owns it
            new Residual{options_.model, point});
        for (int p = 0; p < n; ++p) cost->AddParameterBlock(1);
        cost->SetNumResiduals(1);
        problem.AddResidualBlock(cost, nullptr, blocks);
        ++points;
      }
    }
    std::vector<std::pair<std::size_t, int>> free;
    for (std::size_t c = 0; c < curves_.size(); ++c)
      for (int p = 0; p < n; ++p) {
        if (owner(c, p) != c) continue;
        bound(problem, address(c, p), p);
        if (fixed_value(options_, p) > 0) problem.SetParameterBlockConstant(address(c, p));
        else free.emplace_back(c, p);
      }
    ceres::Solver::Options solver;
    solver.linear_solver_type = curves_.size() > 1 ? ceres::SPARSE_NORMAL_CHOLESKY : ceres::DENSE_QR;
    solver.max_num_iterations = 300;
    solver.function_tolerance = 1e-12;
    solver.parameter_tolerance = 1e-10;
    solver.logging_type = ceres::SILENT;
    solver.num_threads = 1;
    ceres::Solver::Summary summary;
    ceres::Solve(solver, &problem, &summary);
    converged_ = summary.IsSolutionUsable() && summary.termination_type != ceres::NO_CONVERGENCE;
    if (!summary.IsSolutionUsable()) return std::numeric_limits<double>::infinity();
    if (with_errors) errors(problem, free, points - static_cast<Index>(free.size()), 2 * summary.final_cost);
    return summary.final_cost;
  }

  static void bound(ceres::Problem& problem, double* block, int p) {
    const auto range = [&](double low, double high) {
      *block = std::clamp(*block, low, high);
      problem.SetParameterLowerBound(block, 0, low);
      problem.SetParameterUpperBound(block, 0, high);
    };
    switch (p) {
      case kBaseline: return range(0, 100);
      case kContrast: return range(0, 100);
      case kStretch:
      case kSlowStretch: return range(0.05, 10);
      case kFraction: return range(0, 1);
      default: return range(*block - 25, *block + 25);  // eleven decades to either side
    }
  }

  void errors(ceres::Problem& problem, const std::vector<std::pair<std::size_t, int>>& free, Index freedom,
              double chi2) {
    errors_.assign(curves_.size(), Parameters{});
    ceres::Covariance::Options options;
    options.algorithm_type = ceres::DENSE_SVD;
    options.null_space_rank = 0;
    ceres::Covariance covariance(options);
    std::vector<std::pair<const double*, const double*>> blocks;
    for (const auto& [c, p] : free) blocks.emplace_back(address(c, p), address(c, p));
    if (blocks.empty()) return;
    if (!covariance.Compute(blocks, &problem)) {
      for (const auto& [c, p] : free) errors_[c][static_cast<std::size_t>(p)] = kNaN;
      return;
    }
    for (const auto& [c, p] : free) {
      double variance = 0;
      covariance.GetCovarianceBlock(address(c, p), address(c, p), &variance);
      errors_[c][static_cast<std::size_t>(p)] = std::sqrt(variance);
    }
    widening_ = freedom > 0 ? std::sqrt(std::max(1.0, chi2 / static_cast<double>(freedom))) : 1;
  }

  const FitOptions& options_;
  const std::vector<const std::vector<Point>*>& curves_;
  std::set<int> shared_;
  std::vector<Parameters> values_;
  std::vector<Parameters> errors_;
  double widening_ = 1;
  bool converged_ = false, near_ = false;
};

std::vector<Point> points_of(std::span<const double> delay, core::View<const double, 2> g2,
                             core::View<const double, 2> error, Index q, const FitOptions& o) {
  std::vector<Point> points;
  for (Index i = 0; i < g2.extent(0); ++i) {
    const double t = delay[static_cast<std::size_t>(i)];
    if (!o.delay_range.empty() && (t < o.delay_range[0] || t > o.delay_range[1])) continue;
    if (std::isfinite(g2(i, q)) && error(i, q) > 0 && std::isfinite(error(i, q)))
      points.push_back({std::log(t), g2(i, q), 1 / error(i, q)});
  }
  return points;
}

CurveFit nothing(Index points) {
  CurveFit fit;
  fit.value.fill(kNaN);
  fit.error.fill(kNaN);
  fit.chi2 = kNaN;
  fit.points = points;
  return fit;
}

}  // namespace

double model_g2(FitModel model, std::span<const double, kFitParameters> parameters, double delay) {
  Parameters p{};
  std::array<const double*, kFitParameters> at{};
  for (int i = 0; i < kFitParameters; ++i) {
    const auto k = static_cast<std::size_t>(i);
    p[k] = is_logarithmic(i) ? std::log(parameters[k]) : parameters[k];
    at[k] = &p[k];
  }
  return evaluate<double>(model, at.data(), std::log(delay));
}

std::vector<CurveFit> fit_g2(std::span<const double> delay, core::View<const double, 2> g2,
                             core::View<const double, 2> error, const FitOptions& o, std::span<const CurveFit> begin) {
  if (g2.extents() != error.extents() || g2.extent(0) != static_cast<Index>(delay.size()))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("g2 ({}, {}), its error ({}, {}) and {} delays must fit", g2.extent(0), g2.extent(1),
                            error.extent(0), error.extent(1), delay.size()));
  if (!begin.empty() && static_cast<Index>(begin.size()) != g2.extent(1))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} fits to begin from for {} bins", begin.size(), g2.extent(1)));
  for (const double t : delay)
    if (!(t > 0)) throw Error(ErrorCode::invalid_argument, fmt::format("delay {} must be > 0", t));
  Index free = 0;
  for (int p = 0; p < parameters_of(o.model); ++p) free += fixed_value(o, p) > 0 ? 0 : 1;

  std::vector<std::vector<Point>> points;
  std::vector<CurveFit> fits;
  std::vector<Index> good;
  for (Index q = 0; q < g2.extent(1); ++q) {
    points.push_back(points_of(delay, g2, error, q, o));
    fits.push_back(nothing(static_cast<Index>(points.back().size())));
    if (fits.back().points >= std::max<Index>(free, 2)) good.push_back(q);
  }
  const auto solve = [&](const std::vector<Index>& bins) {
    std::vector<const std::vector<Point>*> curves;
    std::vector<const CurveFit*> from;
    for (const Index q : bins) {
      curves.push_back(&points[static_cast<std::size_t>(q)]);
      if (!begin.empty()) from.push_back(&begin[static_cast<std::size_t>(q)]);
    }
    Problem problem(curves, o, from);
    problem.solve();
    for (std::size_t c = 0; c < bins.size(); ++c) fits[static_cast<std::size_t>(bins[c])] = problem.result(c);
  };
  if (!shared(o.share).empty() && !good.empty()) solve(good);
  else
    for (const Index q : good) solve({q});
  return fits;
}

}  // namespace farfield::techniques::xpcs
