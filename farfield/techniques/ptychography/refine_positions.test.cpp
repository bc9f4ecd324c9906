#include "farfield/techniques/ptychography/refine_positions.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "farfield/techniques/ptychography/refine_testing.hpp"

namespace farfield::techniques::ptychography {
namespace {

using testing::small_scan;
using testing::SmallScan;

core::OptionValues speckle(const core::OptionValues& more = {}) {
  auto o = small_scan({{"phantom", std::string("random")}});
  for (const auto& [name, value] : more) o[name] = value;
  return o;
}

/// RMS per axis (px) of the current positions about the best map of the true ones: what a reconstruction cannot
/// know is where the scan as a whole lies.
double error(const SmallScan& scan, PositionModel unknowable) {
  const auto truth = scan.truth.find("positions")->data.to<double, 2>();
  Patterns reference(scan.state.shape, core::DType::u16);
  for (const Index slot : scan.slots()) {
    reference.add(slot);
    reference.set_position(slot, truth(slot, 0), truth(slot, 1));
  }
  Sharing alone;
  return fit_positions(scan.state, reference, scan.slots(), unknowable, alone).rms_px;
}

/// Positions of a scan of which only the positions matter.
struct Bare {
  explicit Bare(Index count, std::uint64_t seed = 3) : patterns({8, 8}, core::DType::u8) {
    math::Random random(seed);
    for (Index i = 0; i < count; ++i) {
      patterns.add(i);
      patterns.set_position(i, random.uniform(0, 300), random.uniform(0, 500));
    }
    state.shape = {8, 8};
    state.probe = core::Array<cfloat, 3>({1, 8, 8});
    cover(state, patterns, {1, 0}, 0);
  }
  Patterns patterns;
  State state;
  Sharing alone;
};

TEST(PositionFit, FindsAnAffineMapBehindNoiseAndOutliers) {
  Bare b(400);
  math::Random random(5);
  for (Index i = 0; i < 400; ++i) {
    const double y = b.patterns.y(i), x = b.patterns.x(i);
    b.state.y[static_cast<std::size_t>(i)] = y + 3 + 0.01 * y - 0.004 * x + 0.1 * random.normal();
    b.state.x[static_cast<std::size_t>(i)] =
        x - 2 + 0.002 * y - 0.02 * x + 0.1 * random.normal() + (i % 10 == 0 ? 50 : 0);
  }
  const PositionMap map = fit_positions(b.state, b.patterns, b.patterns.ready(), PositionModel::affine, b.alone);
  // 400 points of 0.1 px over 300 x 500 px determine the slopes to 0.1 / (sqrt(400) 87) = 6e-5; outliers at 500 sigma,
  // held at 1.5, shift the offset by about 0.1 * 1.5 sigma / 0.9.
  EXPECT_NEAR(map.yy, 0.01, 3e-4);
  EXPECT_NEAR(map.yx, -0.004, 3e-4);
  EXPECT_NEAR(map.xy, 0.002, 3e-4);
  EXPECT_NEAR(map.xx, -0.02, 3e-4);
  EXPECT_NEAR(map.t_y + map.yy * -map.c_y + map.yx * -map.c_x, 3, 0.1);
  EXPECT_NEAR(map.t_x + map.xy * -map.c_y + map.xx * -map.c_x, -2, 0.15);
  EXPECT_GT(map.sigma_px, 0.08);
  EXPECT_LT(map.sigma_px, 0.3);
  EXPECT_GT(map.rms_px, 10);
}

TEST(PositionFit, RigidKnowsOnlyAShift) {
  Bare b(50);
  for (std::size_t i = 0; i < 50; ++i) {
    b.state.y[i] += 1.5;
    b.state.x[i] -= 0.5;
  }
  const PositionMap map = fit_positions(b.state, b.patterns, b.patterns.ready(), PositionModel::rigid, b.alone);
  EXPECT_NEAR(map.t_y, 1.5, 1e-9);
  EXPECT_NEAR(map.t_x, -0.5, 1e-9);
  EXPECT_EQ(map.yy, 0);
  EXPECT_NEAR(map.sigma_px, 0, 1e-9);
}

TEST(PositionFit, LinesAndSinglePointsStayFinite) {
  for (const Index count : {1, 2, 40}) {
    Bare b(0);
    for (Index i = 0; i < count; ++i) {
      b.patterns.add(i);
      b.patterns.set_position(i, 5, 10.0 * static_cast<double>(i));
    }
    cover(b.state, b.patterns, {1, 0}, 0);
    for (std::size_t i = 0; i < b.state.y.size(); ++i) b.state.x[i] *= 1.02;
    const PositionMap map = fit_positions(b.state, b.patterns, b.patterns.ready(), PositionModel::affine, b.alone);
    EXPECT_TRUE(std::isfinite(map.yy) && std::isfinite(map.t_x) && std::isfinite(map.sigma_px)) << count;
    EXPECT_NEAR(map.yy, 0, 1e-6) << count;
    if (count > 1) {
      EXPECT_NEAR(map.xx, 0.02, 1e-6) << count;
    }
  }
}

class PositionSigns : public ::testing::TestWithParam<std::pair<double, double>> {};

// With the true object and probe, a window that was put wrong by e must be told to move by about -e. The
// least-squares step is known to be short (chi has only the amplitude's half of the change), never to point elsewhere.
TEST_P(PositionSigns, WrongWindowMovesBack) {
  Options options;
  options.position_model = PositionModel::free;
  SmallScan scan(speckle({{"noise", std::string("none")}, {"photons", 1e6}}), options);
  const auto truth = scan.truth.find("object")->data.to<cfloat, 2>();
  const auto positions = scan.truth.find("positions")->data.to<double, 2>();
  scan.state.object = regrid(truth, 0, 0, {truth.extent(0) + 40, truth.extent(1) + 40}, -20, -20, cfloat{1, 0});
  scan.state.origin_y = scan.state.origin_x = -20;
  const auto [ey, ex] = GetParam();
  const std::size_t chosen = 47;
  scan.state.y[chosen] = positions(47, 0) + ey;
  scan.state.x[chosen] = positions(47, 1) + ex;
  for (const Index slot : scan.slots()) scan.state.place(slot);
  scan.observations.assign(scan.state.y.size(), {});
  for (const Index slot : scan.slots()) {
    Workspace& w = scan.workspaces[0];
    scan.model->exit_waves(scan.state, slot, w);
    Observation& o = scan.observations[static_cast<std::size_t>(slot)];
    o.sums = scan.model->residuals(scan.state, slot, w);
    o.position = SmallScan::kernels().position_sums(scan.state.shape, w.psi[0], w.p[0], scan.state.window(slot),
                                                    scan.state.object_stride());
  }
  const auto before_y = scan.state.y, before_x = scan.state.x;
  Sharing alone;
  refine_positions(scan.state, scan.patterns, scan.slots(), scan.observations, options, alone);
  const double dy = scan.state.y[chosen] - before_y[chosen], dx = scan.state.x[chosen] - before_x[chosen];
  EXPECT_GT(dy * -ey + dx * -ex, 0.35 * (ey * ey + ex * ex)) << dy << " " << dx;
  EXPECT_LT(dy * -ey + dx * -ex, 1.1 * (ey * ey + ex * ex)) << dy << " " << dx;
  EXPECT_LT(std::abs(dy * ex - dx * ey), 0.25 * (ey * ey + ex * ex)) << dy << " " << dx;
  for (std::size_t i = 0; i < before_y.size(); ++i)
    if (i != chosen) {
      EXPECT_LT(std::hypot(scan.state.y[i] - before_y[i], scan.state.x[i] - before_x[i]), 0.02) << i;
    }
}
INSTANTIATE_TEST_SUITE_P(EachAxis, PositionSigns,
                         ::testing::Values(std::pair{0.4, 0.0}, std::pair{-0.4, 0.0}, std::pair{0.0, 0.4},
                                           std::pair{0.0, -0.4}));

TEST(RefinePositions, RecoversWrongPositions) {
  // Independent errors of 1 px per axis, and more than that (1.4 px of distance) in all. 0.2 px is asked for; counting
  // noise alone leaves 0.06.
  SmallScan scan(speckle({{"position-error", 1.0}}));
  EXPECT_GT(error(scan, PositionModel::rigid), 0.8);
  for (int i = 0; i < 32; ++i) scan.pass({.positions = i >= 3});
  EXPECT_LT(error(scan, PositionModel::rigid), 0.15);
}

TEST(RefinePositions, RecoversAWrongScale) {
  SmallScan scan(speckle());
  // The recorded positions are 3 % too far apart in y: up to 1 px from the centre of this scan. A smooth distortion is
  // what the object can follow best, so it goes slowly: two thirds in 60 passes.
  Patterns wrong = std::move(scan.patterns);
  scan.patterns = Patterns(scan.state.shape, wrong.dtype());
  for (Index slot = 0; slot < wrong.slots(); ++slot) {
    std::memcpy(scan.patterns.add(slot), wrong.counts(slot),
                static_cast<std::size_t>(scan.state.shape.size() * core::item_size(wrong.dtype())));
    scan.patterns.set_position(slot, 1.03 * wrong.y(slot), wrong.x(slot));
    scan.state.y[static_cast<std::size_t>(slot)] *= 1.03;
  }
  cover(scan.state, scan.patterns, {1, 0}, 4);
  for (const Index slot : scan.slots()) scan.state.place(slot);
  const double before = error(scan, PositionModel::rigid);
  EXPECT_GT(before, 0.35);
  for (int i = 0; i < 64; ++i) scan.pass({.positions = i >= 3});
  EXPECT_LT(error(scan, PositionModel::rigid), 0.4 * before);
  Sharing alone;
  const PositionMap map = fit_positions(scan.state, scan.patterns, scan.slots(), PositionModel::affine, alone);
  EXPECT_NEAR(map.yy, 1 / 1.03 - 1, 0.01);
  EXPECT_NEAR(map.xx, 0, 0.004);
}

TEST(RefinePositions, RightPositionsStayAndNothingDrifts) {
  SmallScan scan(speckle());
  for (int i = 0; i < 16; ++i) scan.pass({.positions = i >= 3});
  EXPECT_LT(error(scan, PositionModel::rigid), 0.12);
  double mean_y = 0, mean_x = 0;
  for (const Index slot : scan.slots()) {
    mean_y += scan.state.y[static_cast<std::size_t>(slot)] - scan.patterns.y(slot);
    mean_x += scan.state.x[static_cast<std::size_t>(slot)] - scan.patterns.x(slot);
  }
  // The pull towards the model moves the mean by little.
  EXPECT_NEAR(mean_y / 120, 0, 0.02);
  EXPECT_NEAR(mean_x / 120, 0, 0.02);
}

TEST(RefinePositions, AFlatObjectSaysNothing) {
  SmallScan scan(small_scan({{"phantom", std::string("flat")}}));
  for (int i = 0; i < 12; ++i) scan.pass({.positions = i >= 3});
  // Believed as it is, the noise moves patterns by 0.56 px in nine passes.
  EXPECT_LT(error(scan, PositionModel::rigid), 0.2);
}

TEST(RefinePositions, LimitsStepsAndPutsOutliersOnTheModel) {
  Bare b(100);
  Options options;
  options.position_step_limit_px = 0.25;
  std::vector<Observation> o(100);
  for (std::size_t i = 0; i < 100; ++i) {
    o[i].sums.cost = 0.25 * 64;
    o[i].sums.valid = 64;
    o[i].position = {.a_chi = i % 2 == 0 ? 300.0 : -300.0, .b_chi = 0, .aa = 1e4, .bb = 1e4, .ab = 0};  // 0.03 px
  }
  o[10].position.b_chi = 1e6;  // 100 px
  const auto y = b.state.y, x = b.state.x;
  const PositionChange change = refine_positions(b.state, b.patterns, b.patterns.ready(), o, options, b.alone);
  EXPECT_EQ(change.outliers, 1);
  EXPECT_NEAR(b.state.x[10], x[10], 0.02);
  EXPECT_NEAR(b.state.y[20] - y[20], 0.03, 0.003);
  EXPECT_NEAR(b.state.y[21] - y[21], -0.03, 0.003);
  options.position_model = PositionModel::free;
  b.state.x = x;
  refine_positions(b.state, b.patterns, b.patterns.ready(), o, options, b.alone);
  EXPECT_NEAR(b.state.x[10] - x[10], 0.25 * 99 / 100, 1e-6);  // less the mean
}

TEST(RefinePositions, TheObjectGrowsUnderAWindowThatLeavesIt) {
  Bare b(20);
  Options options;
  options.position_model = PositionModel::free;
  options.position_step_limit_px = 30;
  std::vector<Observation> o(20);
  for (auto& one : o) one.sums = {.cost = 0, .valid = 64};
  std::size_t outermost = 0;
  for (std::size_t i = 0; i < 20; ++i)
    if (b.state.y[i] < b.state.y[outermost]) outermost = i;
  o[outermost].position = {.a_chi = -2000, .aa = 100, .bb = 100};
  const Index before = b.state.object.extent(0);
  refine_positions(b.state, b.patterns, b.patterns.ready(), o, options, b.alone);
  EXPECT_TRUE(cover(b.state, b.patterns, {1, 0}, 0));
  EXPECT_GT(b.state.object.extent(0), before);
  for (const Placement& p : b.state.placements) {
    EXPECT_GE(p.oy, 1);
    EXPECT_LE(p.oy + 8 + 1, b.state.object.extent(0));
  }
}

}  // namespace
}  // namespace farfield::techniques::ptychography
