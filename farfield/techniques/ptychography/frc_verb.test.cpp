#include "farfield/techniques/ptychography/frc_verb.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <set>
#include <string>

#include "farfield/technique/conformance.hpp"
#include "farfield/techniques/ptychography/simulate.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::AnyArray;
using core::Array;
using core::cfloat;
using core::Index;
using core::OptionValues;
using technique::StepState;

struct MeanOptions {
  std::int64_t iterations = 3;
};

const core::BoundSchema<MeanOptions>& mean_schema() {
  static const auto schema =
      core::BoundSchema<MeanOptions>().add("iterations", &MeanOptions::iterations, "steps", {.min = 1, .max = 100});
  return schema;
}

std::vector<std::set<model::FrameId>> g_seen;  ///< inner ids that each technique got

/// Stands in for a reconstruction: its "object" is the mean pattern, so that the noise of the halves is independent.
struct MeanPattern final : technique::Technique {
  explicit MeanPattern(std::int64_t n) : iterations(n), number(g_seen.size()) { g_seen.emplace_back(); }
  void begin(const model::Acquisition& a) override {
    sum = Array<double, 2>({a.detector.ny, a.detector.nx});
    expected = a.scan.expected_frames;
    if (!a.detector.pixel_mask.empty() && a.detector.pixel_mask(0, 0) != 0)
      throw core::Error(core::ErrorCode::corrupt_data, "masked");
  }
  void push(std::span<const model::FrameView> frames) override {
    for (const auto& f : frames) {
      if (!g_seen[number].insert(f.id).second) continue;
      const auto image = f.image.view<std::uint16_t>();
      for (Index i = 0; i < sum.size(); ++i) sum.data()[i] += image.data()[i];
    }
  }
  void annotate(model::FrameId, const model::Values&) override {}
  void end_of_scan() override { ended = true; }
  StepState step(std::stop_token, technique::Observer& o) override {
    if (!ended) return StepState::waiting;
    ++done;
    o.progress({done, iterations, 0, {{"cost", 1.0 / static_cast<double>(done)}}});
    if (done == 1) o.rejected(1, "a test");
    return done >= iterations ? StepState::finished : StepState::working;
  }
  model::Product snapshot() const override {
    if (g_seen[number].empty()) throw core::Error(core::ErrorCode::corrupt_data, "no frames");
    Array<cfloat, 2> object(sum.extents());
    for (Index i = 0; i < sum.size(); ++i)
      object.data()[i] = static_cast<float>(sum.data()[i] / static_cast<double>(g_seen[number].size()));
    model::Product p;
    p.datasets.push_back({"object", AnyArray(object), "", {"y", "x"}});
    p.metrics["final_cost"] = static_cast<double>(done);
    p.metrics["expected"] = static_cast<double>(expected);
    return p;
  }
  void save(technique::Sink& sink) const override { sink.put("done", std::as_bytes(std::span(&done, 1))); }
  void restore(technique::Source& source) override { std::memcpy(&done, source.get("done").data(), sizeof done); }
  model::Product finish(technique::Observer&) override { return snapshot(); }

  std::int64_t iterations, done = 0;
  Index expected = 0;
  std::size_t number;
  Array<double, 2> sum;
  bool ended = false;
};

technique::Verb verb() {
  return frc_verb(mean_schema(),
                  [](const OptionValues& values, const technique::Resources&) -> std::unique_ptr<technique::Technique> {
                    return std::make_unique<MeanPattern>(mean_schema().make(values).iterations);
                  });
}

std::unique_ptr<technique::Simulation> scan(core::ThreadPool& pool, const core::Clock& clock) {
  return make_simulation({{"patterns", std::int64_t{15}},
                          {"shape", std::int64_t{48}},
                          {"probe", std::string("gaussian")},
                          {"probe-size", 8.0},
                          {"photons", 1e6}},
                         {&pool, nullptr, &clock, 1, 0});
}

struct Recorder final : technique::Observer {
  void progress(const technique::Progress& p) override { reports.push_back(p); }
  void rejected(model::FrameId id, const std::string&) override { refused.insert(id); }
  std::vector<technique::Progress> reports;
  std::set<model::FrameId> refused;
};

TEST(FrcVerb, DealsEveryFrameOnceAndOneOfEachPairToEachHalf) {
  for (const HalfSplit split : {HalfSplit::even_odd, HalfSplit::balanced, HalfSplit::random}) {
    const HalfDeal deal{split, 9};
    Index flips = 0;
    for (model::FrameId pair = 0; pair < 1000; ++pair) {
      EXPECT_NE(deal.half(2 * pair), deal.half(2 * pair + 1));
      flips += deal.half(2 * pair);
      for (const model::FrameId id : {2 * pair, 2 * pair + 1})
        EXPECT_EQ(deal.outer(deal.half(id), HalfDeal::inner(id)), id);
    }
    if (split == HalfSplit::even_odd) {
      EXPECT_EQ(flips, 0);
    } else {
      EXPECT_NEAR(static_cast<double>(flips), 500, 5 * std::sqrt(250.0));
    }
    for (const Index n : {0, 1, 14, 15}) EXPECT_EQ(deal.share(0, n) + deal.share(1, n), n);
    EXPECT_EQ(deal.share(0, -1), -1);
  }
  // A raster with rows of 8 points: balanced halves share every column.
  const HalfDeal balanced{HalfSplit::balanced, 0};
  for (Index column = 0; column < 8; ++column) {
    Index first = 0;
    for (Index row = 0; row < 64; ++row) first += balanced.half(8 * row + column) == 0;
    EXPECT_EQ(first, 32) << column;
  }
}

TEST(FrcVerb, RunsTheHalvesInTurnAndComparesThem) {
  core::ThreadPool pool(1);
  core::ManualClock clock;
  const auto source = scan(pool, clock);
  g_seen.clear();
  const auto technique = verb().analyse({{"iterations", std::int64_t{2}}}, {&pool, nullptr, &clock, 0, 0});
  ASSERT_EQ(g_seen.size(), 2U);
  Recorder recorder;
  technique->begin(source->acquisition());
  EXPECT_EQ(technique->step({}, recorder), StepState::waiting);
  source->next({}, [&](const model::FrameBatch& batch) { technique->push(batch.frames); });
  technique->end_of_scan();
  EXPECT_EQ(g_seen[0].size() + g_seen[1].size(), 15U);
  EXPECT_EQ(*g_seen[0].rbegin() + 1, static_cast<Index>(g_seen[0].size()));  // numbered without gaps

  EXPECT_EQ(technique->step({}, recorder), StepState::working);
  EXPECT_EQ(technique->step({}, recorder), StepState::working);
  EXPECT_EQ(technique->step({}, recorder), StepState::working);
  EXPECT_EQ(technique->step({}, recorder), StepState::finished);
  ASSERT_EQ(recorder.reports.size(), 4U);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(recorder.reports[i].iteration, static_cast<std::int64_t>(i + 1));
    EXPECT_EQ(recorder.reports[i].iterations, 4);
    EXPECT_EQ(recorder.reports[i].values.back().second, static_cast<double>(i % 2 + 1));
  }
  // Inner frame 1 of each half: outer frames 2 and 3.
  EXPECT_EQ(recorder.refused, (std::set<model::FrameId>{2, 3}));

  const auto product = technique->finish(recorder);
  EXPECT_EQ(product.verb, "frc");
  EXPECT_EQ(product.metrics.at("final_cost_a"), 2);
  EXPECT_EQ(product.metrics.at("expected_a") + product.metrics.at("expected_b"), 15);
  for (const auto& name : verb().outputs) EXPECT_NE(product.find(name), nullptr) << name;
  // Bright low frequencies agree, counting noise prevails farther out.
  const auto frc = product.find("frc")->data.view<const double, 1>();
  EXPECT_GT(frc[2], 0.9);
  EXPECT_LT(product.metrics.at("nrmse"), 0.1);
}

TEST(FrcVerb, KeepsTheContract) {
  core::ThreadPool pool(1);
  core::ManualClock clock;
  const auto frc = verb();
  technique::ConformanceCase test;
  test.verb = &frc;
  test.open = [&] { return scan(pool, clock); };
  test.order_tolerance = 1e-6;  // sums of counts are exact
  const auto violations = technique::check_conformance(test);
  EXPECT_TRUE(violations.empty()) << technique::to_text(violations);
}

TEST(FrcVerb, KnowsTheOptionsOfBoth) {
  core::ThreadPool pool(1);
  core::ManualClock clock;
  const technique::Resources resources{&pool, nullptr, &clock, 0, 0};
  EXPECT_NE(verb().options.find("iterations"), nullptr);
  EXPECT_NE(verb().options.find("frc-split"), nullptr);
  EXPECT_NO_THROW(verb().analyse({{"frc-split", std::string("random")}, {"iterations", std::int64_t{5}}}, resources));
  EXPECT_THROW(verb().analyse({{"frc-splt", std::string("random")}}, resources), core::Error);
  EXPECT_THROW(verb().analyse({{"iterations", std::int64_t{0}}}, resources), core::Error);
}

}  // namespace
}  // namespace farfield::techniques::ptychography
