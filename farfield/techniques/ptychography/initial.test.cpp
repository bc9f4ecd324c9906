#include "farfield/techniques/ptychography/initial.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "farfield/math/complex.hpp"
#include "farfield/math/random.hpp"
#include "farfield/techniques/ptychography/algorithm.hpp"
#include "farfield/techniques/ptychography/simulate_optics.hpp"
#include "farfield/techniques/ptychography/zone_plate.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::Array;
using core::cdouble;
using core::ErrorCode;

constexpr Index kSide = 32;

double power(core::View<const cfloat, 2> field) {
  double sum = 0;
  for (const cfloat& v : field) sum += static_cast<double>(math::abs2(v));
  return sum;
}
cdouble inner(core::View<const cfloat, 2> a, core::View<const cfloat, 2> b) {
  cdouble sum = 0;
  for (Index i = 0; i < a.size(); ++i) sum += std::conj(cdouble(a.data()[i])) * cdouble(b.data()[i]);
  return sum;
}
/// |<a, b>| of normalised fields: 1 when they are the same up to a factor.
double likeness(core::View<const cfloat, 2> a, core::View<const cfloat, 2> b) {
  return std::abs(inner(a, b)) / std::sqrt(power(a) * power(b));
}

/// Nine patterns of a Gaussian spot on an object of transmission 0.6 in its left half, 1 elsewhere.
struct Bench {
  Bench() : probe(gaussian_probe(7, kSide, kSide)), patterns({kSide, kSide}, core::DType::f32) {
    normalise(probe, 1e5);
    Array<cfloat, 2> object({60, 60}, cfloat(1));
    for (Index y = 0; y < 60; ++y)
      for (Index x = 0; x < 30; ++x) object(y, x) = 0.6F;
    Array<cfloat, 3> modes({1, kSide, kSide});
    std::copy(probe.begin(), probe.end(), modes.begin());
    const SimulatedOptics optics(object.view(), modes.view());
    auto work = optics.workspace();
    acquisition.detector.ny = acquisition.detector.nx = kSide;
    acquisition.detector.dtype = core::DType::f32;
    const FramePreparation preparation(acquisition.detector, options);
    for (int i = 0; i < 9; ++i) {
      const double y = 2 + 10 * (i / 3), x = 2 + 10 * (i % 3);
      optics.pattern(y, x, 0, work);
      void* tile = patterns.add(i);
      EXPECT_FALSE(preparation.prepare(core::AnyImage::of<float>(work.intensity.view()), tile));
      patterns.set_position(i, y, x);
      counts.push_back(total_counts(tile, core::DType::f32, kSide * kSide));
    }
    model.emplace(reference_kernels(), operators::Propagator::far_field(kSide, kSide, math::FftEffort::estimate),
                  patterns, valid, 0.0F, Likelihood::amplitude);
    state.shape = {kSide, kSide};
    cover(state, patterns, 1, 0);
  }
  StartInputs inputs() {
    geometry = Geometry(acquisition, options, {kSide, kSide});
    return {options, acquisition, geometry, *model, counts, pool, sharing, 4};
  }
  void know_lengths() {
    acquisition.beam.energy_eV = 8000;
    acquisition.detector.distance_m = 1;
    acquisition.detector.pixel_size_y_m = acquisition.detector.pixel_size_x_m = 100e-6;
  }
  Array<cfloat, 2> probe;
  Options options{};
  model::Acquisition acquisition;
  Patterns patterns;
  std::vector<double> counts;
  Array<float, 2> valid;
  std::optional<ForwardModel> model;
  Geometry geometry;
  core::ThreadPool pool{1};
  Sharing sharing;
  State state;
};

core::AnyArray as_input(core::View<const cfloat, 2> field) {
  core::AnyArray out(core::DType::c64, {1, field.extent(0), field.extent(1)});
  std::copy(field.begin(), field.end(), static_cast<cfloat*>(out.data()));
  return out;
}

TEST(Start, MeanPatternGivesAProbeOfFlatSpectrumPhase) {
  Bench b;
  const auto start = starting_probe(b.inputs());
  // A real Gaussian is such a probe; the step of the object in some patterns spreads the mean a little.
  EXPECT_GT(likeness(start[0], b.probe), 0.98);
}

TEST(Start, TheScansProbeIsTakenUnlessAnotherStartIsAskedFor) {
  Bench b;
  const auto disc = disc_probe(10, kSide, kSide);
  b.acquisition.inputs["probe"] = as_input(disc);
  EXPECT_NEAR(likeness(starting_probe(b.inputs())[0], disc), 1, 1e-6);
  b.options.probe_start = ProbeStart::mean_pattern;
  EXPECT_LT(likeness(starting_probe(b.inputs())[0], disc), 0.97);
  b.options.probe_start = ProbeStart::aperture;
  b.options.probe_diameter_px = 20;
  EXPECT_NEAR(effective_diameter_px(starting_probe(b.inputs())), 20, 1.5);
}

TEST(Start, ZonePlateNeedsLengths) {
  Bench b;
  b.options.probe_start = ProbeStart::zone_plate;
  b.options.zone_plate_diameter_m = 180e-6;
  b.options.zone_plate_outer_zone_m = 200e-9;
  EXPECT_THROW(starting_probe(b.inputs()), core::Error);
  b.know_lengths();
  EXPECT_GT(power(starting_probe(b.inputs())[0]), 0);
}

TEST(Start, DefocusIsFreeSpace) {
  Bench b;
  b.know_lengths();
  b.acquisition.inputs["probe"] = as_input(b.probe);
  b.options.probe_defocus_m = 1e-3;
  const auto there = starting_probe(b.inputs());
  EXPECT_NEAR(power(there[0]), power(b.probe), 1e-3 * power(b.probe));
  EXPECT_LT(likeness(there[0], b.probe), 0.99);
  b.acquisition.inputs["probe"] = as_input(there[0]);
  b.options.probe_defocus_m = -1e-3;
  EXPECT_NEAR(likeness(starting_probe(b.inputs())[0], b.probe), 1, 1e-5);
}

TEST(Start, ProbesOfAnotherSizeKeepTheirField) {
  const auto big = gaussian_probe(12, 64, 64), small = gaussian_probe(12, 32, 32);
  // Sampled otherwise: cropped or padded in real space.
  EXPECT_NEAR(likeness(fit_probe(big, {128, 128}, {32, 32}, 1), small), 1, 1e-3);
  EXPECT_NEAR(likeness(fit_probe(small, {128, 128}, {64, 64}, 1), big), 1, 3e-3);  // tails beyond 16 px are lost
  // For whole frames of which the central half is used: the same window at half the sampling.
  EXPECT_NEAR(likeness(fit_probe(big, {64, 64}, {32, 32}, 1), gaussian_probe(6, 32, 32)), 1, 1e-3);
  // Binned by two: half the window at the same sampling.
  EXPECT_NEAR(likeness(fit_probe(big, {64, 64}, {32, 32}, 2), small), 1, 1e-3);
}

TEST(Start, HigherModesAreOrthogonalAndShareThePower) {
  for (const ModeStart start : {ModeStart::hermite, ModeStart::shifted, ModeStart::random}) {
    Array<cfloat, 3> probe({4, kSide, kSide});
    const auto first = gaussian_probe(8, kSide, kSide);
    std::copy(first.begin(), first.end(), probe.begin());
    add_modes(probe, 1, start, 0.3, 9);
    double total = 0;
    for (Index m = 0; m < 4; ++m) total += power(probe[m]);
    EXPECT_NEAR(total, 1, 1e-5);
    EXPECT_NEAR(power(probe[0]), 0.7, 1e-5);
    for (Index m = 1; m < 4; ++m) {
      EXPECT_NEAR(power(probe[m]), 0.1, 1e-5);
      for (Index other = 0; other < m; ++other) EXPECT_LT(likeness(probe[m], probe[other]), 1e-4);
    }
  }
}

TEST(Start, FlatObjectIsOneAndGrowthKeepsWhatIsThere) {
  Bench b;
  b.state.probe = starting_probe(b.inputs());
  fill_object(b.state, 0, 0, {0, 0}, b.inputs());
  EXPECT_EQ(b.state.object(5, 5), cfloat(1));
  b.options.object_start = ObjectStart::random;
  fill_object(b.state, 0, 0, {0, 0}, b.inputs());
  const auto whole = b.state.object.clone();
  EXPECT_NE(whole(5, 5), whole(5, 6));
  EXPECT_NEAR(std::abs(whole(7, 9)), 0.95, 0.051);
  // Only outside of the rectangle that was there: its pixels keep a mark.
  b.state.object.fill(cfloat(9));
  fill_object(b.state, b.state.origin_y + 10, b.state.origin_x + 10, {20, 20}, b.inputs());
  EXPECT_EQ(b.state.object(12, 12), cfloat(9));
  EXPECT_EQ(b.state.object(12, 30), whole(12, 30));
}

TEST(Start, StxmShowsTheTransmission) {
  Bench b;
  b.options.object_start = ObjectStart::stxm;
  b.state.probe = starting_probe(b.inputs());
  fill_object(b.state, 0, 0, {0, 0}, b.inputs());
  const auto at = [&](double y, double x) {
    return b.state.object(static_cast<Index>(y - b.state.origin_y), static_cast<Index>(x - b.state.origin_x)).real();
  };
  EXPECT_NEAR(at(28, 18), 0.6, 0.05);  // centre of a pattern on the left: all its beam has gone through 0.6
  EXPECT_NEAR(at(28, 40), 1, 0.05);
}

TEST(Start, TheScansObjectLiesWhereItsPositionsSay) {
  Bench b;
  core::AnyArray object(core::DType::c64, {60, 60});
  static_cast<cfloat*>(object.data())[20 * 60 + 25] = 7;
  b.acquisition.inputs["object"] = object;
  b.state.probe = starting_probe(b.inputs());
  fill_object(b.state, 0, 0, {0, 0}, b.inputs());
  EXPECT_EQ(b.state.object(static_cast<Index>(20 - b.state.origin_y), static_cast<Index>(25 - b.state.origin_x)),
            cfloat(7));
  b.acquisition.inputs["object"] = core::AnyArray(core::DType::c64, {1, 60, 60});
  EXPECT_THROW(fill_object(b.state, 0, 0, {0, 0}, b.inputs()), core::Error);
}

TEST(Start, RescalingFindsTheMeasuredCounts) {
  Bench b;
  b.acquisition.inputs["probe"] = as_input(b.probe);
  b.state.probe = starting_probe(b.inputs());
  for (cfloat& v : b.state.probe) v *= 1e-12F;
  b.options.object_start = ObjectStart::stxm;
  fill_object(b.state, 0, 0, {0, 0}, b.inputs());
  rescale_probe(b.state, b.inputs());
  EXPECT_NEAR(power(b.state.probe.view()[0]), 1e5, 0.05e5);  // as far as STXM is the object
  b.state.probe.fill({});
  EXPECT_THROW(rescale_probe(b.state, b.inputs()), core::Error);
}

TEST(Start, BackgroundFollowsTheFrames) {
  Bench b;
  EXPECT_TRUE(starting_background(b.acquisition, b.options).empty());
  core::AnyArray frame(core::DType::f32, {kSide, kSide});
  static_cast<float*>(frame.data())[16 * kSide + 16] = 2.5F;  // zero frequency, centred
  b.acquisition.inputs["background"] = frame;
  const auto tile = starting_background(b.acquisition, b.options);
  EXPECT_EQ(tile(0, 0), 2.5F);
  b.acquisition.inputs["background"] = core::AnyArray(core::DType::f32, {kSide, kSide + 1});
  EXPECT_THROW(starting_background(b.acquisition, b.options), core::Error);
}

}  // namespace
}  // namespace farfield::techniques::ptychography
