#include "farfield/techniques/ptychography/reconstruction.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "farfield/math/complex.hpp"
#include "farfield/math/random.hpp"
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

}  // namespace
}  // namespace farfield::techniques::ptychography
