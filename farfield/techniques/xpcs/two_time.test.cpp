#include "farfield/techniques/xpcs/two_time.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>

#include "farfield/core/error.hpp"
#include "farfield/parallel/threads.hpp"
#include "farfield/technique/conformance.hpp"
#include "farfield/techniques/xpcs/correlate_reference.hpp"
#include "farfield/techniques/xpcs/result.hpp"
#include "farfield/techniques/xpcs/scan_testing.hpp"
#include "farfield/techniques/xpcs/technique.hpp"

namespace farfield::techniques::xpcs {
namespace {

using testing::Analysis;
using testing::random_scan;
using testing::Source;

core::Array<double, 2> c2_of(const model::Product& product, Index bin) {
  return product.find(fmt::format(result::kC2, bin))->data.to<double, 2>();
}

void expect_reference(const model::Product& product, const core::Array<double, 2>& intensity, const QMap& map,
                      bool by_static) {
  for (const double bin : product.find(result::kBins)->data.to<double, 1>()) {
    const auto expected = twotime_reference(intensity, map, static_cast<Index>(bin), by_static);
    const auto c2 = c2_of(product, static_cast<Index>(bin));
    ASSERT_EQ(c2.extents(), expected.extents());
    for (Index a = 0; a < c2.extent(0); ++a)
      for (Index b = 0; b < c2.extent(1); ++b) {
        ASSERT_EQ(std::isnan(c2(a, b)), std::isnan(expected(a, b))) << a << ", " << b;
        // Sums of at most a few hundred products in float: 6e-8 each, growing like their root.
        if (!std::isnan(c2(a, b))) {
          ASSERT_NEAR(c2(a, b), expected(a, b), 2e-6 * (1 + expected(a, b)));
        }
      }
  }
}

// From pixels that count once in a hundred frames, all lists, to those that count in each, all rows.
class TwoTimeOccupancy : public ::testing::TestWithParam<double> {};
TEST_P(TwoTimeOccupancy, EqualsTheDefinition) {
  const auto scan = random_scan(21, 120, GetParam());
  for (const bool by_static : {false, true}) {
    TwoTimeOptions options;
    options.smoothing = by_static ? Smoothing::static_bins : Smoothing::dynamic_bins;
    expect_reference(Analysis(scan, 2).run(options), scan.counts, scan.map, by_static);
  }
}
INSTANTIATE_TEST_SUITE_P(Counts, TwoTimeOccupancy, ::testing::Values(0.01, 0.1, 1.0, 30.0));

TEST(TwoTime, MissingFramesAreRowsAndColumnsOfNothing) {
  const auto scan = random_scan(22, 100);
  TwoTimeOptions options;
  options.intake.bad_frames = "3,50-52";
  options.bins = {2};
  auto gaps = scan.counts.clone();
  for (const Index t : {3, 50, 51, 52})
    for (Index p = 0; p < 600; ++p) gaps(p, t) = NAN;
  const auto product = Analysis(scan).run(options);
  expect_reference(product, gaps, scan.map, false);
  EXPECT_EQ(product.find(fmt::format(result::kC2, 1)), nullptr) << "not asked for";
}

TEST(TwoTime, AveragedFramesAreOneTime) {
  const auto scan = random_scan(23, 90, 1);
  TwoTimeOptions options;
  options.intake.average = 3;
  core::Array<double, 2> steps({600, 30});
  for (Index p = 0; p < 600; ++p)
    for (Index t = 0; t < 30; ++t)
      steps(p, t) = scan.counts(p, 3 * t) + scan.counts(p, 3 * t + 1) + scan.counts(p, 3 * t + 2);
  const auto product = Analysis(scan).run(options);
  expect_reference(product, steps, scan.map, false);
  EXPECT_EQ((product.find(result::kDelay)->data.to<double, 1>()(5)), 15);
}

TEST(TwoTime, ATimeThatLacksFramesIsTheMeanOfTheOthers) {
  const auto scan = random_scan(32, 89, 1);
  TwoTimeOptions options;
  options.intake.average = 3;
  options.intake.bad_frames = "4,30-31,60-62";
  const auto bad = [](Index t) { return t == 4 || t == 30 || t == 31 || (t >= 60 && t <= 62) || t >= 89; };
  core::Array<double, 2> steps({600, 30});
  for (Index p = 0; p < 600; ++p)
    for (Index t = 0; t < 30; ++t) {
      double sum = 0, count = 0;
      for (Index i = 3 * t; i < 3 * t + 3; ++i)
        if (!bad(i)) {
          sum += scan.counts(p, i);
          count += 1;
        }
      steps(p, t) = sum / count;
    }
  expect_reference(Analysis(scan).run(options), steps, scan.map, false);
}

TEST(TwoTime, CurvesAreMeansOverTheMatrix) {
  const auto scan = random_scan(24, 130);
  TwoTimeOptions options;
  options.part = 40;
  options.cuts = {30, 100};
  options.intake.bad_frames = "20";
  const auto product = Analysis(scan).run(options);
  const auto g2 = product.find(result::kC2G2)->data.to<double, 2>();
  const auto partial = product.find(result::kC2G2Partial)->data.to<double, 3>();
  const auto time = product.find(result::kC2CutTime)->data.to<double, 3>();
  const auto age = product.find(result::kC2CutAge)->data.to<double, 3>();
  ASSERT_EQ(partial.extent(1), 2) << "the last window lacks partners for its delays";
  for (Index bin = 1; bin <= 3; ++bin) {
    const auto c2 = c2_of(product, bin);
    for (Index k = 0; k < 130; ++k) {
      double sum = 0, count = 0, part_sum[2] = {0, 0}, part_count[2] = {0, 0};
      for (Index t = 0; t + k < 130; ++t) {
        if (std::isnan(c2(t, t + k))) continue;
        sum += c2(t, t + k);
        count += 1;
        if (t / 40 > 1 || k >= 40) continue;
        part_sum[t / 40] += c2(t, t + k);
        part_count[t / 40] += 1;
      }
      EXPECT_NEAR(g2(k, bin - 1), sum / count, 1e-9 * (1 + sum / count));
      for (Index w = 0; w < 2 && k < 40; ++w)
        EXPECT_NEAR(partial(k, w, bin - 1), part_sum[w] / part_count[w], 1e-9 * (1 + part_sum[w] / part_count[w]));
    }
    const auto same = [](double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); };
    const Index at[] = {30, 100};
    for (Index c = 0; c < 2; ++c)
      for (Index t = 0; t < 130; ++t) {
        EXPECT_TRUE(same(time(c, t, bin - 1), c2(at[c], t)));
        EXPECT_TRUE(same(c2(t, at[c]), c2(at[c], t))) << "symmetric";
        const Index first = at[c] - t / 2, last = first + t;
        const double across = first >= 0 && last < 130 ? c2(first, last) : NAN;
        EXPECT_TRUE(same(age(c, t, bin - 1), across)) << c << ", " << t;
      }
  }
}

TEST(TwoTime, RanksShareTheBins) {
  const auto scan = random_scan(25, 80);
  TwoTimeOptions options;
  options.cuts = {10};
  options.part = 20;
  const auto alone = Analysis(scan).run(options);
  parallel::run_as_ranks(2, [&](parallel::Communicator& ranks) {
    std::string difference;
    EXPECT_TRUE(technique::same_bits(alone, Analysis(scan, 1, &ranks).run(options), &difference)) << difference;
  });
}

TEST(TwoTime, KeepsTheContract) {
  for (const char* smoothing : {"dynamic", "static"}) {
    technique::ConformanceCase test;
    test.verb = info().find("twotime");
    test.options = {{"smoothing", std::string(smoothing)}, {"part", std::int64_t{16}}};
    test.open = [] { return std::make_unique<Source>(random_scan(26, 50), false); };
    const auto violations = technique::check_conformance(test);
    EXPECT_TRUE(violations.empty()) << technique::to_text(violations);
  }
}

TEST(TwoTime, RefusesWhatCannotBe) {
  const auto scan = random_scan(27, 20);
  TwoTimeOptions bins;
  bins.bins = {4};
  EXPECT_THROW(Analysis(scan).run(bins), core::Error);
}

TEST(TwoTime, CutsBeyondTheScanAreLeftOutAndSaid) {
  const auto scan = random_scan(28, 60);
  TwoTimeOptions options;
  options.cuts = {20, 59, 60};
  Analysis analysis(scan);
  const auto technique = make_two_time(options, analysis.resources);
  auto acquisition = scan.acquisition();
  acquisition.scan.expected_frames = 30;  // a source may promise less than it gives
  technique->begin(acquisition);
  const auto product = analysis.run(*technique);
  EXPECT_EQ(product.find(result::kCut)->data.size(), 2);
  ASSERT_EQ(analysis.observer.warnings.size(), 1U);
  EXPECT_NE(analysis.observer.warnings[0].find("--cuts 60 is left out: the scan has 60 time steps"), std::string::npos)
      << analysis.observer.warnings[0];
}

TEST(TwoTime, MatricesBeyondTheMemoryAreMadeRowByRow) {
  const auto scan = random_scan(29, 130);
  for (const auto smoothing : {Smoothing::dynamic_bins, Smoothing::static_bins}) {
    TwoTimeOptions options;
    options.smoothing = smoothing;
    options.part = 40;
    options.cuts = {70};
    options.intake.bad_frames = "20";
    const auto whole = Analysis(scan).run(options);
    Analysis small(scan, 2);
    small.resources.memory_limit_bytes = 60000;  // c2 takes 202,800 bytes
    const auto pieces = small.run(options);
    EXPECT_EQ(small.observer.warnings.size(), 1U) << "that c2 is worked out twice";
    const auto same = [](double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); };
    for (const char* name : {result::kC2G2, result::kC2G2Partial, result::kC2CutTime, result::kC2CutAge}) {
      const auto &a = whole.find(name)->data, &b = pieces.find(name)->data;
      ASSERT_EQ(a.shape(), b.shape()) << name;
      for (Index i = 0; i < a.size(); ++i)
        ASSERT_TRUE(same(static_cast<const double*>(a.data())[i], static_cast<const double*>(b.data())[i])) << name;
    }
    for (Index bin = 1; bin <= 3; ++bin) {
      const auto c2 = c2_of(whole, bin);
      const auto* d = pieces.find(fmt::format(result::kC2, bin));
      ASSERT_NE(d, nullptr);
      EXPECT_TRUE(d->data.empty());
      ASSERT_NE(d->rows, nullptr);
      EXPECT_EQ(d->rows->shape(), (std::vector<Index>{130, 130}));
      for (int again = 0; again < 2; ++again)  // a file may be written twice
        for (Index first = 0; first < 130; first += 48) {
          const Index count = std::min<Index>(48, 130 - first);
          core::Array<float, 2> rows({count, 130}, 7.0F);
          d->rows->read(first, count, rows.data());
          for (Index y = 0; y < count; ++y)
            for (Index x = 0; x < 130; ++x)
              ASSERT_TRUE(same(rows(y, x), x < first + y ? 0 : c2(first + y, x))) << first + y << ", " << x;
        }
      const auto overview = pieces.find(fmt::format(result::kC2Overview, bin))->data.to<double, 2>();
      ASSERT_EQ(overview.extent(0), 130) << "small enough to be drawn whole";
      for (Index i = 0; i < overview.size(); ++i) ASSERT_TRUE(same(overview.data()[i], c2.data()[i]));
    }
  }
}

}  // namespace
}  // namespace farfield::techniques::xpcs
