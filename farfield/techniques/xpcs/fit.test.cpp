#include "farfield/techniques/xpcs/fit.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "farfield/math/random.hpp"
#include "farfield/techniques/xpcs/pixel_groups.hpp"
#include "farfield/techniques/xpcs/result.hpp"
#include "farfield/techniques/xpcs/scan_testing.hpp"

namespace farfield::techniques::xpcs {
namespace {

using Values = std::array<double, kFitParameters>;

std::vector<double> multi_tau_delays() {
  std::vector<double> t;
  for (int i = 1; i <= 8; ++i) t.push_back(1e-3 * i);
  for (double step = 2e-3; t.size() < 40; step *= 2)
    for (int i = 5; i <= 8; ++i) t.push_back(step * i);
  return t;
}

struct Curves {
  std::vector<double> delay = multi_tau_delays();
  core::Array<double, 2> g2, error;
};

Curves curves(FitModel model, const std::vector<Values>& truth, double noise, std::uint64_t seed) {
  Curves c;
  const auto n = static_cast<Index>(c.delay.size());
  c.g2 = core::Array<double, 2>({n, static_cast<Index>(truth.size())});
  c.error = core::Array<double, 2>(c.g2.extents(), noise > 0 ? noise : 1e-3);
  math::Random random(seed);
  for (Index i = 0; i < n; ++i)
    for (std::size_t q = 0; q < truth.size(); ++q)
      c.g2(i, static_cast<Index>(q)) =
          model_g2(model, truth[q], c.delay[static_cast<std::size_t>(i)]) + noise * random.normal();
  return c;
}

double share_within(const std::vector<CurveFit>& fits, const std::vector<Values>& truth, int p, double sigmas) {
  double inside = 0;
  for (std::size_t q = 0; q < fits.size(); ++q) {
    const auto k = static_cast<std::size_t>(p);
    EXPECT_TRUE(fits[q].converged) << q;
    inside += std::abs(fits[q].value[k] - truth[q][k]) < sigmas * fits[q].error[k] ? 1 : 0;
  }
  return inside / static_cast<double>(fits.size());
}

TEST(Fit, ModelsAreWhatTheySay) {
  const Values p{1.02, 0.3, 0.5, 0.8, 0.4, 3, 1.5};
  EXPECT_NEAR(model_g2(FitModel::single_exponential, p, 0.2), 1.02 + 0.3 * std::exp(-2 * std::pow(0.4, 0.8)), 1e-14);
  const double f = 0.4 * std::exp(-std::pow(0.4, 0.8)) + 0.6 * std::exp(-std::pow(0.2 / 3, 1.5));
  EXPECT_NEAR(model_g2(FitModel::double_exponential, p, 0.2), 1.02 + 0.3 * f * f, 1e-14);
}

TEST(Fit, FindsExactCurvesFromAfar) {
  std::vector<Values> truth;
  for (const double tau : {2e-3, 2e-2, 0.3})
    for (const double stretch : {0.6, 1.0, 1.7}) truth.push_back({1.01, 0.2, tau, stretch, 0, 0, 0});
  const auto c = curves(FitModel::single_exponential, truth, 0, 1);
  const auto fits = fit_g2(c.delay, c.g2, c.error, {});
  for (std::size_t q = 0; q < truth.size(); ++q) {
    ASSERT_TRUE(fits[q].converged);
    for (const int p : {kBaseline, kContrast, kTau, kStretch}) {
      const auto k = static_cast<std::size_t>(p);
      // The solver stops when a step changes the parameters by less than 1e-10; the curve of tau = 2 ms is seen from
      // its half on, where contrast and tau go together.
      EXPECT_NEAR(fits[q].value[k] / truth[q][k], 1, 1e-5) << q << " " << name(static_cast<FitParameter>(p));
    }
  }
}

// 300 curves with normal errors: of a perfect estimate 95.4 % lie within two of its errors; three standard deviations
// of that share are 3.6 %. The same for one error: 68.3 % and 8 %.
TEST(Fit, ErrorsCoverTheTruth) {
  math::Random random(5);
  std::vector<Values> truth;
  for (int i = 0; i < 300; ++i)
    truth.push_back({1, random.uniform(0.1, 0.4), 1e-2 * std::exp(random.uniform(-0.5, 2)), random.uniform(0.7, 1.4)});
  const auto c = curves(FitModel::single_exponential, truth, 0.004, 7);
  const auto fits = fit_g2(c.delay, c.g2, c.error, {});
  for (const int p : {kBaseline, kContrast, kTau, kStretch}) {
    EXPECT_NEAR(share_within(fits, truth, p, 2), 0.954, 0.036 + 0.01) << p;
    EXPECT_NEAR(share_within(fits, truth, p, 1), 0.683, 0.08 + 0.03) << p;
  }
}

TEST(Fit, FixedParametersStayWhereTheyAre) {
  const std::vector<Values> truth{{1, 0.25, 0.02, 1}};
  const auto c = curves(FitModel::single_exponential, truth, 0.003, 2);
  FitOptions o;
  o.baseline = 1;
  o.stretch = 1;
  const auto fixed = fit_g2(c.delay, c.g2, c.error, o)[0], free = fit_g2(c.delay, c.g2, c.error, {})[0];
  EXPECT_EQ(fixed.value[kBaseline], 1);
  EXPECT_EQ(fixed.error[kBaseline], 0);
  EXPECT_LT(fixed.error[kTau], free.error[kTau]) << "what is known makes the rest known better";
  EXPECT_NEAR(fixed.value[kTau], 0.02, 4 * fixed.error[kTau]);
}

TEST(Fit, SharedParametersAreOneForAllBins) {
  std::vector<Values> truth;
  for (int i = 0; i < 8; ++i) truth.push_back({1, 0.3, 4e-3 * std::pow(1.8, i), 1.2});
  const auto c = curves(FitModel::single_exponential, truth, 0.01, 3);
  FitOptions o;
  o.share = "contrast,stretch";
  const auto together = fit_g2(c.delay, c.g2, c.error, o), alone = fit_g2(c.delay, c.g2, c.error, {});
  for (const auto& f : together) {
    EXPECT_EQ(f.value[kContrast], together[0].value[kContrast]);
    EXPECT_EQ(f.value[kStretch], together[0].value[kStretch]);
    EXPECT_NEAR(f.value[kContrast], 0.3, 4 * f.error[kContrast]);
  }
  EXPECT_LT(together[0].error[kContrast], alone[0].error[kContrast] / 2) << "the fastest bin alone knows it worst";
  o.share = "contrast,tau";
  EXPECT_THROW(fit_g2(c.delay, c.g2, c.error, o), core::Error);
}

TEST(Fit, FindsTwoExponentials) {
  const std::vector<Values> truth{{1, 0.3, 5e-3, 1, 0.45, 0.3, 1}, {1, 0.3, 1e-2, 1, 0.6, 1.0, 1}};
  const auto c = curves(FitModel::double_exponential, truth, 1e-4, 4);
  FitOptions o;
  o.model = FitModel::double_exponential;
  o.stretch = 1;
  const auto fits = fit_g2(c.delay, c.g2, c.error, o);
  for (std::size_t q = 0; q < truth.size(); ++q)
    for (const int p : {kContrast, kTau, kFraction, kSlowTau}) {
      const auto k = static_cast<std::size_t>(p);
      EXPECT_NEAR(fits[q].value[k], truth[q][k], 5 * fits[q].error[k]) << q << " " << p;
      EXPECT_LT(fits[q].error[k], 0.1 * truth[q][k]);
    }
}

TEST(Fit, LeavesOutWhatIsNoMeasurement) {
  const std::vector<Values> truth{{1, 0.25, 0.02, 1}, {1, 0.25, 0.02, 1}, {1, 0.25, 0.02, 1}};
  auto c = curves(FitModel::single_exponential, truth, 0.003, 6);
  c.g2(3, 0) = 50;
  c.error(3, 0) = 0;
  c.g2(5, 0) = std::nan("");
  for (Index i = 3; i < c.g2.extent(0); ++i) c.error(i, 1) = 0;  // three points for four parameters
  const auto fits = fit_g2(c.delay, c.g2, c.error, {});
  EXPECT_NEAR(fits[0].value[kTau], 0.02, 4 * fits[0].error[kTau]);
  EXPECT_EQ(fits[0].points, static_cast<Index>(c.delay.size()) - 2);
  EXPECT_FALSE(fits[1].converged);
  EXPECT_TRUE(std::isnan(fits[1].value[kTau]));
  EXPECT_TRUE(fits[2].converged);
  // Errors ten times too small: the fit says so, and widens those of the parameters.
  for (Index i = 0; i < c.g2.extent(0); ++i) c.error(i, 2) /= 10;
  const auto narrow = fit_g2(c.delay, c.g2, c.error, {})[2];
  EXPECT_GT(narrow.chi2, 50 * static_cast<double>(narrow.points));
  EXPECT_NEAR(narrow.error[kTau] / fits[2].error[kTau], 1, 0.3);
  EXPECT_THROW(fit_g2({c.delay.data(), 3}, c.g2, c.error, {}), core::Error);
}

TEST(FitLaw, IsTheLineThroughTheLogarithms) {
  std::vector<double> q, tau, error;
  for (int i = 1; i <= 6; ++i) {
    q.push_back(0.001 * i);
    tau.push_back(2e-6 * std::pow(q.back(), -2));
    error.push_back(0.05 * tau.back());
  }
  q.push_back(std::nan(""));
  tau.push_back(1);
  error.push_back(1);
  auto law = fit_law(q, tau, error);
  EXPECT_NEAR(law.exponent, -2, 1e-12);
  EXPECT_NEAR(law.prefactor, 2e-6, 1e-16);
  EXPECT_EQ(law.points, 6);
  EXPECT_NEAR(law.chi2, 0, 1e-20);
  // The error of a slope with equal weights: sigma / sqrt(sum (x - mean)^2).
  double mean = 0, sxx = 0;
  for (int i = 0; i < 6; ++i) mean += std::log(q[static_cast<std::size_t>(i)]) / 6;
  for (int i = 0; i < 6; ++i) sxx += std::pow(std::log(q[static_cast<std::size_t>(i)]) - mean, 2);
  EXPECT_NEAR(law.exponent_error, 0.05 / std::sqrt(sxx), 1e-12);
  EXPECT_TRUE(std::isnan(fit_law({q.data(), 1}, {tau.data(), 1}, {error.data(), 1}).exponent));
}

// All groups together are what correlate gives: the mean over static bins of <G2> / (<IP> <IF>).
TEST(PixelGroups, GiveTheG2OfTheResult) {
  const auto scan = testing::random_scan(5, 120, 0.8);
  testing::Analysis analysis(scan);
  CorrelateOptions o;
  o.keep_pixels = true;
  const auto result = analysis.run(o);
  ASSERT_TRUE(PixelGroups::possible(result));
  const PixelGroups groups(result, 4);
  const auto expected = result.find(result::kG2)->data.to<double, 2>();
  const auto all = groups.g2_without(-1), some = groups.g2_without(2);
  ASSERT_EQ(all.extents(), expected.extents());
  Index same = 0;
  for (Index i = 0; i < all.size(); ++i) {
    if (std::isnan(expected.data()[i])) continue;
    EXPECT_NEAR(all.data()[i], expected.data()[i], 2e-6 * expected.data()[i]) << "sums are kept as f32";
    same += all.data()[i] == some.data()[i] ? 1 : 0;
  }
  EXPECT_EQ(same, 0);
  EXPECT_FALSE(PixelGroups::possible(analysis.run(CorrelateOptions{})));
}

TEST(FitVerb, SaysTimesInSecondsWhereItCan) {
  std::vector<Values> truth;
  std::vector<double> q;
  for (int i = 1; i <= 5; ++i) {
    q.push_back(0.001 * i);
    truth.push_back({1, 0.2, 1e-7 * std::pow(q.back(), -2), 1});
  }
  const auto c = curves(FitModel::single_exponential, truth, 0.002, 8);
  model::Product result;
  std::vector<double> frames = c.delay;
  for (double& t : frames) t = std::round(t * 1e3);
  const auto put = [&](const char* name, core::AnyArray array) { result.datasets.push_back({name, std::move(array)}); };
  put(result::kDelay, core::AnyArray(core::View<const double, 1>(frames.data(), {static_cast<Index>(frames.size())})));
  put(result::kG2, core::AnyArray(c.g2));
  put(result::kG2Error, core::AnyArray(c.error));
  put(result::kQ, core::AnyArray(core::View<const double, 1>(q.data(), {5})));
  technique::Observer observer;
  EXPECT_EQ(fit(result, {}, observer).find("tau")->unit, "frames");
  result.metrics[result::kFrameTime] = 1e-3;
  result.provenance["qmap/map_units"] = "1/A,deg";
  const auto p = fit(result, {}, observer);
  EXPECT_EQ(p.find("tau")->unit, "s");
  EXPECT_EQ(p.find("q")->unit, "1/A");
  EXPECT_EQ(p.metrics.at("bins_fitted"), 5);
  EXPECT_NEAR(p.metrics.at("law_exponent"), -2, 4 * p.metrics.at("law_exponent_error"));
  const auto residual = p.find("residual")->data.to<double, 2>();
  double sum = 0;
  for (const double r : residual) sum += r * r;
  EXPECT_NEAR(sum, p.metrics.at("chi2"), 1e-6 * sum) << "residuals are in units of the error";
  FitOptions o;
  o.q_range = {0.0015, 0.0035};
  const auto some = fit(result, o, observer).find("converged")->data.to<double, 1>();
  EXPECT_EQ((std::vector<double>{some.begin(), some.end()}), (std::vector<double>{0, 1, 1, 0, 0}));
  EXPECT_THROW(fit({}, {}, observer), core::Error);
}

}  // namespace
}  // namespace farfield::techniques::xpcs
