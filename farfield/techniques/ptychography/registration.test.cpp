#include "farfield/techniques/ptychography/registration.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "farfield/core/error.hpp"
#include "farfield/math/random.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::Array;
using core::cdouble;
using core::cfloat;
using core::Index;

/// A sum of plane waves below half the Nyquist frequency: known between the pixels, so that shifts of it are exact.
struct Waves {
  struct Wave {
    double ky, kx;
    cdouble amplitude;
  };
  std::vector<Wave> waves;
  explicit Waves(std::uint64_t seed, double highest = 1.5) {
    math::Random random(seed);
    for (int i = 0; i < 200; ++i)
      waves.push_back(
          {random.uniform(-highest, highest), random.uniform(-highest, highest), {random.normal(), random.normal()}});
  }
  Array<cfloat, 2> image(Index ny, Index nx, double shift_y, double shift_x) const {
    Array<cfloat, 2> out({ny, nx});
    for (Index y = 0; y < ny; ++y)
      for (Index x = 0; x < nx; ++x) {
        cdouble v = 0;
        for (const auto& w : waves)
          v += w.amplitude *
               std::polar(1.0, w.ky * (static_cast<double>(y) - shift_y) + w.kx * (static_cast<double>(x) - shift_x));
        out(y, x) = cfloat(v);
      }
    return out;
  }
};

TEST(Registration, RecoversSubPixelShifts) {
  const Waves scene(1);
  const auto reference = scene.image(96, 80, 0, 0);
  for (const auto& [sy, sx] :
       std::vector<std::pair<double, double>>{{0, 0}, {0.37, -0.81}, {-2.25, 3.5}, {-7.031, 0.004}}) {
    const auto moved = scene.image(96, 80, sy, sx);
    const Shift s = find_shift(reference.view(), moved.view());
    // The window sees other content at its edges after a shift: an error of about shift / (window * waves), found to
    // stay below 0.02 px for these shifts of up to a tenth of the window.
    EXPECT_NEAR(s.y, sy, 0.02) << sy << " " << sx;
    EXPECT_NEAR(s.x, sx, 0.02) << sy << " " << sx;
    EXPECT_GT(s.height, 0.7);
  }
}

TEST(Registration, IgnoresAFactorAndAnOffset) {
  const Waves scene(2);
  const auto reference = scene.image(64, 64, 0, 0);
  auto moved = scene.image(64, 64, 0.25, -0.5);
  const Shift plain = find_shift(reference.view(), moved.view());
  for (auto& v : moved) v = v * cfloat(-0.3F, 2.0F) + cfloat(5, 1);
  const Shift s = find_shift(reference.view(), moved.view());
  EXPECT_NEAR(s.y, plain.y, 1e-3);
  EXPECT_NEAR(s.x, plain.x, 1e-3);
}

TEST(Registration, NoiseCostsLittle) {
  const Waves scene(3);
  auto reference = scene.image(128, 128, 0, 0), moved = scene.image(128, 128, 1.3, -0.6);
  math::Random random(4);
  for (auto* image : {&reference, &moved})
    for (auto& v : *image)
      v += cfloat(static_cast<float>(10 * random.normal()), static_cast<float>(10 * random.normal()));
  // Signal variance 400, noise 200 per pixel: the Cramer-Rao bound sqrt(noise / (pixels signal)) / (rms k ~ 0.87) is
  // about 0.01 px; the window takes three quarters of the pixels away. Five sigma.
  const Shift s = find_shift(reference.view(), moved.view());
  EXPECT_NEAR(s.y, 1.3, 0.1);
  EXPECT_NEAR(s.x, -0.6, 0.1);
}

TEST(Registration, FindsARamp) {
  Array<cfloat, 2> image({60, 90});
  for (Index y = 0; y < 60; ++y)
    for (Index x = 0; x < 90; ++x)
      image(y, x) = cfloat(std::polar(1.5, 0.0123 * static_cast<double>(y) - 0.7 * static_cast<double>(x)));
  const Shift ramp = find_ramp(image.view());
  // A pure ramp is found to the parabola's error, a small part of the last step of 0.01 bins.
  EXPECT_NEAR(ramp.y, 0.0123, 1e-5);
  EXPECT_NEAR(ramp.x, -0.7, 1e-5);
  EXPECT_NEAR(ramp.height, 1, 1e-4);
  remove_ramp(image, ramp.y, ramp.x);
  for (const cfloat v : image) EXPECT_NEAR(std::abs(v - image(30, 45)), 0, 3e-3);
}

TEST(Registration, TranslatedMovesABandLimitedImage) {
  // Waves that fit the window: the periodic shift is then exact.
  Array<cfloat, 2> image({32, 48}), expected({32, 48});
  for (Index y = 0; y < 32; ++y)
    for (Index x = 0; x < 48; ++x) {
      const auto wave = [&](double sy, double sx) {
        return std::polar(
                   1.0, 2 * M_PI * (3 * (static_cast<double>(y) - sy) / 32 - 7 * (static_cast<double>(x) - sx) / 48)) +
               std::polar(0.5, 2 * M_PI * (-9 * (static_cast<double>(y) - sy) / 32));
      };
      image(y, x) = cfloat(wave(0, 0));
      expected(y, x) = cfloat(wave(1.7, -0.3));
    }
  const auto moved = translated(image.view(), 1.7, -0.3);
  for (Index i = 0; i < moved.size(); ++i) EXPECT_NEAR(std::abs(moved.data()[i] - expected.data()[i]), 0, 1e-5);
}

TEST(Registration, RefusesShapesAndSeesNothingInNothing) {
  const Array<cfloat, 2> a({16, 16}), b({16, 17}), small({4, 4});
  EXPECT_THROW(find_shift(a.view(), b.view()), core::Error);
  EXPECT_THROW(find_shift(small.view(), small.view()), core::Error);
  const Shift none = find_shift(a.view(), a.view());
  EXPECT_EQ(none.y, 0);
  EXPECT_EQ(none.height, 0);
}

}  // namespace
}  // namespace farfield::techniques::ptychography
