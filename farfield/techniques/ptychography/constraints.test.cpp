#include "farfield/techniques/ptychography/constraints.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "farfield/math/complex.hpp"
#include "farfield/math/random.hpp"
#include "farfield/techniques/ptychography/forward_model.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::Array;
using core::cdouble;

/// Three patterns of 16 x 16 over a random object, two random modes.
struct Bench {
  Bench() : patterns({16, 16}, core::DType::u16) {
    math::Random random(5);
    const auto noise = [&](core::View<cfloat, 2> field) {
      for (cfloat& v : field) v = cfloat(cdouble(random.normal(), random.normal()));
    };
    for (int i = 0; i < 3; ++i) {
      auto* counts = static_cast<std::uint16_t*>(patterns.add(i));
      for (int p = 0; p < 256; ++p) counts[p] = static_cast<std::uint16_t>(random.below(100));
      patterns.set_position(i, 3.3 * i, 2.6 * i);
    }
    state.shape = {16, 16};
    state.probe = Array<cfloat, 3>({2, 16, 16});
    for (Index m = 0; m < 2; ++m) noise(state.probe[m]);
    cover(state, patterns, 1, 0);
    noise(state.object);
  }
  ModulusSums compare(Index slot) const {
    static const Array<float, 2> all_valid;
    const ForwardModel model(reference_kernels(), operators::Propagator::far_field(16, 16, math::FftEffort::estimate),
                             patterns, all_valid, 0, Likelihood::amplitude);
    Workspace w(state.shape, 2);
    model.exit_waves(state, slot, w);
    return model.compare(state, slot, w);
  }
  double power() const {
    double sum = 0;
    for (const cfloat& v : state.probe) sum += static_cast<double>(math::abs2(v));
    return sum;
  }
  Patterns patterns;
  State state;
};

TEST(Constraints, HoldingThePhotonsLeavesThePatterns) {
  Bench b;
  const double cost = b.compare(1).cost;
  hold_photons(b.state, 1234);
  EXPECT_NEAR(b.power(), 1234, 1e-2);
  EXPECT_NEAR(b.compare(1).cost, cost, 1e-4 * cost);  // rounding of single precision
}

TEST(Constraints, MovingTheProbeLeavesThePatterns) {
  Bench b;
  // A probe that fills its window would meet other object pixels at the far edge when it moves; this one does not.
  for (Index y = 0; y < 16; ++y)
    for (Index x = 0; x < 16; ++x)
      if (std::hypot(y - 8, x - 8) > 2)
        for (Index m = 0; m < 2; ++m) b.state.probe(m, y, x) = 0;
  double cost[3];
  for (Index i = 0; i < 3; ++i) {
    const auto slot = static_cast<std::size_t>(i);
    b.state.y[slot] = std::round(b.state.y[slot]);  // no tail of the interpolation leaves the window either
    b.state.x[slot] = std::round(b.state.x[slot]);
    b.state.place(i);
    cost[i] = b.compare(i).cost;
  }
  const double origin_y = b.state.origin_y;
  move_probe(b.state, {3, -2});
  EXPECT_EQ(b.state.origin_y, origin_y - 3);
  cover(b.state, b.patterns, 1, 0);
  for (Index i = 0; i < 3; ++i) EXPECT_NEAR(b.compare(i).cost, cost[i], 1e-4 * cost[i]);
}

TEST(Constraints, CentringFindsTheOffsetAndRemovesIt) {
  Bench b;
  b.state.probe.fill({});
  for (Index y = 9; y < 12; ++y) b.state.probe(Index{0}, y, Index{4}) = 1;
  EXPECT_EQ(probe_offset(b.state), (Offset{2, -4}));
  move_probe(b.state, {2, -4});
  EXPECT_EQ(probe_offset(b.state), Offset{});
  EXPECT_EQ(b.state.probe(Index{0}, Index{8}, Index{8}), cfloat(1));
  b.state.probe.fill({});
  EXPECT_EQ(probe_offset(b.state), Offset{});
}

TEST(Constraints, SupportKeepsTheInsideAndEmptiesTheOutside) {
  Bench b;
  const auto before = b.state.probe.clone();
  apply_support(b.state, 0.5);  // radius 4
  EXPECT_EQ(b.state.probe(Index{1}, Index{8}, Index{11}), before(Index{1}, Index{8}, Index{11}));
  EXPECT_EQ(b.state.probe(Index{1}, Index{8}, Index{14}), cfloat{});
  EXPECT_EQ(support_weight({16, 16}, 4, 8, 8), 1);
  const float edge = support_weight({160, 160}, 40, 80, 122);  // middle of the 4 px wide edge
  EXPECT_NEAR(edge, 0.5F, 1e-6F);
}

TEST(Constraints, AmplitudeIsClippedPhaseKept) {
  Array<cfloat, 2> object({1, 3});
  object(0, 0) = cfloat(0, 4);
  object(0, 1) = cfloat(-0.1F, 0);
  Options o;
  o.object_amplitude_max = 2;
  o.object_amplitude_min = 0.5;
  constrain_object(object, o);
  EXPECT_EQ(object(0, 0), cfloat(0, 2));
  EXPECT_EQ(object(0, 1), cfloat(-0.5F, 0));
  EXPECT_EQ(object(0, 2), cfloat(0.5F, 0));
}

TEST(Constraints, PositiveObjectsAreRealAndNotNegative) {
  Array<cfloat, 2> object({1, 2});
  object(0, 0) = cfloat(0.5F, 4);
  object(0, 1) = cfloat(-1, 1);
  Options o;
  o.object_positive = true;
  constrain_object(object, o);
  EXPECT_EQ(object(0, 0), cfloat(0.5F));
  EXPECT_EQ(object(0, 1), cfloat(0));
}

TEST(Constraints, SmoothingKeepsTheMeanAndConstants) {
  Array<cfloat, 2> object({5, 5}, cfloat(2, 1));
  Options o;
  o.object_smoothness = 0.4;
  constrain_object(object, o);
  EXPECT_NEAR(std::abs(object(2, 2) - cfloat(2, 1)), 0, 1e-6);
  object.fill({});
  object(2, 2) = 1;
  constrain_object(object, o);
  EXPECT_FLOAT_EQ(object(2, 2).real(), 0.6F);
  EXPECT_FLOAT_EQ(object(2, 1).real(), 0.1F);
}

TEST(Constraints, TotalVariationOfAStepHasAKnownAnswer) {
  // min (u - f)^2 / 2 + w |du| for two halves of n pixels per row, f = 0 | 1: each half moves by w / n.
  constexpr Index n = 8;
  Array<cfloat, 2> object({4, 2 * n});
  for (Index y = 0; y < 4; ++y)
    for (Index x = n; x < 2 * n; ++x) object(y, x) = cfloat(1, -1);
  // Both parts change together: the jump is sqrt(2) high and keeps its direction.
  denoise_total_variation(object, 0.8, 4000);
  const float moved = 0.8F / n / std::sqrt(2.0F);
  EXPECT_NEAR(object(1, 2).real(), moved, 2e-3);
  EXPECT_NEAR(object(1, 2).imag(), -moved, 2e-3);
  EXPECT_NEAR(object(2, 12).real(), 1 - moved, 2e-3);
}

TEST(Constraints, TotalVariationFlattensNoiseAndKeepsTheMean) {
  math::Random random(2);
  Array<cfloat, 2> object({32, 32});
  cdouble mean = 0;
  for (cfloat& v : object) {
    v = cfloat(cdouble(1 + 0.1 * random.normal(), 0.1 * random.normal()));
    mean += cdouble(v);
  }
  denoise_total_variation(object, 0.2);
  cdouble after = 0;
  double spread = 0;
  for (const cfloat& v : object) {
    after += cdouble(v);
    spread += std::norm(cdouble(v) - 1.0);
  }
  EXPECT_LT(std::abs(after - mean), 1e-2);
  EXPECT_LT(std::sqrt(spread / 1024), 0.07);  // was sqrt(2) 0.1
}

}  // namespace
}  // namespace farfield::techniques::ptychography
