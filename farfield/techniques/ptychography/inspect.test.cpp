#include "farfield/techniques/ptychography/inspect.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "farfield/math/random.hpp"
#include "farfield/technique/conformance.hpp"
#include "farfield/techniques/ptychography/inspect_scan.hpp"
#include "farfield/techniques/ptychography/simulate.hpp"

namespace farfield::techniques::ptychography {
namespace {

using core::Array;
using core::Index;
using core::OptionValues;

OptionValues scan_options(const OptionValues& more = {}) {
  OptionValues v{{"patterns", std::int64_t{36}},
                 {"shape", std::int64_t{64}},
                 {"probe", std::string("gaussian")},
                 {"probe-size", 10.0},
                 {"step", 5.0},
                 {"photons", 1e6},
                 {"dtype", std::string("f32")}};
  for (const auto& [name, value] : more) v[name] = value;
  return v;
}

struct Listener final : technique::Observer {
  void rejected(model::FrameId id, const std::string& reason) override { refused.emplace_back(id, reason); }
  void warning(const std::string& message) override { warnings.push_back(message); }
  std::vector<std::pair<model::FrameId, std::string>> refused;
  std::vector<std::string> warnings;
};

/// A simulated scan that a test may spoil before it is inspected.
struct Scan {
  model::Acquisition acquisition;
  std::vector<Array<float, 2>> frames;
  std::vector<model::Values> values;

  explicit Scan(const OptionValues& options = scan_options()) {
    core::ThreadPool pool(1);
    core::ManualClock clock;
    const auto source = make_simulation(options, {&pool, nullptr, &clock, 3, 0});
    acquisition = source->acquisition().clone();
    while (source->next({}, [&](const model::FrameBatch& batch) {
      for (const auto& f : batch.frames) {
        auto& copy = frames.emplace_back(std::array<Index, 2>{f.image.ny, f.image.nx});
        const auto image = f.image.view<float>();
        std::copy(image.begin(), image.end(), copy.begin());
      }
      for (const auto& [id, v] : batch.values) values.push_back(v);
    })) {}
  }

  model::Product inspect(Listener& listener, const OptionValues& options = {}) const {
    core::ThreadPool pool(1);
    core::ManualClock clock;
    const auto technique = inspect_verb().analyse(options, {&pool, nullptr, &clock, 0, 0});
    technique->begin(acquisition);
    for (std::size_t j = 0; j < frames.size(); ++j) {
      const model::FrameView view{static_cast<Index>(j), core::AnyImage::of<float>(frames[j].view())};
      technique->push(std::span(&view, 1));
    }
    for (std::size_t j = 0; j < values.size(); ++j) technique->annotate(static_cast<Index>(j), values[j]);
    technique->end_of_scan();
    EXPECT_EQ(technique->step({}, listener), technique::StepState::finished);
    return technique->finish(listener);
  }

  /// The warnings, one a line.
  std::string warnings(const OptionValues& options = {}) const {
    Listener listener;
    const auto product = inspect(listener, options);
    std::string lines;
    for (const auto& w : listener.warnings) lines += w + "\n";
    EXPECT_EQ(product.metrics.at("warnings"), static_cast<double>(listener.warnings.size()));
    return lines;
  }
};

TEST(Inspect, AGoodScanHasNoWarningAndTheRightNumbers) {
  const Scan scan;
  Listener listener;
  const auto product = scan.inspect(listener);
  for (const auto& w : listener.warnings) ADD_FAILURE() << w;
  const auto& m = product.metrics;
  const double dx = model::kHcEvM / 8800 * 1.92 / (64 * 75e-6);
  EXPECT_EQ(m.at("frames"), 36);
  EXPECT_NEAR(m.at("object_pixel_size_y_m"), dx, 1e-12 * dx);
  // The star takes at most 1 - 0.96^2 = 8 % of the photons; counting noise is 0.1 %.
  EXPECT_GT(m.at("counts_per_pattern"), 0.91e6);
  EXPECT_LE(m.at("counts_per_pattern"), 1.005e6);
  EXPECT_NEAR(m.at("counts_per_pixel"), m.at("counts_per_pattern") / 4096, 1e-9);
  double peak = 0;
  for (const auto& f : scan.frames) peak = std::max(peak, static_cast<double>(*std::max_element(f.begin(), f.end())));
  EXPECT_EQ(m.at("peak_counts"), peak);
  // The start probe is the true one with its spectrum narrowed: wider than 4 FWHM / 2.3548 = 17 px.
  EXPECT_GT(m.at("probe_diameter_px"), 16.9);
  EXPECT_LT(m.at("probe_diameter_px"), 35);
  EXPECT_NEAR(m.at("overlap_linear"), 1 - m.at("step_px") / m.at("probe_diameter_px"), 1e-12);
  EXPECT_NEAR(m.at("oversampling"), 64 / m.at("probe_diameter_px"), 1e-12);
  EXPECT_NEAR(m.at("object_nx"), 64 + std::ceil(m.at("field_of_view_x_m") / dx - 1e-9), 1e-9);
  const double area = (m.at("field_of_view_y_m") + m.at("probe_diameter_px") * dx) *
                      (m.at("field_of_view_x_m") + m.at("probe_diameter_px") * dx);
  EXPECT_NEAR(m.at("counts_per_um2"), 36 * m.at("counts_per_pattern") / (area * 1e12),
              0.05 * m.at("counts_per_um2"));  // median for mean
  EXPECT_LT(std::abs(m.at("centre_of_mass_y_px")), 1);

  double in_histogram = 0;
  for (const double n : product.find("counts_histogram")->data.view<const double, 1>()) in_histogram += n;
  EXPECT_EQ(in_histogram, 36 * 4096);
  const auto mean = product.find("mean_pattern")->data.view<const float, 2>();
  double expected = 0;
  for (const auto& f : scan.frames) expected += static_cast<double>(f(30, 33)) / 36;
  EXPECT_NEAR(mean(30, 33), expected, 1e-6 * expected);
  const auto positions = product.find("positions")->data.view<const double, 2>();
  EXPECT_NEAR(positions(7, 1), scan.values[7].at("x_m") / dx, 1e-9);
}

void expect_warning(const Scan& scan, const std::string& words, const OptionValues& options = {}) {
  const auto lines = scan.warnings(options);
  EXPECT_NE(lines.find(words), std::string::npos) << "no \"" << words << "\" in: " << lines;
}

TEST(Inspect, WarnsOfDeadAndHotPixels) {
  Scan scan;
  for (auto& f : scan.frames) f(32, 30) = 0;
  expect_warning(scan, "1 pixels that are not masked never count although their neighbours do, the first at (32, 30)");
  Scan hot;
  for (auto& f : hot.frames) f(3, 60) = 500;
  expect_warning(hot, "the first at (3, 60): mask hot pixels");
  hot.acquisition.detector.pixel_mask = Array<std::uint32_t, 2>({64, 64});
  hot.acquisition.detector.pixel_mask(3, 60) = model::pixel_mask::kNoisy;
  EXPECT_EQ(hot.warnings(), "");
}

TEST(Inspect, WarnsOfSaturation) {
  Scan scan;
  scan.acquisition.detector.saturation_counts = 2000;
  expect_warning(scan, "patterns hold saturated pixels (at or above 2000 counts)");
}

TEST(Inspect, RefusesPatternsThatCannotBeUsed) {
  Scan scan;
  scan.frames[2](5, 6) = std::numeric_limits<float>::quiet_NaN();
  scan.frames[4](0, 1) = -2;
  scan.frames[9] = Array<float, 2>({64, 32});
  Listener listener;
  const auto product = scan.inspect(listener);
  EXPECT_EQ(product.metrics.at("refused_frames"), 3);
  EXPECT_EQ(product.metrics.at("frames"), 33);
  ASSERT_EQ(listener.refused.size(), 3U);
  EXPECT_NE(listener.refused[0].second.find("nan at (5, 6) is not finite"), std::string::npos);
  EXPECT_NE(listener.refused[1].second.find("negative counts, -2 at (0, 1)"), std::string::npos);
  EXPECT_NE(listener.refused[2].second.find("64 x 32 pixels instead of 64 x 64"), std::string::npos);
  expect_warning(scan, "3 patterns cannot be used");
}

TEST(Inspect, WarnsOfZeroFrequencyElsewhere) {
  Scan scan;
  scan.acquisition.detector.dc = model::DcLocation::corner;
  expect_warning(scan,
                 "% of the counts lie around the centre of the patterns, zero frequency is said to be in the corner: "
                 "try --dc centre");
  EXPECT_EQ(scan.warnings({{"dc", std::string("centre")}}), "");
  Scan shifted;
  for (auto& f : shifted.frames) std::rotate(f.begin(), f.begin() + 8, f.end());
  expect_warning(shifted, "the counts are centred (");
}

TEST(Inspect, WarnsOfUnitSlips) {
  Scan scan;
  for (auto& v : scan.values)
    for (auto& [name, value] : v) value *= 1e6;  // micrometres written as metres
  expect_warning(scan, "they do not overlap; object would be");
  const auto lines = scan.warnings();
  EXPECT_NE(lines.find(" m wide: check the unit of the positions"), std::string::npos) << lines;
  for (auto& v : scan.values)
    for (auto& [name, value] : v) value *= 1e-9;
  expect_warning(scan, "px: check their unit");
}

TEST(Inspect, WarnsOfPositions) {
  Scan equal;
  for (auto& v : equal.values) v = equal.values[0];
  expect_warning(equal, "all 36 positions are equal");

  Scan twice;
  twice.values[5] = twice.values[20];
  expect_warning(twice, "2 patterns share their position with another one: 5, 20");

  Scan fewer;
  fewer.values.resize(30);
  fewer.values[3]["y_m"] = INFINITY;
  expect_warning(fewer, "7 of 36 patterns have no position");
  expect_warning(fewer, "1 positions are not finite");

  Scan more;
  more.values.push_back({{"y_m", 0.0}, {"x_m", 0.0}});
  expect_warning(more, "1 positions have no pattern");

  Scan missing;
  missing.acquisition.scan.expected_frames = 40;
  expect_warning(missing, "4 of 40 expected patterns did not come");
}

TEST(Inspect, WarnsOfGeometryThatIsMissing) {
  Scan scan;
  scan.acquisition.detector.distance_m.reset();
  expect_warning(scan, "give --energy, --distance, --detector-pixel");
  EXPECT_EQ(scan.warnings({{"distance", 1.92}}), "");
}

TEST(Inspect, WarnsOfOverlapAndSampling) {
  expect_warning(Scan(scan_options({{"step", 25.0}})), "about 60 % are recommended");
  expect_warning(Scan(scan_options({{"start-probe", std::string("none")}})), "give --probe-diameter");
  EXPECT_EQ(Scan(scan_options({{"start-probe", std::string("none")}})).warnings({{"probe-diameter", 20.0}}), "");
  expect_warning(Scan(), "patterns are not sampled finely enough", {{"probe-diameter", 60.0}});
}

TEST(Inspect, WarnsOfDarkPatterns) {
  Scan scan;
  scan.frames[7].fill(0);
  scan.frames[8].fill(0);
  expect_warning(scan, "2 patterns have less than a tenth of the median counts (shutter, beam dump?): 7, 8");
  for (auto& f : scan.frames) f.fill(0);
  expect_warning(scan, "the patterns are empty");
}

TEST(Inspect, RefusesAScanWithoutPatterns) {
  Scan scan;
  scan.frames.clear();
  Listener listener;
  EXPECT_THROW(scan.inspect(listener), core::Error);
  Scan blind;
  blind.acquisition.detector.pixel_mask = Array<std::uint32_t, 2>({64, 64}, model::pixel_mask::kDead);
  EXPECT_THROW(blind.inspect(listener), core::Error);
}

TEST(Inspect, KeepsTheContract) {
  const auto verb = inspect_verb();
  core::ThreadPool pool(1);
  core::ManualClock clock;
  technique::ConformanceCase test;
  test.verb = &verb;
  test.open = [&] {
    return make_simulation(scan_options({{"patterns", std::int64_t{9}}}), {&pool, nullptr, &clock, 3, 0});
  };
  test.order_tolerance = 1e-6;  // sums of counts are exact; the mean is rounded to single precision
  const auto violations = technique::check_conformance(test);
  EXPECT_TRUE(violations.empty()) << technique::to_text(violations);
}

TEST(InspectScan, NearestNeighboursEqualTryingThemAll) {
  math::Random random(2);
  std::vector<Position> points;
  for (int i = 0; i < 200; ++i) points.push_back({random.uniform(0, 10), random.uniform(0, 10)});
  points.push_back(points[17]);
  for (int i = 0; i < 20; ++i) points.push_back({5, 0.4 * i});  // a row of equal y
  const auto nearest = nearest_neighbours(points);
  for (std::size_t i = 0; i < points.size(); ++i) {
    double best = INFINITY;
    for (std::size_t k = 0; k < points.size(); ++k)
      if (k != i) best = std::min(best, std::hypot(points[i].y - points[k].y, points[i].x - points[k].x));
    EXPECT_EQ(nearest[i], best);
  }
  EXPECT_TRUE(std::isinf(nearest_neighbours({{1, 1}})[0]));
}

TEST(InspectScan, OverlapOfDiscs) {
  EXPECT_EQ(disc_overlap(0, 10).linear, 1);
  EXPECT_NEAR(disc_overlap(0, 10).area, 1, 1e-12);
  EXPECT_NEAR(disc_overlap(10, 10).area, 0, 1e-12);
  EXPECT_EQ(disc_overlap(15, 10).linear, -0.5);
  EXPECT_EQ(disc_overlap(15, 10).area, 0);
  // The lens of two circles whose centres lie on each other's rim: 2/3 - sqrt(3) / (2 pi).
  EXPECT_NEAR(disc_overlap(5, 10).area, 2.0 / 3 - std::sqrt(3.0) / (2 * M_PI), 1e-12);
}

}  // namespace
}  // namespace farfield::techniques::ptychography
