#include "farfield/techniques/ptychography/refine_probe_variation.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "farfield/techniques/ptychography/refine_testing.hpp"

namespace farfield::techniques::ptychography {
namespace {

using testing::small_scan;
using testing::SmallScan;

double correlation(const std::vector<double>& a, const std::vector<double>& b) {
  double ma = 0, mb = 0, aa = 0, bb = 0, ab = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    ma += a[i] / static_cast<double>(a.size());
    mb += b[i] / static_cast<double>(a.size());
  }
  for (std::size_t i = 0; i < a.size(); ++i) {
    aa += (a[i] - ma) * (a[i] - ma);
    bb += (b[i] - mb) * (b[i] - mb);
    ab += (a[i] - ma) * (b[i] - mb);
  }
  return ab / std::sqrt(aa * bb);
}

TEST(ProbeVariation, IsFoundWithItsWeights) {
  // Beam moving and changing focus by 5 % of its amplitude (RMS).
  const auto simulation = small_scan({{"phantom", std::string("random")}, {"opr", 0.05}});
  SmallScan rigid(simulation), varying(simulation);
  double without = 0, with = 0;
  for (int i = 0; i < 20; ++i) {
    without = rigid.pass();
    with = varying.pass({.opr_modes = i >= 4 ? 1 : 0});
  }
  const double floor = varying.truth.metrics.at("noise_floor");
  EXPECT_GT(without, 1.5 * floor);
  EXPECT_LT(with, floor);  // fitted parameters take their share of the noise

  const auto truth = varying.truth.find("eigen_weights")->data.to<double, 1>();
  const auto field = varying.truth.find("eigen_probe")->data.to<cfloat, 2>();
  std::vector<double> found, wanted;
  for (const Index slot : varying.slots()) {
    found.push_back(static_cast<double>(varying.state.opr_weights[static_cast<std::size_t>(slot)]));
    wanted.push_back(truth(slot));
  }
  EXPECT_GT(std::abs(correlation(found, wanted)), 0.98);
  const Index n = field.size();
  const Kernels& k = SmallScan::kernels();
  const double norm = std::sqrt(k.norm2(n, field.data()));
  EXPECT_GT(std::abs(k.dot(n, varying.state.eigen_probes.data(), field.data())), 0.85 * norm);
  // Product of weight and eigen-probe, which has no free scale: the least-squares slope, a little short as E is.
  double ff = 0, fw = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    ff += found[i] * found[i];
    fw += std::abs(found[i] * wanted[i]) * norm;
  }
  EXPECT_NEAR(fw / ff, 1, 0.25);
}

TEST(ProbeVariation, StaysSmallWhereTheProbeIsSteady) {
  const auto simulation = small_scan({{"phantom", std::string("random")}});
  SmallScan scan(simulation);
  for (int i = 0; i < 12; ++i) scan.pass({.opr_modes = i >= 4 ? 2 : 0});
  const double power = SmallScan::kernels().norm2(scan.state.shape.size(), scan.state.probe.data());
  double weights2 = 0;
  for (const float w : scan.state.opr_weights) weights2 += static_cast<double>(w * w) / 120;
  EXPECT_LT(std::sqrt(weights2 / power), 0.02);
}

TEST(ProbeVariation, EigenProbesAreOrthonormalSortedAndTheirSumUnchanged) {
  // Two wrong directions and nothing new to learn (no gradient): the pass must only rewrite the sum.
  State state;
  state.shape = {8, 8};
  state.probe = core::Array<cfloat, 3>({1, 8, 8}, cfloat{3, 0});
  Patterns patterns(state.shape, core::DType::u8);
  math::Random random(2);
  for (Index i = 0; i < 30; ++i) {
    patterns.add(i);
    patterns.set_position(i, random.uniform(0, 20), random.uniform(0, 20));
  }
  cover(state, patterns, {1, 0}, 0);
  std::vector<Workspace> workspaces;
  workspaces.emplace_back(state.shape, 1);
  begin_probe_variation(state, workspaces, 2);
  for (auto& v : state.eigen_probes) v = {static_cast<float>(random.normal()), static_cast<float>(random.normal())};
  for (auto& w : state.opr_weights) w = static_cast<float>(1 + random.normal());
  workspaces[0].variation.exit_power = workspaces[0].variation.probe_power = 1;
  const auto probe_of = [&](Index slot) {
    std::vector<cfloat> p(state.probe.begin(), state.probe.end());
    for (Index k = 0; k < 2; ++k)
      for (Index i = 0; i < 64; ++i)
        p[static_cast<std::size_t>(i)] +=
            state.opr_weights[static_cast<std::size_t>(2 * slot + k)] * state.eigen_probes.data()[64 * k + i];
    return p;
  };
  std::vector<std::vector<cfloat>> before;
  for (Index slot = 0; slot < 30; ++slot) before.push_back(probe_of(slot));
  Sharing alone;
  const Kernels& k = SmallScan::kernels();
  refine_probe_variation(state, workspaces, patterns.ready(), k, alone);
  for (Index slot = 0; slot < 30; ++slot) {
    const auto after = probe_of(slot);
    for (std::size_t i = 0; i < 64; ++i)
      EXPECT_NEAR(std::abs(after[i] - before[static_cast<std::size_t>(slot)][i]), 0, 1e-4);
  }
  const cfloat *e0 = state.eigen_probes.data(), *e1 = e0 + 64;
  EXPECT_NEAR(k.norm2(64, e0), 1, 1e-5);
  EXPECT_NEAR(k.norm2(64, e1), 1, 1e-5);
  EXPECT_NEAR(k.dot(64, e0, e1), 0, 1e-5);
  double aa = 0, bb = 0, ab = 0, a = 0;
  for (std::size_t s = 0; s < 30; ++s) {
    const double u = static_cast<double>(state.opr_weights[2 * s]),
                 v = static_cast<double>(state.opr_weights[2 * s + 1]);
    a += u;
    aa += u * u;
    bb += v * v;
    ab += u * v;
  }
  EXPECT_GE(aa, bb);
  EXPECT_NEAR(a, 0, 1e-3 * std::sqrt(aa));
  EXPECT_NEAR(ab, 0, 1e-3 * aa);
}

TEST(ProbeVariation, NoModesNeedNothing) {
  SmallScan scan(small_scan({{"patterns", std::int64_t{20}}}));
  begin_probe_variation(scan.state, scan.workspaces, 0);
  EXPECT_TRUE(scan.workspaces[0].variation.gradient.empty());
  EXPECT_TRUE(scan.state.eigen_probes.empty());
}

}  // namespace
}  // namespace farfield::techniques::ptychography
