#include <gtest/gtest.h>

#include <cmath>

#include "farfield/techniques/ptychography/refine_testing.hpp"

namespace farfield::techniques::ptychography {
namespace {

using testing::small_scan;
using testing::SmallScan;

Options projection(AlgorithmKind kind) {
  Options o;
  o.algorithm = kind;
  return o;
}

double final_cost(SmallScan& scan) {
  const ModulusSums sums = scan.evaluate();
  return sums.cost / sums.valid;
}

TEST(Projection, RaarReachesTheNoiseFloor) {
  SmallScan scan(small_scan(), projection(AlgorithmKind::raar));
  for (int i = 0; i < 80; ++i) scan.pass();
  EXPECT_LT(final_cost(scan), 1.05 * scan.truth.metrics.at("noise_floor"));
}

TEST(Projection, TheDifferenceMapStaysWithinItsTolerance) {
  SmallScan scan(small_scan(), projection(AlgorithmKind::dm));
  double start = 0;
  for (int i = 0; i < 80; ++i) {
    const double cost = scan.pass();
    if (i == 0) start = cost;
  }
  const ModulusSums end = scan.evaluate();
  EXPECT_LT(end.cost / end.valid, 0.2 * start);
  // The model is the mean of waves within the tolerance; twice that for what of it no wave has reached.
  EXPECT_LT(end.cost, 2 * std::pow(scan.options.dm_tolerance, 2) * end.measured_intensity +
                          end.valid * scan.truth.metrics.at("noise_floor"));
}

TEST(Projection, WithoutNoiseTheTruthIsAFixedPoint) {
  // Counts of the model itself, in float: both projections leave its waves as they are.
  for (const auto kind : {AlgorithmKind::dm, AlgorithmKind::raar}) {
    SmallScan scan(small_scan({{"patterns", std::int64_t{20}}}), projection(kind));
    State& s = scan.state;
    for (Index y = 0; y < s.object.extent(0); ++y)
      for (Index x = 0; x < s.object.extent(1); ++x)
        s.object(y, x) = std::polar(1.0F + 0.2F * std::sin(0.3F * static_cast<float>(y)),
                                    0.5F * std::cos(0.2F * static_cast<float>(x)));
    Patterns exact(s.shape, core::DType::f32);
    Workspace& w = scan.workspaces[0];
    for (const Index slot : scan.slots()) {
      scan.model->exit_waves(s, slot, w);
      scan.model->propagator().forward(w.psi[0]);
      auto* counts = static_cast<float*>(exact.add(slot));
      for (Index i = 0; i < s.shape.size(); ++i)
        counts[i] = std::norm(w.psi[0][i]) * scan.model->propagator().intensity_scale();
      exact.set_position(slot, s.y[static_cast<std::size_t>(slot)], s.x[static_cast<std::size_t>(slot)]);
    }
    scan.patterns = std::move(exact);
    const auto object = s.object.clone();
    for (int i = 0; i < 5; ++i) scan.pass();
    double change = 0, total = 0;
    const Index at = s.placements[9].oy * s.object_stride() + s.placements[9].ox;
    for (Index y = 20; y < 44; ++y)
      for (Index x = 20; x < 44; ++x) {
        change +=
            std::norm(s.object.data()[at + y * s.object_stride() + x] - object.data()[at + y * s.object_stride() + x]);
        total += std::norm(object.data()[at + y * s.object_stride() + x]);
      }
    EXPECT_LT(std::sqrt(change / total), 1e-3) << name(kind);  // rounding of five passes in float
    EXPECT_LT(final_cost(scan), 1e-4) << name(kind);
  }
}

TEST(Projection, WavesFollowPositionsOverWholePixels) {
  // All positions move by a whole pixel: the picture moves with them, and nothing else may change.
  SmallScan scan(small_scan(), projection(AlgorithmKind::raar));
  for (int i = 0; i < 30; ++i) scan.pass();
  const double before = final_cost(scan);
  scan.state.origin_y += 1;
  for (const Index slot : scan.slots()) {
    scan.state.y[static_cast<std::size_t>(slot)] += 1;
    scan.state.place(slot);
  }
  scan.pass();
  EXPECT_LT(final_cost(scan), 1.1 * before + 1e-3);
  // And one alone, back and forth: its wave is rolled over and back.
  scan.state.y[7] += 1;
  scan.state.place(7);
  scan.pass();
  scan.state.y[7] -= 1;
  scan.state.place(7);
  for (int i = 0; i < 5; ++i) scan.pass();
  EXPECT_LT(final_cost(scan), 1.1 * before + 1e-3);
}

TEST(Projection, RefinesPositions) {
  const auto error = [](bool refine) {
    SmallScan scan(small_scan({{"phantom", std::string("random")}}), projection(AlgorithmKind::raar));
    const auto wrong = scan.disturb_positions(1);
    for (int i = 0; i < 40; ++i) scan.pass({.positions = refine && i >= 10});
    return scan.position_error(wrong);
  };
  EXPECT_LT(error(true), 0.3 * error(false));
}

TEST(Projection, TheProbeCanBeHeld) {
  SmallScan scan(small_scan({{"patterns", std::int64_t{30}}}), projection(AlgorithmKind::dm));
  scan.update_probe = false;
  const auto probe = scan.state.probe.clone();
  for (int i = 0; i < 3; ++i) scan.pass();
  EXPECT_TRUE(std::equal(probe.begin(), probe.end(), scan.state.probe.begin()));
}

TEST(Projection, ThreadsChangeOnlyRounding) {
  for (const auto kind : {AlgorithmKind::dm, AlgorithmKind::raar}) {
    SmallScan one(small_scan(), projection(kind)), two(small_scan(), projection(kind), 7, nullptr, 3);
    for (int i = 0; i < 6; ++i) {
      one.pass();
      two.pass();
    }
    EXPECT_NEAR(final_cost(one) / final_cost(two), 1, 1e-3) << name(kind);
  }
}

}  // namespace
}  // namespace farfield::techniques::ptychography
