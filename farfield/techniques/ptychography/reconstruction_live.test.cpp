#include "farfield/techniques/ptychography/compare.hpp"
#include "farfield/techniques/ptychography/reconstruction_testing.hpp"

namespace farfield::techniques::ptychography {
namespace {

using namespace testing;

TEST(ReconstructionLive, FiftyPatternsShowTheObject) {
  const Scan scan = make_scan(
      {{"patterns", std::int64_t{50}}, {"shape", std::int64_t{64}}, {"scan", std::string("spiral")}, {"step", 6.0}});
  Bench bench(options());
  bench.technique->begin(scan.acquisition);
  for (std::size_t i = 0; i < scan.frames.size(); ++i) {
    bench.technique->annotate(static_cast<model::FrameId>(i), scan.values[i]);
    bench.push(scan, i);
    if (i % 10 == 9) bench.technique->step({}, bench.observer);
  }
  for (int i = 0; i < 15; ++i) EXPECT_EQ(bench.technique->step({}, bench.observer), StepState::working);
  const auto shown = compare(scan.truth, bench.technique->snapshot(), {});
  // 1: the truth itself; structures are recognised from about 0.5 on.
  EXPECT_GT(shown.metrics.at("ssim_phase"), 0.7);
  EXPECT_LT(shown.metrics.at("nrmse"), 0.1);
}

}  // namespace
}  // namespace farfield::techniques::ptychography
