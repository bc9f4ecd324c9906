#include "farfield/techniques/ptychography/reconstruction.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <mutex>
#include <numeric>
#include <set>

#include "farfield/math/complex.hpp"
#include "farfield/math/random.hpp"
#include "farfield/parallel/threads.hpp"
#include "farfield/technique/conformance.hpp"
#include "farfield/techniques/ptychography/compare.hpp"
#include "farfield/techniques/ptychography/simulate.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::Array;
using core::ErrorCode;
using core::OptionValues;
using technique::StepState;

const technique::Verb& verb() {
  static const auto v = reconstruct_verb();
  return v;
}

/// 49 patterns of 32 x 32 of a star, Gaussian spot of 8 px, steps of 3 px.
OptionValues scan_options(OptionValues more = {}) {
  OptionValues v{{"patterns", std::int64_t{49}},
                 {"shape", std::int64_t{32}},
                 {"probe", std::string("gaussian")},
                 {"probe-size", 8.0},
                 {"step", 3.0},
                 {"jitter", 1.0},
                 {"photons", 1e5}};
  for (const auto& [name, value] : more) v[name] = value;
  return v;
}

/// Estimated plans are the same in every process, whatever was measured before.
OptionValues options(OptionValues more = {}) {
  OptionValues v{{"iterations", std::int64_t{4}}, {"fft-planning", std::string("estimate")}};
  for (const auto& [name, value] : more) v[name] = value;
  return v;
}

struct Recorder final : technique::Observer {
  void progress(const technique::Progress& p) override { reports.push_back(p); }
  void rejected(model::FrameId id, const std::string& reason) override { rejections.emplace_back(id, reason); }
  void warning(const std::string& text) override { warnings.push_back(text); }
  std::vector<technique::Progress> reports;
  std::vector<std::pair<model::FrameId, std::string>> rejections;
  std::vector<std::string> warnings;
};

struct Blocks final : technique::Sink, technique::Source {
  void put(std::string_view name, std::span<const std::byte> bytes) override { blocks[std::string(name)].assign(bytes.begin(), bytes.end()); }
  std::vector<std::byte> get(std::string_view name) override {
    const auto it = blocks.find(std::string(name));
    if (it == blocks.end()) throw core::Error(ErrorCode::corrupt_data, "no block " + std::string(name));
    return it->second;
  }
  bool has(std::string_view name) const override { return blocks.contains(std::string(name)); }
  std::map<std::string, std::vector<std::byte>> blocks;
};

/// A scan in memory that tests may spoil.
struct Scan {
  model::Acquisition acquisition;
  std::vector<core::AnyArray> frames;
  std::vector<model::Values> values;
  model::Product truth;
};

Scan make_scan(const OptionValues& given, std::uint64_t seed = 3) {
  core::ThreadPool pool(1);
  core::ManualClock clock;
  const auto simulation = make_simulation(given, {&pool, nullptr, &clock, seed, 0});
  Scan scan;
  while (simulation->next({}, [&](const model::FrameBatch& batch) {
    for (const auto& f : batch.frames)
      core::visit_dtype(f.image.dtype, [&](auto zero) { scan.frames.emplace_back(f.image.view<decltype(zero)>()); });
    for (const auto& [id, v] : batch.values) scan.values.push_back(v);
  })) {
  }
  scan.acquisition = simulation->acquisition().clone();
  scan.truth = simulation->truth();
  return scan;
}

const Scan& star() {
  static const Scan scan = make_scan(scan_options());
  return scan;
}

struct Bench {
  explicit Bench(const OptionValues& values, int threads = 1, double memory_limit = 0, std::uint64_t seed = 1)
      : pool(threads), technique(verb().analyse(values, {&pool, nullptr, &clock, seed, memory_limit})) {}
  void push(const Scan& scan, std::size_t i) {
    const auto& shape = scan.frames[i].shape();
    const model::FrameView view{static_cast<model::FrameId>(i), {scan.frames[i].dtype(), scan.frames[i].data(), shape[0], shape[1], shape[1]}};
    technique->push(std::span(&view, 1));
  }
  void feed(const Scan& scan) {
    for (std::size_t i = 0; i < scan.values.size(); ++i) technique->annotate(static_cast<model::FrameId>(i), scan.values[i]);
    for (std::size_t i = 0; i < scan.frames.size(); ++i) push(scan, i);
    technique->end_of_scan();
  }
  StepState complete() {
    for (int i = 0; i < 1000; ++i) {
      state = technique->step({}, observer);
      if (state != StepState::working) return state;
    }
    return state;
  }
  model::Product run(const Scan& scan) {
    technique->begin(scan.acquisition);
    feed(scan);
    complete();
    return technique->finish(observer);
  }

  core::ThreadPool pool;
  core::ManualClock clock;
  Recorder observer;
  std::unique_ptr<technique::Technique> technique;
  StepState state = StepState::working;
};

model::Product reconstruct(const Scan& scan, const OptionValues& values, int threads = 1) { return Bench(values, threads).run(scan); }

/// The error of running `scan` with `values`; fails when there is none.
core::Error error_of(const Scan& scan, const OptionValues& values, double memory_limit = 0) {
  try {
    Bench(values, 1, memory_limit).run(scan);
  } catch (const core::Error& e) {
    return e;
  }
  ADD_FAILURE() << "no error";
  return core::Error(ErrorCode::internal, "no error");
}
#define EXPECT_ERROR(error, expected_code, part)                                       \
  do {                                                                                 \
    const core::Error caught = (error);                                                \
    EXPECT_EQ(caught.code(), expected_code) << caught.what();                          \
    EXPECT_NE(std::string(caught.what()).find(part), std::string::npos) << caught.what(); \
  } while (false)

double final_cost(const model::Product& p) { return p.metrics.at("final_cost"); }

struct SimulatedSource final : model::FrameSource {
  explicit SimulatedSource(const OptionValues& given) : simulation(make_simulation(given, {&pool, nullptr, &clock, 3, 0})) {}
  const model::Acquisition& acquisition() const override { return simulation->acquisition(); }
  bool next(std::stop_token stop, const std::function<void(const model::FrameBatch&)>& take) override { return simulation->next(stop, take); }
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
  const auto result = reconstruct(star(), options({{"iterations", std::int64_t{60}}}));
  // The noise floor is the cost of the truth itself; a fit of as many unknowns as here goes a little below it.
  const double floor = star().truth.metrics.at("noise_floor");
  EXPECT_LT(final_cost(result), 1.7 * floor);
  EXPECT_GT(final_cost(result), 0.5 * floor);
  EXPECT_EQ(result.metrics.at("iterations"), 60);
  EXPECT_EQ(result.metrics.at("patterns"), 49);
}

TEST(Reconstruction, ThreadsDoNotChangeTheResultBeyondRounding) {
  const auto one = reconstruct(star(), options({{"iterations", std::int64_t{10}}})), two = reconstruct(star(), options({{"iterations", std::int64_t{10}}}), 2);
  // Sums over a batch in another order, in single precision, through ten passes.
  EXPECT_NEAR(final_cost(two) / final_cost(one), 1, 1e-3);
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

/// A copy that a test may spoil; frames are shared.
Scan copy_of(const Scan& scan) { return {scan.acquisition.clone(), scan.frames, scan.values, {}}; }

TEST(ReconstructionInput, WithoutUsableFramesItSaysWhy) {
  Scan scan = copy_of(star());
  scan.frames.clear();
  scan.values.clear();
  EXPECT_ERROR(error_of(scan, options()), ErrorCode::corrupt_data, "the scan has no frames");

  scan = copy_of(star());
  for (auto& v : scan.values) v.clear();
  EXPECT_ERROR(error_of(scan, options()), ErrorCode::corrupt_data, "none of the 49 frames can be used; the first: it has no position");

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
  EXPECT_ERROR(error_of(scan, options({{"probe-start", std::string("file")}})), ErrorCode::invalid_argument, "the scan holds no probe");
}

TEST(ReconstructionInput, MoreThanTheMemoryAllowedIsRefusedBeforeItStarts) {
  EXPECT_ERROR(error_of(star(), options(), 50e3), ErrorCode::resource_exhausted, "more than the limit of 0.1 MB");
}

TEST(Reconstruction, TheTruthCostsWhatTheNoiseDoes) {
  Scan scan = make_scan(scan_options({{"start-probe", std::string("exact")}}));
  scan.acquisition.inputs["object"] = scan.truth.find("object")->data;
  // Positions in metres lose nothing in double precision; their origin is the object's first pixel.
  const auto result = reconstruct(scan, options({{"iterations", std::int64_t{1}}, {"object-step", 0.0}, {"probe-step", 0.0}, {"rescale-probe", false}}));
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
  OptionValues v = options({{"algorithm", std::string(algorithm)}, {"iterations", std::int64_t{9}}, {"probe-modes", std::int64_t{2}},
                            {"refine-positions", true}, {"fit-intensity", true}, {"fit-background", true}, {"position-update-start", std::int64_t{1}},
                            {"intensity-update-start", std::int64_t{1}}, {"background-update-start", std::int64_t{1}}, {"centre-probe", true}});
  if (std::string(algorithm) == "lsqml") {
    v["opr-modes"] = std::int64_t{2};
    v["opr-update-start"] = std::int64_t{2};
  }
  if (std::string(algorithm) == "lsqml" || std::string(algorithm) == "rpie") v["acceleration"] = std::string("momentum");
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
  EXPECT_TRUE(technique::same_bits(reconstruct(star(), options({{"iterations", std::int64_t{7}}})), second.technique->finish(second.observer)));
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
  EXPECT_ERROR(resume(options({{"probe-modes", std::int64_t{2}}}), star(), blocks), ErrorCode::conflict, "option probe-modes = 2 must be 1 as in the checkpoint");
  EXPECT_ERROR(resume(options(), make_scan(scan_options(), 99), blocks), ErrorCode::conflict, "belongs to other patterns");
  Scan fewer = copy_of(star());
  fewer.frames.resize(40);
  EXPECT_ERROR(resume(options(), fewer, blocks), ErrorCode::conflict, "frame 40 and 8 more, which this scan lacks");
  EXPECT_ERROR(resume(options(), make_scan(scan_options({{"shape", std::int64_t{48}}})), blocks), ErrorCode::conflict, "32 x 32 px there");

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
      const model::FrameView view{static_cast<model::FrameId>(i), {star().frames[i].dtype(), star().frames[i].data(), 32, 32, 32}};
      technique->annotate(static_cast<model::FrameId>(i), star().values[i]);
      technique->push(std::span(&view, 1));
    }
    technique->end_of_scan();
    while (technique->step({}, observer) == StepState::working) {
    }
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
    const auto a = one.find("object")->data.view<const cfloat, 2>(), b = two.find("object")->data.view<const cfloat, 2>();
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

/// Options of which a computation of four passes must show the effect: each with what it is added to.
struct Effect {
  const char* option;
  core::OptionValue value;
  OptionValues beside{};
};

TEST(ReconstructionOptions, EachHasAnEffect) {
  using Int = std::int64_t;
  const OptionValues modes{{"probe-modes", Int{3}}}, positions{{"refine-positions", true}, {"position-update-start", Int{0}}},
      opr{{"opr-modes", Int{1}}, {"opr-update-start", Int{1}}}, intensity{{"fit-intensity", true}, {"intensity-update-start", Int{0}}},
      background{{"fit-background", true}, {"background-update-start", Int{0}}}, clip{{"object-amplitude-max", 0.7}}, support{{"probe-support", 0.3}},
      zone_plate{{"probe-start", std::string("zone-plate")}, {"zone-plate-diameter", 100e-6}, {"zone-plate-outer-zone", 400e-9}},
      near{{"propagation", std::string("angular-spectrum")}},
      cgml{{"algorithm", std::string("cgml")}},
      cgml_modes{{"algorithm", std::string("cgml")}, {"probe-modes", Int{3}}, {"probe-update-start", Int{0}}}, raar{{"algorithm", std::string("raar")}}, dm{{"algorithm", std::string("dm")}};
  const std::vector<Effect> effects = {
      {"algorithm", std::string("cgml")}, {"iterations", Int{3}}, {"likelihood", std::string("poisson")}, {"batch-size", Int{7}},
      {"batches", std::string("sequential")}, {"object-step", 0.5}, {"probe-step", 0.5}, {"damping", 0.5},
      {"acceleration", std::string("momentum")}, {"momentum", 0.5, {{"acceleration", std::string("momentum")}}}, {"alpha", 0.5, {{"algorithm", std::string("rpie")}}},
      {"raar-beta", 0.5, raar}, {"dm-beta", 0.5, dm}, {"dm-tolerance", 0.3, dm}, {"probe-modes", Int{2}}, {"mode-start", std::string("random"), modes},
      {"mode-power", 0.3, modes}, {"orthogonalise", false, modes}, {"opr-modes", Int{1}, {{"opr-update-start", Int{1}}}},
      {"probe-start", std::string("mean-pattern")}, {"probe-diameter", 6.0, {{"probe-start", std::string("aperture")}}},
      {"probe-defocus", 1e-3}, {"zone-plate-diameter", 120e-6, {{"probe-start", std::string("zone-plate")}, {"zone-plate-diameter", 100e-6}, {"zone-plate-outer-zone", 400e-9}, {"zone-plate-stop", 40e-6}}},
      {"zone-plate-outer-zone", 500e-9, zone_plate}, {"zone-plate-stop", 50e-6, zone_plate}, {"rescale-probe", false, {{"probe-start", std::string("aperture")}}},
      {"probe-support", 0.3}, {"probe-photons", 5e4}, {"object-start", std::string("stxm")}, {"object-amplitude-max", 0.7},
      {"object-amplitude-min", 1.2}, {"object-positive", true}, {"object-smoothness", 0.2}, {"object-tv", 0.05}, {"refine-positions", true, {{"position-update-start", Int{0}}}},
      {"position-model", std::string("free"), positions}, {"position-step-limit", 0.001, positions}, {"position-outlier-sigma", 1.0, positions},
      {"position-regularisation", 0.9, positions}, {"fit-intensity", true, {{"intensity-update-start", Int{0}}}}, {"fit-background", true, {{"background-update-start", Int{0}}}},
      {"object-update-start", Int{1}, cgml}, {"object-update-stop", Int{1}}, {"object-update-stride", Int{2}},
      {"probe-update-start", Int{1}}, {"probe-update-stop", Int{3}}, {"probe-update-stride", Int{2}},
      {"mode-update-start", Int{3}, cgml_modes}, {"mode-update-stop", Int{3}, cgml_modes}, {"mode-update-stride", Int{3}, cgml_modes},
      {"opr-update-start", Int{2}, opr}, {"opr-update-stop", Int{2}, opr}, {"opr-update-stride", Int{2}, opr},
      {"position-update-start", Int{2}, positions}, {"position-update-stop", Int{2}, positions}, {"position-update-stride", Int{2}, positions},
      {"intensity-update-start", Int{2}, intensity}, {"intensity-update-stop", Int{2}, intensity}, {"intensity-update-stride", Int{2}, intensity},
      {"background-update-start", Int{2}, background}, {"background-update-stop", Int{2}, background}, {"background-update-stride", Int{2}, background},
      {"object-constraint-start", Int{4}, clip}, {"object-constraint-stop", Int{3}, clip}, {"object-constraint-stride", Int{2}, clip},
      {"probe-constraint-start", Int{4}, support}, {"probe-constraint-stop", Int{3}, support}, {"probe-constraint-stride", Int{2}, support},
      {"dc", std::string("corner")}, {"crop", Int{24}}, {"bin", Int{2}}, {"pad", Int{40}}, {"flip-y", true}, {"flip-x", true}, {"transpose", true},
      {"saturation", 200.0}, {"propagation", std::string("angular-spectrum")}, {"energy", 9000.0}, {"distance", 2.5, near}, {"detector-pixel", 80e-6},
      {"position-scale-y", -1.0}, {"position-scale-x", -1.0}, {"swap-positions", true},
  };
  // Tested by themselves: when it ends (stop rules), what lives on between passes, or how fast it is.
  std::set<std::string> rest = {"time-limit", "convergence-window", "convergence-tolerance", "refine-after-scan", "fft-planning", "centre-probe"};
  std::map<std::string, model::Product> references;
  for (const auto& effect : effects) {
    rest.insert(effect.option);
    OptionValues without = options(effect.beside);
    const std::string key = core::options_to_json(without);
    if (!references.contains(key)) references[key] = reconstruct(star(), without);
    OptionValues with = without;
    with[effect.option] = effect.value;
    EXPECT_FALSE(technique::same_bits(references[key], reconstruct(star(), with))) << effect.option;
  }
  for (const auto& info : schema().options()) EXPECT_TRUE(rest.contains(info.name)) << info.name << " is tested nowhere";
}

TEST(ReconstructionOptions, CentringBringsTheProbeBack) {
  Scan scan = make_scan(scan_options({{"start-probe", std::string("exact")}}));
  auto probe = scan.acquisition.inputs["probe"].to<cfloat, 3>();
  for (Index y = 0; y < 32; ++y) std::rotate(probe[0].data() + y * 32, probe[0].data() + y * 32 + 3, probe[0].data() + (y + 1) * 32);
  scan.acquisition.inputs["probe"] = core::AnyArray(probe);
  const auto x_of = [](const model::Product& p) {
    const auto field = p.find("probe")->data.view<const cfloat, 3>();
    double sum = 0, moment = 0;
    for (Index y = 0; y < 32; ++y)
      for (Index x = 0; x < 32; ++x) {
        sum += static_cast<double>(math::abs2(field(Index{0}, y, x)));
        moment += static_cast<double>(math::abs2(field(Index{0}, y, x))) * static_cast<double>(x);
      }
    return moment / sum;
  };
  const auto off = reconstruct(scan, options()), centred = reconstruct(scan, options({{"centre-probe", true}}));
  EXPECT_LT(x_of(off), 14);
  EXPECT_NEAR(x_of(centred), 16, 0.51);
}

TEST(ReconstructionOptions, TimeAndConvergenceEndIt) {
  Bench converging(options({{"iterations", std::int64_t{500}}, {"convergence-window", std::int64_t{3}}, {"convergence-tolerance", 0.05}}));
  converging.run(star());
  EXPECT_EQ(converging.state, StepState::converged);
  EXPECT_LT(converging.observer.reports.size(), 200U);

  Bench timed(options({{"iterations", std::int64_t{500}}, {"time-limit", 10.0}}));
  timed.technique->begin(star().acquisition);
  timed.feed(star());
  EXPECT_EQ(timed.technique->step({}, timed.observer), StepState::working);
  timed.clock.time_s = 11;
  EXPECT_EQ(timed.complete(), StepState::finished);
  EXPECT_LE(timed.observer.reports.size(), 2U);
}

TEST(ReconstructionOptions, ContradictionsAreRefused) {
  EXPECT_ERROR(error_of(star(), options({{"probe-start", std::string("zone-plate")}})), ErrorCode::invalid_argument, "zone-plate-diameter");
  EXPECT_ERROR(error_of(star(), options({{"centre-probe", true}, {"propagation", std::string("fresnel")}})), ErrorCode::invalid_argument, "far-field");
  EXPECT_ERROR(error_of(star(), options({{"crop", std::int64_t{64}}})), ErrorCode::invalid_argument, "crop = 64");
  EXPECT_ERROR(error_of(star(), options({{"probe-modse", std::int64_t{2}}})), ErrorCode::invalid_argument, "probe-modes");
}

TEST(ReconstructionProduct, HoldsWhatItSays) {
  const auto p = reconstruct(star(), options({{"probe-modes", std::int64_t{2}}}));
  EXPECT_EQ(p.technique, "ptychography");
  EXPECT_EQ(p.find("cost")->data.shape(), std::vector<Index>{4});
  EXPECT_EQ(p.find("positions")->unit, "m");
  const auto shares = p.find("mode_power")->data.view<const double, 1>();
  EXPECT_NEAR(shares[0] + shares[1], 1, 1e-12);
  EXPECT_GE(shares[0], shares[1]);
  const double pixel = *p.pixel_size_y_m;
  EXPECT_NEAR(pixel, *star().truth.pixel_size_y_m, 1e-6 * pixel);
  // Differences between positions are those of the truth, whatever the origin.
  const auto at = p.find("positions")->data.view<const double, 2>(), truth = star().truth.find("positions")->data.view<const double, 2>();
  EXPECT_NEAR((at(7, 0) - at(3, 0)) / pixel, truth(7, 0) - truth(3, 0), 1e-6);
  EXPECT_NEAR((at(7, 1) - at(3, 1)) / pixel, truth(7, 1) - truth(3, 1), 1e-6);
  EXPECT_EQ(p.provenance.at("seed"), "1");
  EXPECT_NE(p.provenance.at("options").find("\"probe-modes\": 2"), std::string::npos) << p.provenance.at("options");
  const double total = [&] {
    double sum = 0;
    for (const float v : p.find("illumination")->data.view<const float, 2>()) sum += static_cast<double>(v);
    return sum;
  }();
  EXPECT_NEAR(total / (49 * 1e5), 1, 0.3);  // photons of the simulation; four passes do not settle the object's amplitude
}

TEST(ReconstructionProduct, BackgroundLiesAsTheFramesDo) {
  Scan scan = copy_of(star());
  core::AnyArray frame(core::DType::f32, {32, 32});
  for (Index i = 0; i < frame.size(); ++i) static_cast<float*>(frame.data())[i] = static_cast<float>(i % 7);
  scan.acquisition.inputs["background"] = frame;
  const auto p = reconstruct(scan, options());
  ASSERT_NE(p.find("background"), nullptr);
  EXPECT_EQ(std::memcmp(p.find("background")->data.data(), frame.data(), static_cast<std::size_t>(frame.bytes())), 0);
}

TEST(ReconstructionProduct, DivergenceIsSaid) {
  Bench bench(options({{"iterations", std::int64_t{100}}, {"object-step", 10.0}, {"probe-step", 10.0}}));
  const auto p = bench.run(star());
  EXPECT_EQ(bench.state, StepState::not_converged);
  ASSERT_FALSE(bench.observer.warnings.empty());
  EXPECT_NE(bench.observer.warnings.back().find("diverged"), std::string::npos);
  for (const auto& [name, value] : p.metrics) EXPECT_TRUE(std::isfinite(value)) << name;
}

TEST(ReconstructionProduct, WithoutAGeometryThereAreNoMetres) {
  const auto p = reconstruct(make_scan(scan_options({{"pixel-units", true}})), options());
  EXPECT_FALSE(p.pixel_size_y_m);
  EXPECT_FALSE(p.energy_eV);
  EXPECT_EQ(p.find("positions")->unit, "px");
  EXPECT_FALSE(p.metrics.contains("pixel_size_y_m"));
}

}  // namespace
}  // namespace farfield::techniques::ptychography
