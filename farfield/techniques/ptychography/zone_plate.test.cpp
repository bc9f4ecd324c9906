#include "farfield/techniques/ptychography/zone_plate.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "farfield/core/error.hpp"
#include "farfield/math/complex.hpp"
#include "farfield/math/fft.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::Array;
using core::cfloat;
using core::Index;

constexpr double kWavelength = 1.4e-10, kPixel = 28e-9;
constexpr Index kN = 128;

double power(const Array<cfloat, 2>& p) {
  double sum = 0;
  for (const cfloat v : p) sum += static_cast<double>(math::abs2(v));
  return sum;
}

double diameter(const Array<cfloat, 2>& p) {
  return effective_diameter_px(core::View<const cfloat, 3>(p.data(), {1, p.extent(0), p.extent(1)}));
}

TEST(ZonePlate, SpectrumIsTheAnnulusOfThePlate) {
  const ZonePlate plate{70e-9, 180e-6, 60e-6, 4e-4};
  const auto probe = zone_plate_probe(plate, kWavelength, kPixel, kPixel, kN, kN);
  EXPECT_NEAR(power(probe), 1, 1e-5);
  auto spectrum = probe.clone();
  math::Fft2<float>(kN, kN, math::FftEffort::estimate).forward(spectrum.data());
  const double outer = kN * kPixel / (2 * 70e-9), inner = outer / 3;  // in frequency steps
  const double expected = std::sqrt(kN * kN / (std::numbers::pi * (outer * outer - inner * inner)));
  for (Index v = 0; v < kN; ++v)
    for (Index u = 0; u < kN; ++u) {
      const double q = std::hypot(v < kN / 2 ? v : v - kN, u < kN / 2 ? u : u - kN);
      const double a = static_cast<double>(std::abs(spectrum(v, u)));
      // Rounding in the dark; soft edges change the lit area by less than 2 %.
      if (q > outer + 1 || q < inner - 1) {
        EXPECT_LT(a, 1e-4 * expected);
      } else if (q < outer - 1 && q > inner + 1) {
        EXPECT_NEAR(a, expected, 0.02 * expected);
      }
    }
}

TEST(ZonePlate, ConeGrowsWithDefocus) {
  // Far from focus the beam is the shadow of the annulus: outer diameter 2 NA z, and an annulus with inner radius
  // a third of the outer one has sqrt(1 + 1/9) of the second moment of the full disc. Diffraction adds to it: 10 %.
  for (const double z : {6e-4, 9e-4, -9e-4}) {
    const auto probe = zone_plate_probe({70e-9, 180e-6, 60e-6, z}, kWavelength, kPixel, kPixel, kN, kN);
    const double shadow = kWavelength / 70e-9 * std::abs(z) / kPixel * std::sqrt(1 + 1.0 / 9);
    EXPECT_NEAR(diameter(probe), shadow, 0.10 * shadow) << z;
  }
}

TEST(ZonePlate, IsCentred) {
  const auto probe = zone_plate_probe({70e-9, 180e-6, 60e-6, 3e-4}, kWavelength, kPixel, kPixel, kN, kN);
  for (Index d = 1; d < 60; ++d) {
    EXPECT_NEAR(std::abs(probe(64 + d, 64)), std::abs(probe(64 - d, 64)), 1e-5);
    EXPECT_NEAR(std::abs(probe(64, 64 + d)), std::abs(probe(64 + d, 64)), 1e-5);
  }
}

TEST(ZonePlate, RefusesWhatIsNotSampled) {
  const auto message = [](const ZonePlate& plate) -> std::string {
    try {
      zone_plate_probe(plate, kWavelength, kPixel, kPixel, kN, kN);
    } catch (const core::Error& e) {
      return e.what();
    }
    return "accepted";
  };
  EXPECT_NE(message({20e-9, 180e-6, 60e-6, 0}).find("needs pixels below"), std::string::npos);
  EXPECT_NE(message({70e-9, 180e-6, 200e-6, 0}).find("central stop"), std::string::npos);
  EXPECT_NE(message({70e-9, 180e-6, 60e-6, 1e-2}).find("cone"), std::string::npos);
  EXPECT_NE(message({0, 180e-6, 60e-6, 0}).find("outer zone width"), std::string::npos);
}

TEST(Probes, HaveTheirWidth) {
  // The amplitude is 1/2 at the edge, so the intensity falls off 0.6 px inside it on either side.
  EXPECT_NEAR(diameter(disc_probe(40, kN, kN)), 40 - 1.2, 0.2);
  // Intensity exp(-r^2/(2 s^2)): second moment 2 s^2, so 4 s with s = FWHM / 2.3548.
  EXPECT_NEAR(diameter(gaussian_probe(20, kN, kN)), 4 * 20 / 2.35482, 1e-3);
  const auto diffuse = diffuser_probe(60, 1, kN, kN, 3);
  EXPECT_NEAR(power(diffuse), 1, 1e-5);
  EXPECT_NEAR(diameter(diffuse), 60 - 1.2, 0.2);
  EXPECT_THROW(gaussian_probe(100, kN, kN), core::Error);
  EXPECT_THROW(disc_probe(1, kN, kN), core::Error);
  EXPECT_THROW(disc_probe(4, 4, 4), core::Error);
}

}  // namespace
}  // namespace farfield::techniques::ptychography
