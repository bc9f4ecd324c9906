#include "farfield/techniques/ptychography/compare.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "farfield/math/random.hpp"
#include "farfield/techniques/ptychography/phantoms.hpp"
#include "farfield/techniques/ptychography/quality.hpp"
#include "farfield/techniques/ptychography/registration.hpp"
#include "farfield/techniques/ptychography/zone_plate.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::AnyArray;
using core::Array;
using core::cdouble;
using core::cfloat;
using core::Index;

/// A phantom blurred to a band that sub-pixel shifts do not alter.
Array<cfloat, 2> scene(Phantom phantom = Phantom::coins) {
  const auto sharp = make_phantom(phantom, 320, 300, {0.8, 0.1}, 5);
  Array<cfloat, 2> out({320, 300});
  for (Index y = 2; y < 318; ++y)
    for (Index x = 2; x < 298; ++x) {
      cdouble v = 0;
      for (Index dy = -2; dy <= 2; ++dy)
        for (Index dx = -2; dx <= 2; ++dx)
          v += std::exp(-static_cast<double>(dy * dy + dx * dx) / 2.0) * cdouble(sharp(y + dy, x + dx));
      out(y, x) = cfloat(v / 6.1689);
    }
  return out;
}

model::Product product_of(Array<cfloat, 2> object) {
  model::Product p;
  p.technique = "ptychography";
  p.verb = "reconstruct";
  p.datasets.push_back({"object", AnyArray(object), "", {"y", "x"}});
  p.pixel_size_y_m = p.pixel_size_x_m = 20e-9;
  return p;
}

/// The same object as ptychography may return it: on another array, between the pixels, with a ramp and a factor.
Array<cfloat, 2> disguised(const Array<cfloat, 2>& object, double sy, double sx, double ramp_y, double ramp_x,
                           cdouble factor) {
  auto moved = translated(object.view(), sy, sx);
  remove_ramp(moved, -ramp_y, -ramp_x);
  for (cfloat& v : moved) v = cfloat(cdouble(v) * factor);
  return moved;
}

CompareOptions crop(Index px) {
  CompareOptions o;
  o.crop_px = px;
  return o;
}

TEST(Compare, SeesThroughTheAmbiguitiesOfPtychography) {
  const auto object = scene();
  const auto b = disguised(object, 3.3, -1.7, 0.013, -0.031, std::polar(2.5, 1.1));
  const auto result = compare(product_of(object.clone()), product_of(b.clone()), crop(24));
  const auto& m = result.metrics;
  EXPECT_NEAR(m.at("shift_y_px"), 3.3, 0.01);
  EXPECT_NEAR(m.at("shift_x_px"), -1.7, 0.01);
  EXPECT_NEAR(m.at("ramp_y_rad_per_px"), 0.013, 1e-4);
  EXPECT_NEAR(m.at("ramp_x_rad_per_px"), -0.031, 1e-4);
  EXPECT_NEAR(m.at("scale_amplitude"), 0.4, 1e-3);
  // A shift wrong by 0.005 px moves edges of 1 rad, blurred over 2 px, by 2e-3; they fill a tenth of the image.
  EXPECT_LT(m.at("nrmse"), 3e-3);
  EXPECT_GT(m.at("ssim_phase"), 0.999);
  // Only the border, which the periodic shift of this test tears open, keeps it from Nyquist.
  EXPECT_LT(m.at("resolution_half_bit_px"), 1.1);
  EXPECT_NEAR(m.at("resolution_one_bit_nm"), 20 * m.at("resolution_one_bit_px"), 1e-9);
}

TEST(Compare, FindsWhereNoiseBeginsToPrevail) {
  // Noise that is white over a blurred object: the curve must fall, at a frequency that more noise lowers.
  const auto object = scene();
  double previous = 0;
  for (const double sigma : {0.003, 0.03, 0.1}) {
    math::Random random(9);
    auto a = object.clone(), b = object.clone();
    for (auto* image : {&a, &b})
      for (cfloat& v : *image)
        v += cfloat(static_cast<float>(sigma * random.normal()), static_cast<float>(sigma * random.normal()));
    const auto result = compare(product_of(std::move(a)), product_of(std::move(b)), crop(10));
    const double resolution = result.metrics.at("resolution_half_bit_px");
    EXPECT_GT(resolution, std::max(1.0, previous)) << sigma;
    EXPECT_LE(resolution, result.metrics.at("resolution_one_bit_px"));
    // The difference of two images with noise sigma in each of two parts: 2 sigma over an object of about 1.
    EXPECT_NEAR(result.metrics.at("nrmse"), 2 * sigma, 0.15 * 2 * sigma);
    previous = resolution;
  }
}

TEST(Compare, FindsTwinAndFlips) {
  const auto object = scene(Phantom::catalyst);
  Array<cfloat, 2> twin({320, 300}), turned({300, 320});
  for (Index y = 0; y < 320; ++y)
    for (Index x = 0; x < 300; ++x) {
      twin(319 - y, 299 - x) = std::conj(object(y, x));
      turned(x, 319 - y) = object(y, x);
    }
  CompareOptions o = crop(8);
  const auto a = product_of(object.clone());
  const auto plain = compare(a, product_of(twin.clone()), o);
  o.orientations = Orientations::twin;
  const auto found = compare(a, product_of(twin.clone()), o);
  EXPECT_EQ(found.metrics.at("conjugated"), 1);
  EXPECT_EQ(found.metrics.at("flipped_y") + found.metrics.at("flipped_x"), 2);
  EXPECT_LT(found.metrics.at("nrmse"), 1e-3);
  EXPECT_GT(plain.metrics.at("nrmse"), 0.03);
  EXPECT_EQ(compare(a, a, o).metrics.at("conjugated"), 0);

  o.orientations = Orientations::all;
  const auto flipped = compare(a, product_of(turned.clone()), o);
  EXPECT_EQ(flipped.metrics.at("transposed"), 1);
  EXPECT_EQ(flipped.metrics.at("conjugated"), 0);
  EXPECT_LT(flipped.metrics.at("nrmse"), 1e-3);
}

TEST(Compare, UsesTheIlluminatedRegionAndThePositions) {
  // The same object inside a larger array; outside the illumination both hold rubbish.
  const auto object = scene();
  Array<cfloat, 2> a({320, 300}, cfloat(9, 9)), b({400, 420}, cfloat(-5, 3));
  Array<double, 2> pa({81, 2}), pb({81, 2});
  for (Index y = 60; y < 260; ++y)
    for (Index x = 50; x < 250; ++x) {
      a(y, x) = object(y, x);
      b(y + 33, x + 71) = object(y, x);
    }
  for (Index j = 0; j < 81; ++j) {
    const Index row = j / 9;
    pa(j, 0) = 60 + 17.0 * static_cast<double>(row);
    pa(j, 1) = 50 + 17.0 * static_cast<double>(j % 9);
    pb(j, 0) = pa(j, 0) + 33;
    pb(j, 1) = pa(j, 1) + 71;
  }
  const auto disc = disc_probe(40, 64, 64);
  Array<cfloat, 3> probe({1, 64, 64});
  std::copy(disc.begin(), disc.end(), probe.begin());
  auto first = product_of(a.clone()), second = product_of(b.clone());
  for (auto* p : {&first, &second}) p->datasets.push_back({"probe", AnyArray(probe), "", {"mode", "y", "x"}});
  first.datasets.push_back({"positions", AnyArray(pa), "px", {"frame", "yx"}});
  for (double& v : pb) v *= *second.pixel_size_y_m;  // one in metres, one in pixels
  second.datasets.push_back({"positions", AnyArray(pb), "m", {"frame", "yx"}});

  const Region lit = illuminated_region(first);
  // Squares of side 38.75 / sqrt(2) = 27.4 around 92..228 and 82..218.
  EXPECT_NEAR(static_cast<double>(lit.y), 92 - 13.7, 1);
  EXPECT_NEAR(static_cast<double>(lit.ny), 136 + 27.4, 2);
  EXPECT_NEAR(static_cast<double>(lit.x), 82 - 13.7, 1);
  const auto result = compare(first, second, {});
  EXPECT_NEAR(result.metrics.at("shift_y_px"), 33, 1e-3);
  EXPECT_NEAR(result.metrics.at("shift_x_px"), 71, 1e-3);
  EXPECT_LT(result.metrics.at("nrmse"), 1e-5);
}

TEST(Compare, PhaseCurveAlsoWorks) {
  const auto object = scene();
  CompareOptions o = crop(24);
  o.frc_image = FrcImage::phase;
  const auto result =
      compare(product_of(object.clone()), product_of(disguised(object, 0.4, 0.2, 0.01, 0, std::polar(1.0, 3.0))), o);
  EXPECT_LT(result.metrics.at("resolution_half_bit_px"), 1.1);
  const auto same = compare(product_of(object.clone()), product_of(object.clone()), o);
  EXPECT_EQ(same.metrics.at("half_bit_reached_nyquist"), 1);
  EXPECT_EQ(same.metrics.at("resolution_half_bit_px"), 1);
}

TEST(Compare, SaysWhatIsWrong) {
  const auto message = [](const model::Product& a, const model::Product& b, Index px) -> std::string {
    try {
      compare(a, b, crop(px));
    } catch (const core::Error& e) {
      return e.what();
    }
    return "accepted";
  };
  const auto good = product_of(scene());
  EXPECT_NE(message(good, model::Product{}, 0).find("no complex dataset object"), std::string::npos);
  auto other = product_of(scene());
  other.pixel_size_x_m = 25e-9;
  EXPECT_NE(message(good, other, 0).find("pixel sizes along x"), std::string::npos);
  EXPECT_NE(message(good, good, 149).find("are needed"), std::string::npos);
  auto broken = scene();
  broken(5, 5) = cfloat(NAN, 0);
  EXPECT_NE(message(good, product_of(std::move(broken)), 0).find("not finite"), std::string::npos);
}

TEST(LargestRectangle, EqualsTryingThemAll) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    math::Random random(seed);
    Array<std::uint8_t, 2> mask({7, 9});
    for (auto& m : mask) m = random.uniform() < 0.75;
    Index best = 0;
    for (Index y = 0; y < 7; ++y)
      for (Index x = 0; x < 9; ++x)
        for (Index ny = 1; y + ny <= 7; ++ny)
          for (Index nx = 1; x + nx <= 9; ++nx) {
            bool full = true;
            for (Index i = 0; i < ny * nx; ++i) full = full && mask(y + i / nx, x + i % nx) != 0;
            if (full) best = std::max(best, ny * nx);
          }
    const Region r = largest_rectangle(mask.view());
    EXPECT_EQ(r.area(), best);
    for (Index i = 0; i < r.area(); ++i) EXPECT_NE(mask(r.y + i / r.nx, r.x + i % r.nx), 0);
  }
}

TEST(Quality, SsimIsOneForEqualAndFallsWithNoise) {
  const auto object = scene();
  EXPECT_NEAR(ssim_of_phase(object.view(), object.view()), 1, 1e-12);
  double previous = 1;
  for (const float sigma : {0.01F, 0.1F, 0.5F}) {
    math::Random random(1);
    auto noisy = object.clone();
    for (cfloat& v : noisy)
      v += cfloat(sigma * static_cast<float>(random.normal()), sigma * static_cast<float>(random.normal()));
    const double s = ssim_of_phase(object.view(), noisy.view());
    EXPECT_LT(s, previous);
    previous = s;
  }
}

TEST(Quality, ObjectErrorIsThatOfTheNoise) {
  const auto object = scene();
  auto b = disguised(object, 0.6, 0.1, 0.02, 0, std::polar(3.0, 2.0));
  EXPECT_LT(object_error(object.view(), b.view(), 20), 3e-3);
}

}  // namespace
}  // namespace farfield::techniques::ptychography
