#include "farfield/techniques/ptychography/simulate.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numbers>
#include <string>

#include "farfield/math/complex.hpp"
#include "farfield/techniques/ptychography/simulate_optics.hpp"
#include "farfield/techniques/ptychography/simulate_options.hpp"
#include "farfield/techniques/ptychography/simulate_probe.hpp"
#include "farfield/techniques/ptychography/simulate_scan.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::Array;
using core::cdouble;
using core::cfloat;
using core::Index;
using core::OptionValues;
constexpr double kPi = std::numbers::pi;

/// A small scan: 32 x 32 pixels, Gaussian spot.
OptionValues small(const OptionValues& more = {}) {
  OptionValues v{{"patterns", std::int64_t{20}},
                 {"shape", std::int64_t{32}},
                 {"probe", std::string("gaussian")},
                 {"probe-size", 8.0},
                 {"step", 3.3},
                 {"photons", 5e4}};
  for (const auto& [name, value] : more) v[name] = value;
  return v;
}
OptionValues noise_free(OptionValues more = {}) {
  more["noise"] = std::string("none");
  more["dtype"] = std::string("f32");
  return small(more);
}

struct Streamed {
  std::vector<std::vector<double>> frames;
  std::vector<model::Values> values;
  model::Product truth;
  std::unique_ptr<technique::Simulation> simulation;
  std::size_t largest_batch = 0;
};

Streamed stream(const OptionValues& options, int threads = 1, std::uint64_t seed = 7) {
  core::ThreadPool pool(threads);
  core::ManualClock clock;
  Streamed s;
  s.simulation = make_simulation(options, {&pool, nullptr, &clock, seed, 0});
  while (s.simulation->next({}, [&](const model::FrameBatch& batch) {
    s.largest_batch = std::max(s.largest_batch, batch.frames.size());
    for (const auto& f : batch.frames) {
      EXPECT_EQ(f.id, static_cast<Index>(s.frames.size()));
      auto& out = s.frames.emplace_back();
      core::visit_dtype(f.image.dtype, [&](auto zero) {
        using T = decltype(zero);
        if constexpr (std::is_arithmetic_v<T>)
          for (const T v : f.image.view<T>()) out.push_back(static_cast<double>(v));
      });
    }
    for (const auto& [id, v] : batch.values) s.values.push_back(v);
  })) {}
  s.truth = s.simulation->truth();
  return s;
}

double sum(const std::vector<double>& v) {
  double total = 0;
  for (const double x : v) total += x;
  return total;
}

TEST(Simulate, SameSeedSameBitsForAnyNumberOfThreads) {
  const auto options = small({{"background", 0.5},
                              {"intensity-fluctuation", 0.1},
                              {"opr", 0.1},
                              {"dead-pixels", 0.01},
                              {"drift", 2.0},
                              {"position-error", 0.3}});
  const auto one = stream(options, 1), two = stream(options, 2), other = stream(options, 1, 8);
  EXPECT_EQ(one.frames, two.frames);
  EXPECT_EQ(one.values, two.values);
  EXPECT_EQ(one.truth.metrics, two.truth.metrics);
  EXPECT_NE(one.frames, other.frames);
}

TEST(Simulate, PatternIsTheSumThatDefinesIt) {
  const auto s = stream(noise_free({{"modes", std::int64_t{2}}, {"phantom", std::string("random")}}));
  const auto object = s.truth.find("object")->data.view<const cfloat, 2>();
  const auto probe = s.truth.find("probe")->data.view<const cfloat, 3>();
  const auto positions = s.truth.find("positions")->data.view<const double, 2>();
  constexpr Index n = 32, frame = 11;
  const auto sy = static_cast<Index>(std::floor(positions(frame, 0))),
             sx = static_cast<Index>(std::floor(positions(frame, 1)));
  const double fy = positions(frame, 0) - static_cast<double>(sy), fx = positions(frame, 1) - static_cast<double>(sx);
  ASSERT_GT(fy * fx, 0.0);

  // D(y, y') = interpolation of a band-limited periodic row by the exact fraction, as a matrix.
  const auto shift = [&](double fraction) {
    Array<cdouble, 2> d({n, n});
    for (Index y = 0; y < n; ++y)
      for (Index z = 0; z < n; ++z)
        for (Index k = -n / 2; k < n / 2; ++k)
          d(y, z) +=
              std::polar(1.0 / n, 2 * kPi * static_cast<double>(k) * (static_cast<double>(y - z) - fraction) / n);
    return d;
  };
  const auto shift_y = shift(fy), shift_x = shift(fx);
  std::vector<double> expected(n * n);
  for (Index m = 0; m < 2; ++m) {
    Array<cdouble, 2> rows({n, n}), wave({n, n}), columns({n, n});
    for (Index y = 0; y < n; ++y)
      for (Index x = 0; x < n; ++x)
        for (Index z = 0; z < n; ++z) rows(y, x) += shift_y(y, z) * cdouble(probe(m, z, x));
    for (Index y = 0; y < n; ++y)
      for (Index x = 0; x < n; ++x) {
        for (Index z = 0; z < n; ++z) wave(y, x) += shift_x(x, z) * rows(y, z);
        wave(y, x) *= cdouble(object(sy + y, sx + x));
      }
    constexpr Index centre = n / 2;
    const auto kernel = [&](Index q, Index r) {
      return std::polar(1.0 / std::sqrt(n), -2 * kPi * static_cast<double>((q - centre) * r) / n);
    };
    for (Index v = 0; v < n; ++v)
      for (Index x = 0; x < n; ++x)
        for (Index y = 0; y < n; ++y) columns(v, x) += kernel(v, y) * wave(y, x);
    for (Index v = 0; v < n; ++v)
      for (Index u = 0; u < n; ++u) {
        cdouble amplitude = 0;
        for (Index x = 0; x < n; ++x) amplitude += kernel(u, x) * columns(v, x);
        expected[static_cast<std::size_t>(v * n + u)] += std::norm(amplitude);
      }
  }
  double peak = 0;
  for (const double e : expected) peak = std::max(peak, e);
  // Amplitudes are rounded to single precision relative to the largest: 1e-6 of it, doubled by the square.
  for (std::size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(s.frames[frame][i], expected[i], 4e-6 * std::sqrt(expected[i] * peak) + 1e-11 * peak) << i;
}

TEST(Simulate, FlatObjectKeepsThePhotonsInFarAndNearField) {
  for (const bool near : {false, true}) {
    const auto s = stream(noise_free({{"phantom", std::string("flat")},
                                      {"modes", std::int64_t{3}},
                                      {"near-field", near},
                                      {"detector-pixel", near ? 1e-6 : 75e-6},
                                      {"distance", near ? 0.01 : 1.92}}));
    for (const auto& frame : s.frames) EXPECT_NEAR(sum(frame), 5e4, 5e4 * 1e-5);  // single precision
  }
}

TEST(Simulate, NearFieldSpreadsAGaussianBeamByItsRayleighLength) {
  // Intensity of waist FWHM w: FWHM sqrt(1 + (z / z_R)^2) at z, z_R = pi w0^2 / lambda, w0 = FWHM / sqrt(2 ln 2).
  const double pixel = 1e-6, wavelength = model::kHcEvM / 8800, fwhm = 8 * pixel,
               w0 = fwhm / std::sqrt(2 * std::numbers::ln2);
  const double z = 1.5 * kPi * w0 * w0 / wavelength;
  const auto s = stream(noise_free({{"phantom", std::string("flat")},
                                    {"near-field", true},
                                    {"detector-pixel", pixel},
                                    {"distance", z},
                                    {"shape", std::int64_t{96}},
                                    {"patterns", std::int64_t{1}}}));
  double total = 0, first = 0, second = 0;
  for (Index y = 0; y < 96; ++y)
    for (Index x = 0; x < 96; ++x) {
      const double i = s.frames[0][static_cast<std::size_t>(y * 96 + x)], dy = static_cast<double>(y - 48);
      total += i;
      first += i * dy;
      second += i * dy * dy;
    }
  const double expected = 8 / 2.35482 * std::sqrt(1 + 1.5 * 1.5);  // standard deviation in pixels
  // The window ends at eight standard deviations and the paraxial formula is good to 1e-9: rounding remains.
  EXPECT_NEAR(std::sqrt(second / total - std::pow(first / total, 2)), expected, 1e-4 * expected);
}

TEST(Simulate, CountsFluctuateAsPoissonAndTheFloorIsTheirs) {
  const auto exact = stream(noise_free()), noisy = stream(small());
  double mean = 0, counted = 0, floor = 0, variance = 0, pixels = 0;
  for (std::size_t j = 0; j < exact.frames.size(); ++j)
    for (std::size_t i = 0; i < exact.frames[j].size(); ++i, ++pixels) {
      const double lambda = exact.frames[j][i];
      mean += lambda;
      counted += noisy.frames[j][i];
      // E and variance of (sqrt(n) - sqrt(lambda))^2 over the Poisson distribution.
      double e1 = 0, e2 = 0;
      const double width = 12 * std::sqrt(lambda) + 30;
      for (double n = std::max(0.0, std::floor(lambda - width)); n <= lambda + width; ++n) {
        const double p = lambda > 0 ? std::exp(-lambda + n * std::log(lambda) - std::lgamma(n + 1)) : (n == 0 ? 1 : 0);
        const double d = std::pow(std::sqrt(n) - std::sqrt(lambda), 2);
        e1 += p * d;
        e2 += p * d * d;
      }
      floor += e1;
      variance += e2 - e1 * e1;
    }
  // Five standard errors of the sum.
  EXPECT_NEAR(counted, mean, 5 * std::sqrt(mean));
  EXPECT_NEAR(noisy.truth.metrics.at("noise_floor"), floor / pixels, 5 * std::sqrt(variance) / pixels);
  EXPECT_EQ(exact.truth.metrics.at("noise_floor"), 0);
}

TEST(Simulate, TruthDescribesEveryPattern) {
  const auto s = stream(noise_free(
      {{"modes", std::int64_t{2}}, {"opr", 0.2}, {"intensity-fluctuation", 0.1}, {"background", 2.0}, {"drift", 3.0}}));
  const auto& t = s.truth;
  SimulatedOptics optics(t.find("object")->data.view<const cfloat, 2>(), t.find("probe")->data.view<const cfloat, 3>());
  optics.set_eigen_probe(t.find("eigen_probe")->data.view<const cfloat, 2>());
  const auto positions = t.find("positions")->data.view<const double, 2>();
  const auto intensity = t.find("intensity")->data.view<const double, 1>(),
             weight = t.find("eigen_weights")->data.view<const double, 1>();
  const auto background = t.find("background")->data.view<const float, 2>();
  double halo = 0;
  for (const float b : background) halo += static_cast<double>(b);
  EXPECT_NEAR(halo / static_cast<double>(background.size()), 2, 1e-4);
  auto work = optics.workspace();
  for (std::size_t j = 0; j < s.frames.size(); ++j) {
    const auto at = static_cast<Index>(j);
    optics.pattern(positions(at, 0), positions(at, 1), weight(at), work);
    for (std::size_t i = 0; i < s.frames[j].size(); ++i) {
      const double expected =
          intensity(at) * static_cast<double>(work.intensity.data()[i]) + static_cast<double>(background.data()[i]);
      ASSERT_NEAR(s.frames[j][i], expected, 1e-6 * expected);  // the last rounding
    }
  }
}

TEST(Simulate, GeometryIsThatOfFarField) {
  const auto s = stream(small());
  const double dx = model::kHcEvM / 8800 * 1.92 / (32 * 75e-6);
  EXPECT_DOUBLE_EQ(*s.truth.pixel_size_x_m, dx);
  const auto recorded = s.truth.find("recorded_positions")->data.view<const double, 2>();
  for (std::size_t j = 0; j < s.values.size(); ++j) {
    EXPECT_DOUBLE_EQ(s.values[j].at("y_m"), recorded(static_cast<Index>(j), 0) * dx);
    EXPECT_DOUBLE_EQ(s.values[j].at("x_m"), recorded(static_cast<Index>(j), 1) * dx);
  }
  const auto& a = s.simulation->acquisition();
  EXPECT_EQ(a.scan.unit, model::PositionUnit::metres);
  EXPECT_EQ(a.scan.expected_frames, 20);
  EXPECT_NEAR(*a.beam.energy_eV, 8800, 1e-9);

  const auto bare = stream(small({{"pixel-units", true}}));
  EXPECT_EQ(bare.values[3].count("y_m"), 0U);
  EXPECT_EQ(bare.values[3].at("x_px"), recorded(3, 1));
  EXPECT_FALSE(bare.simulation->acquisition().beam.energy_eV || bare.simulation->acquisition().detector.distance_m);
  EXPECT_FALSE(bare.truth.pixel_size_x_m);
}

TEST(Simulate, DeadPixelsAndBeamStopAreMaskedAndSeeNothing) {
  const auto s = stream(small({{"dead-pixels", 0.05}, {"beam-stop", 3.0}, {"background", 20.0}}));
  const auto& mask = s.simulation->acquisition().detector.pixel_mask;
  Index dead = 0, stopped = 0;
  for (Index i = 0; i < mask.size(); ++i) {
    dead += (mask.data()[i] & model::pixel_mask::kDead) != 0;
    stopped += (mask.data()[i] & model::pixel_mask::kUser) != 0;
    for (const auto& frame : s.frames) EXPECT_TRUE(mask.data()[i] == 0 || frame[static_cast<std::size_t>(i)] == 0);
  }
  EXPECT_NEAR(static_cast<double>(dead), 51.2, 5 * std::sqrt(51.2));
  EXPECT_EQ(stopped, 29);  // lattice points within a radius of 3
  EXPECT_NE(mask(16, 16) & model::pixel_mask::kUser, 0U);
  EXPECT_TRUE(stream(small()).simulation->acquisition().detector.pixel_mask.empty());
}

TEST(Simulate, SaturationCutsAndIsRecorded) {
  const auto s = stream(small({{"saturation", 100.0}}));
  double highest = 0;
  for (const auto& frame : s.frames)
    for (const double v : frame) highest = std::max(highest, v);
  EXPECT_EQ(highest, 100);
  EXPECT_EQ(s.simulation->acquisition().detector.saturation_counts, 100);
  EXPECT_EQ(stream(small()).simulation->acquisition().detector.saturation_counts, 65535);
  EXPECT_FALSE(stream(small({{"dtype", std::string("f32")}})).simulation->acquisition().detector.saturation_counts);
}

TEST(Simulate, ModesAreOrthogonalWithTheirPowers) {
  SimulateOptions o =
      make_simulate_options({{"modes", std::int64_t{6}}, {"mode-powers", std::vector<double>{32, 16, 8, 4, 2, 1}}});
  const auto probe = simulated_probe(o, 1.4e-10, 28e-9, 1);
  for (Index a = 0; a < 6; ++a)
    for (Index b = 0; b <= a; ++b) {
      cdouble inner = 0;
      for (Index i = 0; i < probe[a].size(); ++i)
        inner += math::conj_mul(cdouble(probe[a].data()[i]), cdouble(probe[b].data()[i]));
      const double power_a = o.photons * std::ldexp(1.0 / 63, static_cast<int>(5 - a)),
                   power_b = o.photons * std::ldexp(1.0 / 63, static_cast<int>(5 - b));
      EXPECT_NEAR(std::abs(inner - (a == b ? power_a : 0)), 0, 1e-5 * std::sqrt(power_a * power_b)) << a << " " << b;
    }
}

TEST(Simulate, StartProbeIsWrongButOfTheSamePower) {
  const auto s = stream(small({{"modes", std::int64_t{2}}}));
  const auto truth = s.truth.find("probe")->data.view<const cfloat, 3>();
  const auto& start_array = s.simulation->acquisition().inputs.at("probe");
  const auto start = start_array.view<const cfloat, 3>();
  double power = 0, difference = 0;
  for (Index i = 0; i < truth.size(); ++i) {
    power += static_cast<double>(std::norm(start.data()[i]));
    difference += static_cast<double>(std::norm(start.data()[i] - truth.data()[i]));
  }
  EXPECT_NEAR(power, 5e4, 5);
  EXPECT_GT(difference, 0.05 * power);
  EXPECT_EQ(stream(small({{"start-probe", std::string("none")}})).simulation->acquisition().inputs.count("probe"), 0U);
}

TEST(Simulate, WorksInBoundedMemory) {
  core::ThreadPool pool(1);
  core::ManualClock clock;
  const auto simulation = make_simulation(small({{"patterns", std::int64_t{300}}}), {&pool, nullptr, &clock, 0, 0});
  std::size_t largest = 0, total = 0;
  const void* buffer = nullptr;
  while (simulation->next({}, [&](const model::FrameBatch& batch) {
    if (buffer == nullptr) buffer = batch.frames[0].image.data;
    EXPECT_EQ(batch.frames[0].image.data, buffer);  // one buffer for the whole scan
    largest = std::max(largest, batch.frames.size());
    total += batch.frames.size();
  })) {}
  EXPECT_EQ(total, 300U);
  EXPECT_LE(largest, 16U);
}

TEST(Simulate, StopsWhenAsked) {
  core::ThreadPool pool(1);
  core::ManualClock clock;
  const auto simulation = make_simulation(small(), {&pool, nullptr, &clock, 0, 0});
  std::stop_source stop;
  stop.request_stop();
  EXPECT_FALSE(simulation->next(stop.get_token(), [](const model::FrameBatch&) { FAIL(); }));
}

TEST(SimulateScan, PathsHaveTheirDensityAndStayOnTheObject) {
  for (const char* path : {"jittered-raster", "raster", "spiral"}) {
    const auto o =
        make_simulate_options({{"scan", std::string(path)}, {"patterns", std::int64_t{400}}, {"step", 10.0}});
    const auto scan = plan_scan(o, 3);
    ASSERT_EQ(scan.truth.size(), 400U);
    double high_y = 0, high_x = 0;
    for (const auto& p : scan.truth) {
      EXPECT_GE(std::min(p.y, p.x), 2);
      EXPECT_LE(std::floor(p.y) + 128, static_cast<double>(scan.object_ny - 2));
      EXPECT_LE(std::floor(p.x) + 128, static_cast<double>(scan.object_nx - 2));
      high_y = std::max(high_y, p.y);
      high_x = std::max(high_x, p.x);
    }
    // 400 points of 100 px^2 each: a square of 190 px between points, or a disc of radius 112.8 px.
    const double expected = o.scan == ScanPath::spiral ? 2 * 10 * std::sqrt(400 / kPi) : 190;
    EXPECT_NEAR(high_y - 2, expected, 8) << path;
    EXPECT_NEAR(high_x - 2, expected, 8) << path;
  }
}

TEST(SimulateScan, DriftAndErrorAreNotRecorded) {
  const auto o = make_simulate_options({{"drift", 12.0}, {"position-error", 0.5}});
  const auto scan = plan_scan(o, 5);
  const auto& first = scan.truth.front();
  double error2 = 0;
  const double dy = scan.truth.back().y - scan.recorded.back().y, dx = scan.truth.back().x - scan.recorded.back().x;
  EXPECT_NEAR(std::hypot(dy, dx), 12, 5 * 0.5);
  EXPECT_NEAR(first.y, scan.recorded.front().y, 5 * 0.5);
  for (std::size_t j = 0; j < scan.truth.size(); ++j) {
    const double along = static_cast<double>(j) / static_cast<double>(scan.truth.size() - 1);
    error2 += std::pow(scan.truth[j].y - scan.recorded[j].y - along * dy, 2);
  }
  // RMS of 1800 draws; the line through the noisy last point adds up to 0.5^2 (its own error).
  const double rms = std::sqrt(error2 / static_cast<double>(scan.truth.size()));
  EXPECT_GT(rms, 0.45);
  EXPECT_LT(rms, 1.1);
}

TEST(SimulateOptions, SetGivesDefaultsAndGivenValuesWin) {
  const auto o = make_simulate_options({{"set", std::string("coins-16k")}, {"patterns", std::int64_t{10}}});
  EXPECT_EQ(o.phantom, Phantom::coins);
  EXPECT_EQ(o.patterns, 10);
  EXPECT_EQ(make_simulate_options({{"set", std::string("siemens-star-32k")}}).shape, 256);
  EXPECT_EQ(make_simulate_options({{"set", std::string("catalyst")}}).patterns, 1800);
}

TEST(SimulateOptions, RefusesContradictions) {
  const auto message = [](const OptionValues& v) -> std::string {
    try {
      stream(v);
    } catch (const core::Error& e) {
      return e.what();
    }
    return "accepted";
  };
  EXPECT_NE(
      message(small({{"modes", std::int64_t{2}}, {"mode-powers", std::vector<double>{1, 2, 3}}})).find("3 mode powers"),
      std::string::npos);
  EXPECT_NE(message(small({{"object-size", std::int64_t{40}}})).find("object size 40 px must be >="),
            std::string::npos);
  EXPECT_NE(message(small({{"step", 4000.0}, {"patterns", std::int64_t{1000}}})).find("smaller step"),
            std::string::npos);
  EXPECT_NE(message(small({{"phantm", true}})).find("did you mean phantom"), std::string::npos);
}

}  // namespace
}  // namespace farfield::techniques::ptychography
