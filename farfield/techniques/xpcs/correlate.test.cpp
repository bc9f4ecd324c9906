#include "farfield/techniques/xpcs/correlate.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <sstream>

#include "farfield/core/clock.hpp"
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
using testing::Dice;
using testing::events_of;
using testing::random_counts;
using testing::random_map;
using testing::random_scan;
using testing::Scan;
using testing::Source;

core::Array<double, 2> table(const model::Product& product, const char* name) {
  return product.find(name)->data.to<double, 2>();
}

void expect_reference(const model::Product& product, const core::Array<double, 2>& intensity, const QMap& map,
                      double tolerance, LagScheme scheme = LagScheme::multi_tau(4)) {
  const auto expected = correlate_reference(intensity, map, scheme);
  const auto g2 = table(product, result::kG2), error = table(product, result::kG2Error);
  ASSERT_EQ(g2.extent(0), static_cast<Index>(expected.lags.size()));
  for (Index i = 0; i < g2.extent(0); ++i)
    for (Index q = 0; q < g2.extent(1); ++q) {
      if (std::isnan(expected.g2(i, q))) {
        EXPECT_TRUE(std::isnan(g2(i, q)));
        continue;
      }
      EXPECT_NEAR(g2(i, q), expected.g2(i, q), tolerance * (1 + expected.g2(i, q))) << "delay " << i << " bin " << q;
      EXPECT_NEAR(error(i, q), expected.error(i, q), 1000 * tolerance * (1 + expected.error(i, q)));
    }
}

TEST(Correlate, SparseDenseAndAnyTypeAreTheSame) {
  const auto scan = random_scan(1);
  const auto sparse = Analysis(scan).run(CorrelateOptions{});
  expect_reference(sparse, scan.counts, scan.map, 1e-9);
  for (const auto type :
       {core::DType::u8, core::DType::u16, core::DType::u32, core::DType::i32, core::DType::f32, core::DType::f64}) {
    Analysis analysis(scan, 2);
    analysis.dense = type;
    std::string difference;
    EXPECT_TRUE(technique::same_bits(sparse, analysis.run(CorrelateOptions{}), &difference))
        << core::name(type) << ": " << difference;
  }
}

TEST(Correlate, NoCountIsWrappedOrCut) {
  auto scan = random_scan(2, 60, 3);
  for (double& v : scan.counts) v *= 1000;  // far above 255, 4095 and 65535
  for (const auto type : {core::DType::u64, core::DType::u32}) {
    Analysis analysis(scan);
    analysis.dense = type;
    expect_reference(analysis.run(CorrelateOptions{}), scan.counts, scan.map, 1e-7);
  }
}

TEST(Correlate, FramesInAnyOrder) {
  const auto scan = random_scan(3);
  const auto ordered = Analysis(scan).run(CorrelateOptions{});
  Analysis mixed(scan);
  mixed.shuffle = 5;
  std::string difference;
  EXPECT_TRUE(technique::same_bits(ordered, mixed.run(CorrelateOptions{}), &difference)) << difference;
  EXPECT_TRUE(mixed.observer.refused.empty());
}

TEST(Correlate, AFrameThatComesTooLateIsRefusedAndItsPlaceIsMissing) {
  const auto scan = random_scan(4);
  Analysis analysis(scan);
  CorrelateOptions options;
  options.intake.wait = 3;
  const auto technique = make_correlate(options, analysis.resources);
  technique->begin(scan.acquisition());
  for (Index t = 0; t < 200; ++t)
    if (t != 7) analysis.push(*technique, t);
  analysis.push(*technique, 7);
  technique->end_of_scan();
  technique->step({}, analysis.observer);
  ASSERT_EQ(analysis.observer.refused.size(), 1U);
  EXPECT_EQ(analysis.observer.refused[0].first, 7);
  auto gap = scan.counts.clone();
  for (Index p = 0; p < gap.extent(0); ++p) gap(p, 7) = NAN;
  expect_reference(technique->finish(analysis.observer), gap, scan.map, 1e-9);
}

TEST(Correlate, BadLostAndUnselectedFramesAreGapsInTime) {
  const auto scan = random_scan(5);
  Analysis analysis(scan);
  analysis.lost = {90, 91, 92};
  CorrelateOptions options;
  options.intake.frames = "10-150,160-189";
  options.intake.bad_frames = "17,20-22,170";
  const auto product = analysis.run(options);
  core::Array<double, 2> used({600, 180});
  for (Index t = 0; t < 180; ++t) {
    const Index id = t + 10;
    const bool gone =
        id == 17 || (id >= 20 && id <= 22) || id == 170 || (id >= 90 && id <= 92) || (id > 150 && id < 160);
    for (Index p = 0; p < 600; ++p) used(p, t) = gone ? NAN : scan.counts(p, id);
  }
  expect_reference(product, used, scan.map, 1e-9);
  EXPECT_EQ(product.metrics.at("frames"), 180 - 8 - 9);
  EXPECT_EQ(product.metrics.at("bad_frames"), 8) << "those between the ranges were not asked for";
}

TEST(Correlate, BadFramesAreThoseThatShouldHaveCome) {
  const auto scan = random_scan(33, 50);
  Analysis analysis(scan);
  analysis.lost = {21};
  CorrelateOptions options;
  options.intake.average = 3;  // the last step has two frames
  options.intake.bad_frames = "4";
  EXPECT_EQ(analysis.run(options).metrics.at("bad_frames"), 2);
  options.intake.average = 1;
  options.intake.stride = 4;
  EXPECT_EQ(Analysis(scan).run(options).metrics.at("bad_frames"), 1);
}

TEST(Correlate, FramesWithoutCountsCannotBeDividedByTheirSum) {
  auto scan = random_scan(34, 80);
  for (Index p = 0; p < 600; ++p) scan.counts(p, 0) = scan.counts(p, 30) = 0;
  CorrelateOptions options;
  options.intake.normalise = Normalise::frame_sum;
  Analysis analysis(scan);
  const auto product = analysis.run(options);
  ASSERT_EQ(analysis.observer.refused.size(), 2U);
  EXPECT_EQ(analysis.observer.refused[0].first, 0);
  EXPECT_EQ(analysis.observer.refused[1].first, 30);
  options.intake.bad_frames = "0,30";
  std::string difference;
  EXPECT_TRUE(technique::same_bits(Analysis(scan).run(options), product, &difference)) << difference;
}

TEST(Correlate, StrideAndAverage) {
  const auto scan = random_scan(6, 203);
  CorrelateOptions options;
  options.intake.stride = 3;
  options.intake.average = 2;
  const auto product = Analysis(scan).run(options);
  // Frames 0, 3, 6 ... 201; two of them a time step.
  core::Array<double, 2> steps({600, 34});
  for (Index p = 0; p < 600; ++p)
    for (Index t = 0; t < 34; ++t) steps(p, t) = (scan.counts(p, 6 * t) + scan.counts(p, 6 * t + 3)) / 2;
  expect_reference(product, steps, scan.map, 1e-9);
  EXPECT_EQ((product.find(result::kDelay)->data.to<double, 1>()(1)), 12);
}

TEST(Correlate, ATimeStepThatLacksFramesIsTheMeanOfTheOthers) {
  const auto scan = random_scan(31, 119, 1);
  CorrelateOptions options;
  options.intake.average = 3;
  options.intake.window = 30;
  options.intake.bad_frames = "4,30-31,60-62";
  const auto bad = [](Index t) { return t == 4 || t == 30 || t == 31 || (t >= 60 && t <= 62) || t >= 119; };
  const auto product = Analysis(scan).run(options);
  core::Array<double, 2> steps({600, 40});
  std::vector<double> image(600, 0.0);
  for (Index p = 0; p < 600; ++p)
    for (Index t = 0; t < 40; ++t) {
      double sum = 0, count = 0;
      for (Index i = 3 * t; i < 3 * t + 3; ++i)
        if (!bad(i)) {
          sum += scan.counts(p, i);
          count += 1;
        }
      steps(p, t) = sum / count;
      if (count > 0) image[static_cast<std::size_t>(p)] += sum / count / 39;
    }
  expect_reference(product, steps, scan.map, 1e-9);
  const auto saxs = table(product, result::kSaxs2d);
  for (Index p = 0; p < 600; ++p) EXPECT_NEAR(saxs.data()[p], image[static_cast<std::size_t>(p)], 1e-9);
  EXPECT_EQ(product.metrics.at("frames"), 119 - 6);

  // A snapshot within a step changes nothing of what follows.
  Analysis watched(scan);
  const auto technique = make_correlate(options, watched.resources);
  technique->begin(scan.acquisition());
  for (Index t = 0; t < 119; ++t) {
    technique->annotate(t, {{"monitor", scan.monitors[static_cast<std::size_t>(t)]}});
    watched.push(*technique, t);
    technique->step({}, watched.observer);
    if (t < 50) continue;
    auto seen = technique->snapshot();
    if (t != 57) continue;
    // 19 whole steps and the first frame of the next.
    core::Array<double, 2> part({600, 20});
    for (Index p = 0; p < 600; ++p)
      for (Index s = 0; s < 20; ++s) part(p, s) = s < 19 ? steps(p, s) : scan.counts(p, 57);
    expect_reference(seen, part, scan.map, 1e-9);
  }
  technique->end_of_scan();
  while (technique->step({}, watched.observer) == technique::StepState::working) {}
  std::string difference;
  EXPECT_TRUE(technique::same_bits(product, technique->finish(watched.observer), &difference)) << difference;
}

TEST(Correlate, NormalisesByFrameSumOrMonitor) {
  const auto scan = random_scan(7, 150, 2);
  for (const auto how : {Normalise::frame_sum, Normalise::monitor}) {
    CorrelateOptions options;
    options.intake.normalise = how;
    const auto product = Analysis(scan).run(options);
    auto scaled = scan.counts.clone();
    for (Index t = 0; t < 150; ++t) {
      double sum = 0;
      for (Index p = 0; p < 600; ++p) sum += scan.counts(p, t);
      for (Index p = 0; p < 600; ++p)
        scaled(p, t) /= how == Normalise::frame_sum ? sum : scan.monitors[static_cast<std::size_t>(t)];
    }
    // The factor of each frame is a float, 6e-8, and so are the intensities it makes.
    expect_reference(product, scaled, scan.map, 2e-7);
    // Divided by what is 1 on average.
    double level = 0, expected = 0, intensity = 0;
    for (Index t = 0; t < 150; ++t) {
      double sum = 0;
      for (Index p = 0; p < 600; ++p) sum += scan.counts(p, t);
      level += how == Normalise::frame_sum ? sum : scan.monitors[static_cast<std::size_t>(t)];
    }
    for (const double v : scaled) expected += v * level / 150 / 150 / 600;
    for (const double v : table(product, result::kSaxs2d)) intensity += v / 600;
    EXPECT_NEAR(intensity, expected, 1e-6 * expected);
  }
}

TEST(Correlate, DarkFlatAndThresholds) {
  const auto scan = random_scan(8, 100, 5);
  Dice dice(8);
  core::Array<float, 2> dark({20, 30}), deviation({20, 30}), flat({20, 30});
  for (Index p = 0; p < 600; ++p) {
    dark.data()[p] = static_cast<float>(dice.real());
    deviation.data()[p] = static_cast<float>(0.3 * dice.real());
    flat.data()[p] = static_cast<float>(0.8 + 0.4 * dice.real());
  }
  Analysis analysis(scan);
  CorrelateOptions options;
  options.intake.lld = 0.5;
  options.intake.sigma = 3;
  auto a = scan.acquisition();
  a.inputs["dark"] = core::AnyArray(dark);
  a.inputs["dark_std"] = core::AnyArray(deviation);
  a.inputs["flat"] = core::AnyArray(flat);
  const auto technique = make_correlate(options, analysis.resources);
  technique->begin(a);
  const auto product = analysis.run(*technique);
  auto corrected = scan.counts.clone();
  for (Index p = 0; p < 600; ++p)
    for (Index t = 0; t < 100; ++t) {
      const double v = std::max(scan.counts(p, t) - static_cast<double>(dark.data()[p]), 0.0);
      const bool kept = v > 0.5 + 3 * static_cast<double>(deviation.data()[p]);
      corrected(p, t) = kept ? v / static_cast<double>(flat.data()[p]) : 0;
    }
  expect_reference(product, corrected, scan.map, 2e-7);  // floats
  EXPECT_THROW(Analysis(scan).run(options), core::Error) << "sigma without a dark";
}

TEST(Correlate, LinearDelaysAndLimits) {
  const auto scan = random_scan(9, 90);
  CorrelateOptions options;
  options.linear = 33;
  expect_reference(Analysis(scan).run(options), scan.counts, scan.map, 1e-9, LagScheme::linear(33));
  options.max_delay = 5;
  EXPECT_THROW(Analysis(scan).run(options), core::Error);
  options.linear = 0;
  options.delays_per_level = 8;
  expect_reference(Analysis(scan).run(options), scan.counts, scan.map, 1e-9, LagScheme::multi_tau(8, 5));
}

TEST(Correlate, PartsAreScansOfTheirOwn) {
  const auto scan = random_scan(10, 170);
  CorrelateOptions options;
  options.part = 60;
  const auto product = Analysis(scan).run(options);
  const auto parts = product.find(result::kG2Partial)->data.to<double, 3>();
  ASSERT_EQ(parts.extent(0), 3);
  for (Index part = 0; part < 3; ++part) {
    const Index frames = part < 2 ? 60 : 50;
    core::Array<double, 2> piece({600, frames});
    for (Index p = 0; p < 600; ++p)
      for (Index t = 0; t < frames; ++t) piece(p, t) = scan.counts(p, 60 * part + t);
    const auto expected = correlate_reference(piece, scan.map, LagScheme::multi_tau(4));
    for (Index i = 0; i < static_cast<Index>(expected.lags.size()); ++i)
      for (Index q = 0; q < 3; ++q) EXPECT_NEAR(parts(part, i, q), expected.g2(i, q), 1e-9 * (1 + expected.g2(i, q)));
  }
}

TEST(Correlate, SnapshotsOnTheWayChangeNothing) {
  const auto scan = random_scan(11);
  CorrelateOptions options;
  options.part = 64;
  const auto plain = Analysis(scan).run(options);
  Analysis analysis(scan);
  const auto technique = make_correlate(options, analysis.resources);
  technique->begin(scan.acquisition());
  EXPECT_THROW(technique->snapshot(), core::Error) << "nothing yet";
  for (Index t = 0; t < 200; ++t) {
    analysis.push(*technique, t);
    if (t % 50 != 49) continue;
    core::Array<double, 2> sofar({600, t + 1});
    for (Index p = 0; p < 600; ++p)
      for (Index s = 0; s <= t; ++s) sofar(p, s) = scan.counts(p, s);
    expect_reference(technique->snapshot(), sofar, scan.map, 1e-9);
  }
  technique->end_of_scan();
  std::string difference;
  auto product = technique->finish(analysis.observer);
  std::erase_if(product.datasets, [](const auto& d) { return d.name == result::kTransmission; });
  auto expected = plain;
  std::erase_if(expected.datasets, [](const auto& d) { return d.name == result::kTransmission; });
  EXPECT_TRUE(technique::same_bits(expected, product, &difference)) << difference;
}

TEST(Correlate, RanksShareThePixels) {
  const auto scan = random_scan(12);
  CorrelateOptions options;
  options.part = 64;
  options.keep_pixels = true;
  const auto alone = Analysis(scan).run(options);
  parallel::run_as_ranks(3, [&](parallel::Communicator& ranks) {
    const auto product = Analysis(scan, 1, &ranks).run(options);
    std::string difference;
    // Counts are whole, their sums too; only the sums of ratios under the error bars round by the order.
    for (const auto& d : alone.datasets) {
      const auto* other = product.find(d.name);
      ASSERT_NE(other, nullptr);
      if (d.name == result::kG2Error || d.name == result::kG2PartialError) continue;
      EXPECT_EQ(std::memcmp(d.data.data(), other->data.data(), static_cast<std::size_t>(d.data.bytes())), 0) << d.name;
    }
    EXPECT_LT(testing::largest_difference(table(alone, result::kG2Error), table(product, result::kG2Error)), 1e-12);
  });
}

TEST(Xpcs, KeepsTheContract) {
  for (const char* name : {"correlate", "saxs"})
    for (const char* normalise : {"none", "frame-sum", "monitor"})
      for (const bool dense : {false, true}) {
        technique::ConformanceCase test;
        test.verb = info().find(name);
        test.options = {{"normalise", std::string(normalise)}};
        if (std::string(name) == "correlate") test.options["part"] = std::int64_t{16};
        test.open = [dense] { return std::make_unique<Source>(random_scan(13, 50), dense); };
        const auto violations = technique::check_conformance(test);
        EXPECT_TRUE(violations.empty()) << name << ", " << normalise << ": " << technique::to_text(violations);
      }
}

TEST(Xpcs, RefusesWhatCannotBe) {
  auto scan = random_scan(14, 20);
  Analysis analysis(scan);
  const auto refusal = [&](CorrelateOptions options, auto&& spoil) {
    try {
      auto a = scan.acquisition();
      spoil(a);
      make_correlate(options, analysis.resources)->begin(a);
    } catch (const core::Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  const auto nothing = [](model::Acquisition&) {};
  EXPECT_EQ(refusal({}, nothing), "");
  EXPECT_NE(refusal({}, [](auto& a) { a.inputs.clear(); }), "");
  EXPECT_NE(refusal({}, [](auto& a) { a.detector.nx = 31; }), "");
  EXPECT_NE(refusal({}, [](auto& a) { a.inputs["flat"] = core::AnyArray(core::DType::f32, {3, 3}); }), "");
  CorrelateOptions options;
  options.damage = 3;
  EXPECT_NE(refusal(options, nothing), "");
  for (const char* list : {"5-", "-5", "7-3", "a", "1,,2", "1 2x"}) {
    CorrelateOptions bad;
    bad.intake.bad_frames = list;
    EXPECT_NE(refusal(bad, nothing).find("bad-frames"), std::string::npos) << list;
  }
  analysis.resources.memory_limit_bytes = 1000;
  EXPECT_NE(refusal({}, nothing), "");
}

TEST(Steering, StopsWhenTheRelaxationTimeIsKnown) {
  // Strong light and many pixels: known after a part of the scan.
  const auto scan = random_scan(15, 400, 20);
  Analysis analysis(scan);
  CorrelateOptions options;
  options.tau_error = 0.5;
  const auto technique = make_correlate(options, analysis.resources);
  technique->begin(scan.acquisition());
  Index used = 0;
  for (; used < 400; ++used) {
    analysis.push(*technique, used);
    if (technique->step({}, analysis.observer) == technique::StepState::converged) break;
  }
  EXPECT_LT(used, 399);
  EXPECT_EQ(analysis.observer.warnings.size(), 1U);
  // A snapshot tells the error that decided: what `farfield steer` acts on.
  EXPECT_LE(technique->snapshot().metrics.at("tau_error"), 0.5);
  EXPECT_GT(technique->snapshot().metrics.at("tau_error"), 0);
  EXPECT_EQ(technique->finish(analysis.observer).metrics.at("frames"), used + 1);
}

TEST(Steering, SeesTheSampleChange) {
  // One bin of 10 static bins: their scatter tells how much g2 may differ by chance.
  Dice dice(16);
  auto scan = random_scan(16, 300, 4);
  for (Index p = 0; p < 600; ++p) {
    scan.map.dynamic_roi_map.data()[p] = 1;
    scan.map.static_roi_map.data()[p] = static_cast<std::uint32_t>(p / 60 + 1);
  }
  // From the middle on, light without speckle: g2 falls to 1.
  for (Index p = 0; p < 600; ++p)
    for (Index t = 150; t < 300; ++t) scan.counts(p, t) = static_cast<double>(dice.poisson(4));
  CorrelateOptions options;
  options.part = 75;
  options.damage = 5;
  Analysis changing(scan);
  EXPECT_GT(changing.run(options).metrics.at("largest_drift"), 5);
  EXPECT_FALSE(changing.observer.warnings.empty());
  options.damage = 0;  // the drift is told to whoever looks, whether or not it is worth a warning
  Analysis told(scan);
  EXPECT_GT(told.run(options).metrics.at("largest_drift"), 5);
  EXPECT_TRUE(told.observer.warnings.empty());
  options.damage = 5;
  auto steady = random_scan(16, 300, 4);
  steady.map = std::move(scan.map);
  Analysis quiet(steady);
  EXPECT_LT(quiet.run(options).metrics.at("largest_drift"), 5);
  EXPECT_TRUE(quiet.observer.warnings.empty());
}

std::filesystem::path shared_data() {
  const char* set = std::getenv("FARFIELD_SHARED_DATA");
  return std::filesystem::path(set != nullptr ? set : "../shared/data") / "xpcs";
}

TEST(Correlate, EqualsTheExactTableAtEveryDelay) {
  const auto folder = shared_data();
  if (!std::filesystem::exists(folder / "d.bin")) GTEST_SKIP() << "no " << (folder / "d.bin").string();
  // The map as gen.py makes it.
  constexpr Index kSide = 128, kStatics = 180, kDynamics = 18, kFrames = 2000;
  Scan scan;
  scan.map.dynamic_roi_map = core::Array<std::uint32_t, 2>({kSide, kSide});
  scan.map.static_roi_map = core::Array<std::uint32_t, 2>({kSide, kSide});
  for (Index y = 0; y < kSide; ++y)
    for (Index x = 0; x < kSide; ++x) {
      const double r = std::hypot(static_cast<double>(x) - 63.5, static_cast<double>(y) - 63.5);
      const double in = 0.04 * kSide, out = 0.49 * kSide;
      if (r < in || r >= out) continue;
      const auto s = std::min<Index>(kStatics - 1, static_cast<Index>((r - in) / (out - in) * kStatics));
      scan.map.static_roi_map(y, x) = static_cast<std::uint32_t>(s + 1);
      scan.map.dynamic_roi_map(y, x) = static_cast<std::uint32_t>(s / (kStatics / kDynamics) + 1);
    }
  scan.counts = core::Array<double, 2>({kSide * kSide, kFrames});
  std::ifstream in(folder / "d.bin", std::ios::binary);
  for (std::uint64_t word = 0; in.read(reinterpret_cast<char*>(&word), sizeof word);)
    scan.counts(static_cast<Index>((word >> 16) & 0xffffff), static_cast<Index>(word >> 40)) +=
        static_cast<double>(word & 0xffff);
  const auto product = Analysis(scan, 2).run(CorrelateOptions{});
  const auto g2 = table(product, result::kG2), error = table(product, result::kG2Error);
  std::ifstream exact(folder / "exact_multitau_g2.txt");
  Index row = 0;
  for (std::string line; std::getline(exact, line); ++row) {
    std::istringstream words(line);
    double tau = 0;
    words >> tau;
    EXPECT_EQ((product.find(result::kDelay)->data.to<double, 1>()(row)), tau);
    for (Index q = 0; q < kDynamics; ++q) {
      double g = 0, e = 0;
      words >> g >> e;
      // The table has six digits.
      EXPECT_NEAR(g2(row, q), g, 6e-6) << "tau " << tau << ", bin " << q + 1;
      EXPECT_NEAR(error(row, q), e, 6e-7) << "tau " << tau << ", bin " << q + 1;
    }
  }
  EXPECT_EQ(row, g2.extent(0));
}

}  // namespace
}  // namespace farfield::techniques::xpcs
