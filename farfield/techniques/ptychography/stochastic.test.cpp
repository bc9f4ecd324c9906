// LSQ-ML, ePIE and rPIE on a scan whose object is known.

#include <gtest/gtest.h>

#include "farfield/techniques/ptychography/quality.hpp"
#include "farfield/techniques/ptychography/reconstruction.hpp"
#include "farfield/techniques/ptychography/simulate.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::OptionValues;

const core::SteadyClock kClock;

struct Scan {
  model::Acquisition acquisition;
  std::vector<core::AnyArray> frames;
  std::vector<std::pair<model::FrameId, model::Values>> values;
  model::Product truth;
};

const Scan& scan() {
  static const Scan made = [] {
    core::ThreadPool pool;
    const auto simulation = simulate_verb().simulate(
        {{"patterns", std::int64_t{64}}, {"shape", std::int64_t{64}}, {"photons", 1e6}, {"step", 6.0}},
        {&pool, nullptr, &kClock, 3, 0});
    Scan s;
    s.acquisition = simulation->acquisition().clone();
    while (simulation->next({}, [&](const model::FrameBatch& batch) {
      for (const auto& f : batch.frames) s.frames.emplace_back(f.image.view<std::uint16_t>());
      s.values.insert(s.values.end(), batch.values.begin(), batch.values.end());
    })) {}
    s.truth = simulation->truth();
    return s;
  }();
  return made;
}

model::Product run(OptionValues options, int threads = 1) {
  core::ThreadPool pool(threads);
  const auto technique = reconstruct_verb().analyse(options, {&pool, nullptr, &kClock, 1, 0});
  technique->begin(scan().acquisition);
  for (std::size_t i = 0; i < scan().frames.size(); ++i) {
    const model::FrameView frame{static_cast<model::FrameId>(i),
                                 core::AnyImage::of<std::uint16_t>(scan().frames[i].view<const std::uint16_t, 2>())};
    technique->push({&frame, 1});
  }
  for (const auto& [id, values] : scan().values) technique->annotate(id, values);
  technique->end_of_scan();
  technique::Observer observer;
  while (technique->step({}, observer) == technique::StepState::working) {}
  return technique->finish(observer);
}

double cost_over_floor(const model::Product& p) {
  return p.metrics.at("final_cost") / scan().truth.metrics.at("noise_floor");
}

class Stochastic : public testing::TestWithParam<const char*> {
protected:
  OptionValues options(std::int64_t iterations) const {
    return {{"algorithm", std::string(GetParam())}, {"iterations", iterations}};
  }
};

TEST_P(Stochastic, NearsTheNoiseFloor) {
  // The flat object is far above the floor. Updates from single patterns follow each pattern's own noise
  // (ePIE, within a factor of three at this dose); batches average it.
  const double start = cost_over_floor(run(options(1))), end = cost_over_floor(run(options(40)));
  EXPECT_LT(end, 0.5 * start);
  EXPECT_LT(end, std::string_view(GetParam()) == "lsqml" ? 1.35 : 3.0);
}

TEST_P(Stochastic, BatchesOfEveryKindDescend) {
  const double start = cost_over_floor(run(options(1)));
  for (const char* batches : {"sequential", "random", "compact"})
    for (const std::int64_t size : {1, 7, 64}) {
      OptionValues o = options(12);
      o["batches"] = std::string(batches);
      o["batch-size"] = size;
      o["alpha"] = 0.3;
      EXPECT_LT(cost_over_floor(run(o)), start) << batches << " " << size;
    }
}

TEST_P(Stochastic, AccelerationsDescend) {
  for (const char* kind : {"momentum", "nesterov", "adam"}) {
    OptionValues o = options(2), more = options(25);
    for (OptionValues* v : {&o, &more}) {
      (*v)["acceleration"] = std::string(kind);
      (*v)["batch-size"] = std::int64_t{16};
      (*v)["momentum"] = 0.7;
    }
    EXPECT_LT(cost_over_floor(run(more)), cost_over_floor(run(o))) << kind;
  }
}

TEST(LsqMl, StepsOfEachPatternEndWhereStepsOfTheBatchDo) {
  const double batch = cost_over_floor(run({{"iterations", std::int64_t{30}}})),
               pattern =
                   cost_over_floor(run({{"iterations", std::int64_t{30}}, {"optimal-steps", std::string("pattern")}}));
  // Two paths to the noise floor; passes differ by a few percent there.
  EXPECT_NEAR(pattern / batch, 1, 0.1);
  EXPECT_NE(pattern, batch);
}

TEST_P(Stochastic, MoreThreadsSameBatchesSameImage) {
  OptionValues o = options(8);
  o["batch-size"] = std::int64_t{8};
  // Only the order of single-precision sums differs; eight passes amplify it to far less than this.
  EXPECT_NEAR(cost_over_floor(run(o, 3)) / cost_over_floor(run(o, 1)), 1, 2e-3);
}

TEST_P(Stochastic, FixedProbeAndFixedObjectStayAsTheyAre) {
  OptionValues o = options(3);
  o["probe-update-start"] = std::int64_t{100};
  const auto fixed_probe = run(o);
  OptionValues p = options(3);
  p["object-update-start"] = std::int64_t{100};
  const auto fixed_object = run(p);
  for (const auto v : fixed_object.find("object")->data.to<core::cfloat, 2>()) ASSERT_EQ(v, core::cfloat(1));
  o["iterations"] = std::int64_t{1};
  const auto once = run(o).find("probe")->data.to<core::cfloat, 3>(),
             thrice = fixed_probe.find("probe")->data.to<core::cfloat, 3>();
  for (core::Index i = 0; i < once.size(); ++i) ASSERT_EQ(once.data()[i], thrice.data()[i]);
}

INSTANTIATE_TEST_SUITE_P(Algorithms, Stochastic, testing::Values("lsqml", "rpie", "epie"),
                         [](const auto& kind) { return std::string(kind.param); });

}  // namespace
}  // namespace farfield::techniques::ptychography
