#include <gtest/gtest.h>

#include <cmath>

#include "farfield/math/complex.hpp"
#include "farfield/techniques/ptychography/refine_testing.hpp"

namespace farfield::techniques::ptychography {
namespace {

using testing::small_scan;
using testing::SmallScan;

Options cgml(Likelihood likelihood = Likelihood::amplitude) {
  Options o;
  o.algorithm = AlgorithmKind::cgml;
  o.likelihood = likelihood;
  return o;
}

/// What is minimised, in double from the model in float.
double cost_of(SmallScan& scan) {
  Workspace& w = scan.workspaces[0];
  double cost = 0;
  for (const Index slot : scan.slots()) {
    w.reset();
    scan.model->exit_waves(scan.state, slot, w);
    for (cfloat* psi : w.psi) scan.model->propagator().forward(psi);
    const ModulusTask t = scan.model->task(scan.state, slot, w);
    for (Index i = 0; i < t.n; ++i) {
      double model = 0;
      for (const cfloat* psi : w.psi)
        model += static_cast<double>(math::abs2(psi[i])) * static_cast<double>(t.intensity_scale);
      const double measured = static_cast<double>(static_cast<const std::uint16_t*>(t.counts)[i]);
      if (t.background != nullptr) model += static_cast<double>(t.background[i]);
      const double d = std::sqrt(model) - std::sqrt(measured);
      cost += scan.options.likelihood == Likelihood::amplitude ? d * d
                                                               : model - measured * std::log(std::max(model, 1e-12));
    }
  }
  return cost;
}

class CgMlLine : public ::testing::TestWithParam<Likelihood> {};

TEST_P(CgMlLine, StepsAreExactMinimaOfTheTrueCost) {
  SmallScan scan(small_scan({{"patterns", std::int64_t{30}}}), cgml(GetParam()));
  // Counts where the model has none are a pole of the Poisson likelihood; a background is what takes it away.
  scan.state.background = core::Array<float, 2>({64, 64}, 0.5F);
  for (int i = 0; i < 4; ++i) {
    const auto o = scan.state.object.clone();
    const auto p = scan.state.probe.clone();
    scan.pass();
    const auto o1 = scan.state.object.clone();
    const auto p1 = scan.state.probe.clone();
    const auto at = [&](float t) {
      for (Index k = 0; k < o.size(); ++k) scan.state.object.data()[k] = o.data()[k] + t * (o1.data()[k] - o.data()[k]);
      for (Index k = 0; k < p.size(); ++k) scan.state.probe.data()[k] = p.data()[k] + t * (p1.data()[k] - p.data()[k]);
      return cost_of(scan);
    };
    // The minimum of the parabola through three costs: the step must be right to 2 %
    // (10 % for the Poisson likelihood, whose slope bends more: 1 % of what the step gains), beyond which the
    // parabola's error and rounding of the costs in float stay.
    const double low = at(0.9F), high = at(1.1F), here = at(1), start = at(0);
    EXPECT_LT(here, start);
    EXPECT_NEAR(1 + 0.05 * (low - high) / (low - 2 * here + high), 1, GetParam() == Likelihood::amplitude ? 0.02 : 0.1)
        << "iteration " << i;
    at(1);
  }
}
INSTANTIATE_TEST_SUITE_P(Likelihoods, CgMlLine, ::testing::Values(Likelihood::amplitude, Likelihood::poisson));

TEST(CgMl, FirstDirectionIsThePreconditionedGradient) {
  SmallScan scan(small_scan({{"patterns", std::int64_t{12}}}), cgml());
  State& s = scan.state;
  s.background = core::Array<float, 2>({64, 64}, 0.5F);  // without it the cost has a cusp wherever the model is dark
  // By central differences at a few pixels; rounding of the cost, about 1e-3, is 1 % of the differences.
  const auto derivative = [&](cfloat& v, double h) {
    const cfloat before = v;
    const auto part = [&](cfloat unit) {
      v = before + static_cast<float>(h) * unit;
      const double up = cost_of(scan);
      v = before - static_cast<float>(h) * unit;
      const double down = cost_of(scan);
      v = before;
      return (up - down) / (2 * h);
    };
    return std::complex<double>(part({1, 0}), part({0, 1}));
  };
  const auto& place = s.placements[5];
  std::vector<Index> object_pixels, probe_pixels;
  for (const Index i : {24, 31, 40}) {
    object_pixels.push_back((place.oy + i) * s.object_stride() + place.ox + 64 - i);
    probe_pixels.push_back((i > 31 ? 36 : i) * 64 + (i > 31 ? 30 : 60 - i));
  }
  std::vector<std::complex<double>> of_object, of_probe;
  for (const Index i : object_pixels) of_object.push_back(derivative(s.object.data()[i], 1e-2));
  for (const Index i : probe_pixels) of_probe.push_back(derivative(s.probe.data()[i], 5e-2));
  core::Array<float, 2> illumination(s.object.extents());
  Workspace& w = scan.workspaces[0];
  for (const Index slot : scan.slots()) {
    scan.model->shifted_probes(s, slot, w);
    const auto& at = s.placements[static_cast<std::size_t>(slot)];
    for (Index y = 0; y < 64; ++y)
      for (Index x = 0; x < 64; ++x) illumination(at.oy + y, at.ox + x) += math::abs2(w.p[0][y * 64 + x]);
  }
  const float floor = static_cast<float>(scan.options.damping) * SmallScan::kernels().max_abs2(64 * 64, s.probe.data());
  const auto o = s.object.clone();
  const auto p = s.probe.clone();
  scan.pass();
  // change = - step / (2 block) derivative, with one step for all pixels of the object and one block for all of the
  // probe.
  const auto ratio = [](cfloat change, std::complex<double> gradient) {
    return std::complex<double>(change) / gradient;
  };
  std::complex<double> step{}, probe_step{};
  for (std::size_t i = 0; i < object_pixels.size(); ++i) {
    const Index k = object_pixels[i];
    const auto r =
        ratio(s.object.data()[k] - o.data()[k], of_object[i]) * static_cast<double>(illumination.data()[k] + floor);
    if (i == 0) step = r;
    EXPECT_LT(r.real(), 0);
    EXPECT_LT(std::abs(r - step), 0.05 * std::abs(step)) << "object pixel " << i;
    EXPECT_LT(std::abs(r.imag()), 0.05 * std::abs(r.real())) << "object pixel " << i;
  }
  for (std::size_t i = 0; i < probe_pixels.size(); ++i) {
    const Index k = probe_pixels[i];
    const auto r = ratio(s.probe.data()[k] - p.data()[k], of_probe[i]);
    if (i == 0) probe_step = r;
    EXPECT_LT(std::abs(r - probe_step), 0.05 * std::abs(probe_step)) << "probe pixel " << i;
  }
  // The object is 1 at the start, so the probe's block is the number of patterns.
  EXPECT_NEAR(probe_step.real() * 12, step.real(), 0.1 * std::abs(step.real()));
}

TEST(CgMl, DescendsToTheNoiseFloor) {
  SmallScan scan(small_scan(), cgml());
  double before = 1e300;
  for (int i = 0; i < 40; ++i) {
    const double cost = scan.pass();
    EXPECT_LT(cost, before * (1 + 1e-6)) << "iteration " << i;
    before = cost;
  }
  EXPECT_LT(before, 1.05 * scan.truth.metrics.at("noise_floor"));
}

TEST(CgMl, PoissonReachesTheNoiseFloor) {
  SmallScan scan(small_scan(), cgml(Likelihood::poisson));
  double cost = 0;
  // The first steps meet the likelihood's pole (counts where the model has none), where rounding decides how far they
  // overshoot: some paths need 25 passes to come back, some 45.
  for (int i = 0; i < 80; ++i) cost = scan.pass();
  EXPECT_LT(cost, 1.05 * scan.truth.metrics.at("noise_floor"));
}

TEST(CgMl, DescendsWithSeveralModes) {
  SmallScan scan(small_scan(), cgml());
  core::Array<cfloat, 3> modes({2, 64, 64});
  for (Index y = 0; y < 64; ++y)
    for (Index x = 0; x < 64; ++x) {
      modes(0, y, x) = scan.state.probe(0, y, x);
      modes(1, y, x) = scan.state.probe(0, y, x) * (static_cast<float>(x - 32) / 60);
    }
  scan.state.probe = std::move(modes);
  scan.workspaces.clear();
  scan.workspaces.emplace_back(scan.state.shape, 2);
  double before = 1e300;
  for (int i = 0; i < 25; ++i) {
    const double cost = scan.pass();
    EXPECT_LT(cost, before * (1 + 1e-6)) << "iteration " << i;
    before = cost;
  }
  EXPECT_LT(before, 1.15 * scan.truth.metrics.at("noise_floor"));
}

TEST(CgMl, RefinesPositionsTogetherWithTheRest) {
  const auto error = [](bool refine) {
    SmallScan scan(small_scan({{"phantom", std::string("random")}}), cgml());
    const auto wrong = scan.disturb_positions(1);
    for (int i = 0; i < 40; ++i) scan.pass({.positions = refine && i >= 5});
    return scan.position_error(wrong);
  };
  EXPECT_LT(error(true), 0.3 * error(false));
}

TEST(CgMl, ThreadsChangeOnlyRounding) {
  SmallScan one(small_scan(), cgml()), two(small_scan(), cgml(), 7, nullptr, 3);
  // Sums in another order differ by 1e-7; each line search hands that on.
  for (int i = 0; i < 8; ++i) EXPECT_NEAR(one.pass() / two.pass(), 1, 1e-4) << "iteration " << i;
}

}  // namespace
}  // namespace farfield::techniques::ptychography
