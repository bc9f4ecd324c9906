#include "farfield/techniques/ptychography/reconstruction.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <mutex>
#include <numeric>

#include "farfield/math/complex.hpp"
#include "farfield/math/random.hpp"
#include "farfield/parallel/threads.hpp"
#include "farfield/technique/conformance.hpp"
#include "farfield/techniques/ptychography/compare.hpp"
#include "farfield/techniques/ptychography/reconstruction_testing.hpp"

namespace farfield::techniques::ptychography {
namespace {

using namespace testing;
using core::Array;

struct SimulatedSource final : model::FrameSource {
  explicit SimulatedSource(const OptionValues& given)
      : simulation(make_simulation(given, {&pool, nullptr, &clock, 3, 0})) {}
  const model::Acquisition& acquisition() const override { return simulation->acquisition(); }
  bool next(std::stop_token stop, const std::function<void(const model::FrameBatch&)>& take) override {
    return simulation->next(stop, take);
  }
  core::ThreadPool pool{1};
  core::ManualClock clock;
  std::unique_ptr<technique::Simulation> simulation;
};

TEST(Reconstruction, PassesTheConformanceSuite) {
  const auto given = scan_options({{"patterns", std::int64_t{16}}});
  technique::ConformanceCase test;
  test.verb = &verb();
  test.options = options({{"probe-modes", std::int64_t{2}}});
  test.open = [&] { return std::make_unique<SimulatedSource>(given); };
  // Another order of patterns is another order of updates: after four passes the two are on the same way, no more.
  test.order_tolerance = 0.5;
  const auto violations = technique::check_conformance(test);
  EXPECT_TRUE(violations.empty()) << technique::to_text(violations);
}

TEST(Reconstruction, FindsTheObjectAndReachesTheNoise) {
  const Scan scan = make_scan(scan_options({{"patterns", std::int64_t{100}},
                                            {"shape", std::int64_t{48}},
                                            {"phantom", std::string("random")},
                                            {"probe", std::string("disc")},
                                            {"probe-size", 18.0},
                                            {"step", 4.0},
                                            {"photons", 3e5},
                                            {"start-probe", std::string("exact")}}));
  for (const char* algorithm : {"lsqml", "cgml"}) {
    const auto result =
        reconstruct(scan, options({{"algorithm", std::string(algorithm)}, {"iterations", std::int64_t{30}}}));
    // The noise floor is the cost of the truth; unknowns that also fit noise take it down, by their share of the
    // pixels: 2 (80 x 80 + 48 x 48) of 100 x 48 x 48.
    const double floor = scan.truth.metrics.at("noise_floor");
    EXPECT_LT(final_cost(result), 1.02 * floor) << algorithm;
    EXPECT_GT(final_cost(result), 0.8 * floor) << algorithm;
    // Modulo what ptychography cannot tell: counting noise leaves about 0.6 %.
    EXPECT_LT(compare(scan.truth, result, {}).metrics.at("nrmse"), 0.02) << algorithm;
  }
}

TEST(Reconstruction, ThreadsDoNotChangeTheResultBeyondRounding) {
  // Sums over a batch in another order, in single precision: 1e-8 after one pass, which the early passes from a flat
  // object amplify some ten times each.
  const std::pair<std::int64_t, double> cases[] = {{1, 1e-6}, {5, 1e-3}};
  for (const auto& [passes, tolerance] : cases) {
    const auto one = reconstruct(star(), options({{"iterations", passes}})),
               two = reconstruct(star(), options({{"iterations", passes}}), 2);
    EXPECT_NEAR(final_cost(two) / final_cost(one), 1, tolerance) << passes << " passes";
  }
}

TEST(Reconstruction, ReportsEachPass) {
  Bench bench(options());
  bench.run(star());
  EXPECT_EQ(bench.state, StepState::finished);
  ASSERT_EQ(bench.observer.reports.size(), 4U);
  EXPECT_EQ(bench.observer.reports.back().iteration, 4);
  EXPECT_EQ(bench.observer.reports.back().iterations, 4);
  ASSERT_EQ(bench.observer.reports.back().values.size(), 2U);
  EXPECT_EQ(bench.observer.reports.back().values[0].first, "cost");
  EXPECT_LT(bench.observer.reports.back().values[0].second, bench.observer.reports.front().values[0].second);
  EXPECT_TRUE(bench.observer.rejections.empty());
}

TEST(ReconstructionInput, WithoutUsableFramesItSaysWhy) {
  Scan scan = copy_of(star());
  scan.frames.clear();
  scan.values.clear();
  EXPECT_ERROR(error_of(scan, options()), ErrorCode::corrupt_data, "the scan has no frames");

  scan = copy_of(star());
  for (auto& v : scan.values) v.clear();
  EXPECT_ERROR(error_of(scan, options()), ErrorCode::corrupt_data,
               "none of the 49 frames can be used; the first: it has no position");

  scan = copy_of(star());
  for (auto& frame : scan.frames) frame = core::AnyArray(core::DType::u16, {32, 32});
  EXPECT_ERROR(error_of(scan, options()), ErrorCode::corrupt_data, "all 49 patterns are empty");

  scan = copy_of(star());
  scan.acquisition.detector.pixel_mask = Array<std::uint32_t, 2>({32, 32}, 1);
  EXPECT_ERROR(error_of(scan, options()), ErrorCode::corrupt_data, "mask hides every pixel");
}

TEST(ReconstructionInput, PositionsThatCannotBeAreRefused) {
  Scan scan = copy_of(star());
  for (auto& v : scan.values) v = scan.values[0];
  EXPECT_ERROR(error_of(scan, options()), ErrorCode::corrupt_data, "all 49 positions are equal");

  scan = copy_of(star());
  for (auto& v : scan.values) v["x_m"] *= 1e6;  // micrometres, said to be metres
  const auto slip = error_of(scan, options());
  EXPECT_ERROR(slip, ErrorCode::corrupt_data, "object would be ");
  EXPECT_NE(std::string(slip.what()).find(" m wide"), std::string::npos) << slip.what();

  scan = copy_of(star());
  scan.acquisition.beam.energy_eV.reset();
  EXPECT_ERROR(error_of(scan, options()), ErrorCode::invalid_argument, "neither the scan nor an option says: energy");
  EXPECT_NO_THROW(reconstruct(scan, options({{"energy", 8800.0}})));
}

TEST(ReconstructionInput, BadFramesAreReportedAndLeftOut) {
  const Scan floats = make_scan(scan_options({{"dtype", std::string("f32")}}));
  Scan scan = copy_of(floats);
  const auto spoil = [&](std::size_t i, float value) {
    scan.frames[i] = scan.frames[i].clone();
    static_cast<float*>(scan.frames[i].data())[100] = value;
  };
  spoil(3, NAN);
  spoil(5, -1);
  scan.frames[7] = core::AnyArray(core::DType::f32, {31, 32});
  scan.values[9]["x_m"] = INFINITY;
  Bench bench(options());
  const auto result = bench.run(scan);
  EXPECT_EQ(result.metrics.at("patterns"), 45);
  std::map<model::FrameId, std::string> reasons(bench.observer.rejections.begin(), bench.observer.rejections.end());
  ASSERT_EQ(bench.observer.rejections.size(), 4U);
  EXPECT_NE(reasons.at(3).find("not a finite number"), std::string::npos);
  EXPECT_NE(reasons.at(5).find("-1 counts"), std::string::npos);
  EXPECT_NE(reasons.at(7).find("31 x 32"), std::string::npos);
  EXPECT_NE(reasons.at(9).find("not finite"), std::string::npos);
}

TEST(ReconstructionInput, DuplicatesCountOnce) {
  Bench bench(options());
  bench.technique->begin(star().acquisition);
  for (std::size_t i = 0; i < 5; ++i) bench.push(star(), i);
  bench.feed(star());
  bench.complete();
  const auto result = bench.technique->finish(bench.observer);
  EXPECT_TRUE(technique::same_bits(reconstruct(star(), options()), result));
}

TEST(ReconstructionInput, ProbesThatCannotBeAreRefused) {
  Scan scan = copy_of(star());
  scan.acquisition.inputs["probe"] = core::AnyArray(core::DType::c64, {1, 32, 32});
  EXPECT_ERROR(error_of(scan, options()), ErrorCode::corrupt_data, "the scan's probe is zero everywhere");
  scan.acquisition.inputs["probe"] = core::AnyArray(core::DType::c64, {32, 32});
  EXPECT_ERROR(error_of(scan, options()), ErrorCode::corrupt_data, "must be (mode, y, x)");
  scan.acquisition.inputs.erase("probe");
  EXPECT_ERROR(error_of(scan, options({{"probe-start", std::string("file")}})), ErrorCode::invalid_argument,
               "the scan holds no probe");
}

TEST(ReconstructionInput, MoreThanTheMemoryAllowedIsRefusedBeforeItStarts) {
  EXPECT_ERROR(error_of(star(), options(), 50e3), ErrorCode::resource_exhausted, "more than the limit of 0.1 MB");
}

TEST(Reconstruction, TheTruthCostsWhatTheNoiseDoes) {
  Scan scan = make_scan(scan_options({{"start-probe", std::string("exact")}}));
  scan.acquisition.inputs["object"] = scan.truth.find("object")->data;
  // Positions in metres lose nothing in double precision; their origin is the object's first pixel.
  const auto result = reconstruct(
      scan,
      options({{"iterations", std::int64_t{1}}, {"object-step", 0.0}, {"probe-step", 0.0}, {"rescale-probe", false}}));
  // Six taps shift a probe to 3e-3, which adds little to counting noise.
  EXPECT_NEAR(final_cost(result) / scan.truth.metrics.at("noise_floor"), 1, 0.05);
}

TEST(ReconstructionLive, PushedOneByOneInAnyOrderWithLatePositionsItEndsAsGood) {
  const auto passes = std::int64_t{25};
  const double offline = final_cost(reconstruct(star(), options({{"iterations", passes}})));
  Bench live(options({{"iterations", passes}}));
  live.technique->begin(star().acquisition);
  std::vector<std::size_t> order(star().frames.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  math::Random random(8);
  random.shuffle(order);
  EXPECT_EQ(live.technique->step({}, live.observer), StepState::waiting);
  EXPECT_THROW(live.technique->snapshot(), core::Error);
  for (std::size_t i = 0; i < order.size(); ++i) {
    live.push(star(), order[i]);
    // Positions lag behind by five frames, as an encoder's file does.
    if (i >= 5) live.technique->annotate(static_cast<model::FrameId>(order[i - 5]), star().values[order[i - 5]]);
    if (i % 3 != 0) continue;
    EXPECT_EQ(live.technique->step({}, live.observer), i < 9 ? StepState::waiting : StepState::working);
  }
  EXPECT_EQ(live.observer.reports.back().iterations, 0);  // open end
  const auto so_far = static_cast<std::int64_t>(live.observer.reports.size());
  for (std::size_t i = order.size() - 5; i < order.size(); ++i)
    live.technique->annotate(static_cast<model::FrameId>(order[i]), star().values[order[i]]);
  live.technique->end_of_scan();
  EXPECT_EQ(live.complete(), StepState::finished);
  const auto result = live.technique->finish(live.observer);
  EXPECT_EQ(live.observer.reports.back().iteration, so_far + passes);
  EXPECT_EQ(result.metrics.at("patterns"), 49);
  // Both are on the last slope of the cost, where five passes make a few per cent.
  EXPECT_LT(final_cost(result), 1.05 * offline);
}

TEST(ReconstructionLive, RefineAfterScanReplacesIterations) {
  Bench live(options({{"iterations", std::int64_t{50}}, {"refine-after-scan", std::int64_t{2}}}));
  live.technique->begin(star().acquisition);
  for (std::size_t i = 0; i < 20; ++i) {
    live.push(star(), i);
    live.technique->annotate(static_cast<model::FrameId>(i), star().values[i]);
  }
  EXPECT_EQ(live.technique->step({}, live.observer), StepState::working);
  live.feed(star());
  live.complete();
  EXPECT_EQ(live.observer.reports.size(), 3U);
}

/// All that a reconstruction can carry, so that a checkpoint has to hold all of it.
OptionValues everything(const char* algorithm = "lsqml") {
  OptionValues v = options({{"algorithm", std::string(algorithm)},
                            {"iterations", std::int64_t{9}},
                            {"probe-modes", std::int64_t{2}},
                            {"refine-positions", true},
                            {"fit-intensity", true},
                            {"fit-background", true},
                            {"position-update-start", std::int64_t{1}},
                            {"intensity-update-start", std::int64_t{1}},
                            {"background-update-start", std::int64_t{1}},
                            {"centre-probe", true}});
  if (std::string(algorithm) == "lsqml") {
    v["opr-modes"] = std::int64_t{2};
    v["opr-update-start"] = std::int64_t{2};
  }
  if (std::string(algorithm) == "lsqml" || std::string(algorithm) == "rpie")
    v["acceleration"] = std::string("momentum");
  if (std::string(algorithm) == "epie") v["acceleration"] = std::string("adam");
  return v;
}

TEST(ReconstructionCheckpoint, GoingOnGivesTheBitsOfAnUninterruptedComputation) {
  for (const char* algorithm : {"lsqml", "rpie", "epie", "cgml", "raar", "dm"}) {
    const auto values = everything(algorithm);
    const auto uninterrupted = reconstruct(star(), values);
    for (const int passes : {1, 4}) {
      Blocks blocks;
      {
        Bench first(values);
        first.technique->begin(star().acquisition);
        first.feed(star());
        for (int i = 0; i < passes; ++i) first.technique->step({}, first.observer);
        first.technique->save(blocks);
      }
      Bench second(values);
      second.technique->begin(star().acquisition);
      second.technique->restore(blocks);
      second.feed(star());
      second.complete();
      std::string difference;
      EXPECT_TRUE(technique::same_bits(uninterrupted, second.technique->finish(second.observer), &difference))
          << algorithm << " after " << passes << ": " << difference;
    }
  }
}

TEST(ReconstructionCheckpoint, ALiveScanGoesOnFromItsFile) {
  // Twenty frames had come, backwards; the file has all of them, in order.
  const auto values = options({{"iterations", std::int64_t{5}}});
  Blocks blocks;
  const auto start = [&](Bench& bench) {
    bench.technique->begin(star().acquisition);
    for (std::size_t i = 20; i-- > 0;) {
      bench.push(star(), i);
      bench.technique->annotate(static_cast<model::FrameId>(i), star().values[i]);
    }
    for (int i = 0; i < 3; ++i) bench.technique->step({}, bench.observer);
  };
  Bench first(values);
  start(first);
  first.technique->save(blocks);
  first.feed(star());
  first.complete();
  Bench second(values);
  second.technique->begin(star().acquisition);
  second.technique->restore(blocks);
  second.feed(star());
  second.complete();
  EXPECT_TRUE(technique::same_bits(first.technique->finish(first.observer), second.technique->finish(second.observer)));
}

TEST(ReconstructionCheckpoint, MoreIterationsMayBeAskedFor) {
  Blocks blocks;
  Bench first(options());
  first.technique->begin(star().acquisition);
  first.feed(star());
  first.complete();
  first.technique->save(blocks);
  Bench second(options({{"iterations", std::int64_t{7}}}));
  second.technique->begin(star().acquisition);
  second.technique->restore(blocks);
  second.feed(star());
  second.complete();
  EXPECT_EQ(second.observer.reports.size(), 3U);
  EXPECT_TRUE(technique::same_bits(reconstruct(star(), options({{"iterations", std::int64_t{7}}})),
                                   second.technique->finish(second.observer)));
}

TEST(ReconstructionCheckpoint, WhatDoesNotFitIsRefused) {
  Blocks blocks;
  Bench first(options());
  first.technique->begin(star().acquisition);
  first.feed(star());
  first.complete();
  first.technique->save(blocks);
  const auto resume = [&](const OptionValues& values, const Scan& scan, Blocks& from) {
    try {
      Bench bench(values);
      bench.technique->begin(scan.acquisition);
      bench.technique->restore(from);
      bench.feed(scan);
      bench.complete();
    } catch (const core::Error& e) {
      return e;
    }
    ADD_FAILURE() << "no error";
    return core::Error(ErrorCode::internal, "no error");
  };
  EXPECT_ERROR(resume(options({{"probe-modes", std::int64_t{2}}}), star(), blocks), ErrorCode::conflict,
               "option probe-modes = 2 must be 1 as in the checkpoint");
  EXPECT_ERROR(resume(options(), make_scan(scan_options(), 99), blocks), ErrorCode::conflict,
               "belongs to other patterns");
  Scan fewer = copy_of(star());
  fewer.frames.resize(40);
  EXPECT_ERROR(resume(options(), fewer, blocks), ErrorCode::conflict, "frame 40 and 8 more, which this scan lacks");
  EXPECT_ERROR(resume(options(), make_scan(scan_options({{"shape", std::int64_t{48}}})), blocks), ErrorCode::conflict,
               "32 x 32 px there");

  // Every block matters: without it, or with a byte too many, nothing is made up.
  for (const auto& [name, bytes] : blocks.blocks) {
    Blocks damaged = blocks;
    damaged.blocks.erase(name);
    EXPECT_EQ(resume(options(), star(), damaged).code(), ErrorCode::corrupt_data) << name;
    if (name == "options" || name == "fft_wisdom") continue;  // texts
    damaged.blocks[name] = bytes;
    damaged.blocks[name].push_back(std::byte{1});
    EXPECT_EQ(resume(options(), star(), damaged).code(), ErrorCode::corrupt_data) << name;
  }
}

model::Product on_ranks(int ranks, const OptionValues& values) {
  std::mutex mutex;
  model::Product result;
  parallel::run_as_ranks(ranks, [&](parallel::Communicator& communicator) {
    core::ThreadPool pool(1);
    core::ManualClock clock;
    Recorder observer;
    const auto technique = verb().analyse(values, {&pool, &communicator, &clock, 1, 0});
    technique->begin(star().acquisition);
    for (std::size_t i = 0; i < star().frames.size(); ++i) {
      const model::FrameView view{static_cast<model::FrameId>(i),
                                  {star().frames[i].dtype(), star().frames[i].data(), 32, 32, 32}};
      technique->annotate(static_cast<model::FrameId>(i), star().values[i]);
      technique->push(std::span(&view, 1));
    }
    technique->end_of_scan();
    while (technique->step({}, observer) == StepState::working) {}
    auto product = technique->finish(observer);
    if (communicator.rank() != 0) return;
    const std::lock_guard lock(mutex);
    result = std::move(product);
  });
  return result;
}

TEST(ReconstructionOnRanks, FullBatchAlgorithmsGiveTheSame) {
  for (const char* algorithm : {"cgml", "raar"}) {
    const auto values = options({{"algorithm", std::string(algorithm)}, {"iterations", std::int64_t{5}}});
    // Sums in another order differ by rounding, which early passes amplify.
    const auto one = reconstruct(star(), values), two = on_ranks(2, values);
    EXPECT_NEAR(final_cost(two) / final_cost(one), 1, 1e-3) << algorithm;
    const auto a = one.find("object")->data.view<const cfloat, 2>(),
               b = two.find("object")->data.view<const cfloat, 2>();
    ASSERT_EQ(a.extents(), b.extents());
    const auto light = one.find("illumination")->data.view<const float, 2>();
    double difference = 0, norm = 0;  // by light: what hardly any beam has seen is not determined
    for (Index i = 0; i < a.size(); ++i) {
      difference += static_cast<double>(light.data()[i] * math::abs2(a.data()[i] - b.data()[i]));
      norm += static_cast<double>(light.data()[i] * math::abs2(a.data()[i]));
    }
    EXPECT_LT(std::sqrt(difference / norm), 1e-3) << algorithm;
    EXPECT_GT(two.metrics.at("bytes_sent_per_iteration"), 0);
    EXPECT_EQ(two.metrics.at("patterns"), 49);
    std::string lost;
    for (const auto& name : verb().outputs)
      if (two.find(name) == nullptr) lost += name + " ";
    EXPECT_EQ(lost, "");
  }
}

TEST(ReconstructionOnRanks, BatchAlgorithmsComeAsFar) {
  // Two tiles of 25 patterns have other batches than one of 49: the same cost is met a few passes apart.
  const auto values = options({{"iterations", std::int64_t{40}}});
  EXPECT_NEAR(final_cost(on_ranks(2, values)) / final_cost(reconstruct(star(), values)), 1, 0.1);
}

}  // namespace
}  // namespace farfield::techniques::ptychography
