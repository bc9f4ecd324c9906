#include "farfield/techniques/ptychography/compare.hpp"
#include "farfield/techniques/ptychography/reconstruction_testing.hpp"

namespace farfield::techniques::ptychography {
namespace {

using namespace testing;

TEST(ReconstructionQuality, OverlapDoseAndDriftAreInTheMetrics) {
  // A Gaussian of 8 px full width at half maximum: sum^2 / sum of squares is 4 pi sigma^2 = 145 px, a disc of 13.6 px.
  // Neighbours 3 px apart overlap by 1 - 3 / 13.6.
  const auto still = reconstruct(star(), options({{"iterations", std::int64_t{20}}}));
  EXPECT_NEAR(still.metrics.at("overlap_linear"), 0.78, 0.06);  // the scanned area has soft edges
  EXPECT_FALSE(still.metrics.contains("drift_m")) << "nothing looked for it";
  EXPECT_EQ(still.metrics.at("dead_frames"), 0);
  Scan shutter = copy_of(star());
  for (const std::size_t i : {7U, 30U}) shutter.frames[i] = core::AnyArray(core::DType::u16, {32, 32});
  EXPECT_EQ(reconstruct(shutter, options()).metrics.at("dead_frames"), 2);
  // 7 x 7 patterns of 1e5 photons on a square of 6 steps and a diameter.
  const double pixel_um = still.pixel_size_y_m.value() * 1e6, side_px = 6 * 3 + 13.6;
  EXPECT_NEAR(still.metrics.at("photons_per_um2") * pixel_um * pixel_um / (49e5 / (side_px * side_px)), 1, 0.2);

  // The drift is that between the positions found and recorded, from the first tenth of the frames to the last.
  const auto moved = reconstruct(make_scan(scan_options({{"position-error", 0.5}})),
                                 options({{"iterations", std::int64_t{20}}, {"refine-positions", true}}));
  const auto found = moved.find("positions")->data.to<double, 2>(),
             said = moved.find("recorded_positions")->data.to<double, 2>();
  double y = 0, x = 0;
  for (Index i = 0; i < 4; ++i)
    for (const auto& [frame, sign] : {std::pair(Index{45} + i, 0.25), {i, -0.25}}) {
      y += sign * (found(frame, 0) - said(frame, 0));
      x += sign * (found(frame, 1) - said(frame, 1));
    }
  EXPECT_GT(moved.metrics.at("drift_m"), 0);
  EXPECT_NEAR(moved.metrics.at("drift_m"), std::hypot(y, x), 1e-9 * std::hypot(y, x));
}

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
