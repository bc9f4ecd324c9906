#include "farfield/techniques/xpcs/average.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "farfield/math/random.hpp"
#include "farfield/techniques/xpcs/result.hpp"

namespace farfield::techniques::xpcs {
namespace {

using core::Index;

constexpr Index kDelays = 20, kBins = 6;

struct Notes final : technique::Observer {
  void warning(const std::string& message) override { notes.push_back(message); }
  std::vector<std::string> notes;
};

double truth(Index i, Index q) { return 1 + 0.2 * std::exp(-0.1 * static_cast<double>(i * (q + 1))); }

model::Product result_of(std::uint64_t seed, double error, double shift = 0, double counts = 0.01) {
  math::Random random(seed);
  core::Array<double, 2> g2({kDelays, kBins}), sigma({kDelays, kBins}, error);
  core::Array<double, 1> delay({kDelays}), saxs({12}, counts);
  for (Index i = 0; i < kDelays; ++i) {
    delay[i] = static_cast<double>(i + 1);
    for (Index q = 0; q < kBins; ++q) g2(i, q) = truth(i, q) + error * random.normal() + shift;
  }
  model::Product p;
  p.datasets = {{result::kDelay, core::AnyArray(delay)},
                {result::kG2, core::AnyArray(g2)},
                {result::kG2Error, core::AnyArray(sigma)},
                {result::kSaxs1d, core::AnyArray(saxs)}};
  return p;
}

// The mean of n results is known sqrt(n) times better, and lies within its error of the truth as often as it should.
TEST(Average, KnowsBetterThanEach) {
  std::vector<model::Product> results;
  for (std::uint64_t i = 0; i < 16; ++i) results.push_back(result_of(i, 0.01));
  Notes notes;
  const auto p = average(results, {}, notes);
  EXPECT_EQ(p.metrics.at("results_used"), 16);
  const auto g2 = p.find(result::kG2)->data.to<double, 2>(), error = p.find(result::kG2Error)->data.to<double, 2>();
  double inside = 0, largest = 0;
  for (Index i = 0; i < kDelays; ++i)
    for (Index q = 0; q < kBins; ++q) {
      inside += std::abs(g2(i, q) - truth(i, q)) < 2 * error(i, q) ? 1 : 0;
      largest = std::max(largest, error(i, q));
      EXPECT_GE(error(i, q), 0.01 / 4 * (1 - 1e-9));
    }
  EXPECT_LT(largest, 2 * 0.01 / 4);
  // 120 cells: 95.4 % within two errors, three standard deviations are 5.7 %; the larger of two errors covers more.
  EXPECT_GE(inside / (kDelays * kBins), 0.954 - 0.057);
}

TEST(Average, LeavesOutWhatDoesNotBelong) {
  std::vector<model::Product> results;
  for (std::uint64_t i = 0; i < 12; ++i)
    results.push_back(result_of(i, 0.01, i == 3 ? 0.08 : 0, i == 7 ? 0.03 : 0.01 + 1e-4 * static_cast<double>(i % 3)));
  Notes notes;
  const auto p = average(results, {}, notes);
  const auto used = p.find("used")->data.to<double, 1>();
  for (Index i = 0; i < 12; ++i) EXPECT_EQ(used[i], i == 3 || i == 7 ? 0 : 1) << i;
  ASSERT_EQ(notes.notes.size(), 2U);
  EXPECT_NE(notes.notes[0].find("result 4 is left out: its g2"), std::string::npos);
  EXPECT_NE(notes.notes[1].find("result 8 is left out: its intensity"), std::string::npos);
  AverageOptions all;
  all.reject = 0;
  EXPECT_EQ(average(results, all, notes).metrics.at("results_used"), 12);
  all.baseline_range = {0.9, 1.06};
  EXPECT_EQ(average(results, all, notes).metrics.at("results_used"), 11);
}

// Two results that disagree by more than their errors say: the average says how much.
TEST(Average, ScatterIsInTheError) {
  const std::vector<model::Product> results{result_of(1, 1e-4, -0.05), result_of(2, 1e-4, 0.05)};
  Notes notes;
  AverageOptions o;
  o.reject = 0;
  const auto error = average(results, o, notes).find(result::kG2Error)->data.to<double, 2>();
  for (const double e : error) EXPECT_NEAR(e, 0.05, 0.001);
}

TEST(Average, WeighsByErrors) {
  std::vector<model::Product> results{result_of(1, 0.001), result_of(2, 0.1)};
  Notes notes;
  AverageOptions o;
  o.reject = 0;
  const auto weighted = average(results, o, notes).find(result::kG2)->data.to<double, 2>();
  const auto one = results[0].find(result::kG2)->data.to<double, 2>(),
             two = results[1].find(result::kG2)->data.to<double, 2>();
  EXPECT_NEAR(weighted(2, 1), (one(2, 1) * 1e6 + two(2, 1) * 100) / 1000100, 1e-12);
  o.weighting = Weighting::equal;
  EXPECT_NEAR((average(results, o, notes).find(result::kG2)->data.to<double, 2>()(2, 1)), (one(2, 1) + two(2, 1)) / 2,
              1e-12);
}

TEST(Average, PartsAreAveragedWhereAllHaveThem) {
  const auto with_parts = [](std::uint64_t seed, double value, Index parts) {
    auto p = result_of(seed, 0.01);
    p.datasets.push_back({result::kG2Partial, core::AnyArray(core::Array<double, 3>({parts, 4, kBins}, value))});
    p.datasets.push_back({result::kG2PartialError, core::AnyArray(core::Array<double, 3>({parts, 4, kBins}, 0.1))});
    return p;
  };
  Notes notes;
  std::vector<model::Product> results{with_parts(0, 1.1, 3), with_parts(1, 1.3, 3)};
  const auto p = average(results, {}, notes);
  const auto g2 = p.find(result::kG2Partial)->data.to<double, 3>(),
             error = p.find(result::kG2PartialError)->data.to<double, 3>();
  ASSERT_EQ(g2.extents(), (core::View<double, 3>::Extents{3, 4, kBins}));
  for (const double v : g2) EXPECT_NEAR(v, 1.2, 1e-12);
  for (const double v : error) EXPECT_NEAR(v, 0.1, 1e-12) << "the scatter, larger than 0.1 / sqrt(2)";
  EXPECT_TRUE(notes.notes.empty());

  results.push_back(with_parts(2, 1.2, 2));
  EXPECT_EQ(average(results, {}, notes).find(result::kG2Partial), nullptr);
  ASSERT_EQ(notes.notes.size(), 1U);
  EXPECT_NE(notes.notes[0].find("result 3 has no g2 in parts"), std::string::npos) << notes.notes[0];
}

TEST(Average, RefusesWhatDiffers) {
  Notes notes;
  std::vector<model::Product> results{result_of(1, 0.01)};
  EXPECT_THROW(average(results, {}, notes), core::Error);
  results.push_back(result_of(2, 0.01));
  results[1].datasets[0].data = core::AnyArray(core::Array<double, 1>({kDelays}, 2.0));
  try {
    average(results, {}, notes);
    FAIL();
  } catch (const core::Error& e) {
    EXPECT_NE(std::string(e.what()).find("result 2 has other delays"), std::string::npos);
  }
}

}  // namespace
}  // namespace farfield::techniques::xpcs
