#include "farfield/techniques/xpcs/rebin.hpp"

#include <gtest/gtest.h>

#include "farfield/core/error.hpp"
#include "farfield/techniques/xpcs/result.hpp"
#include "farfield/techniques/xpcs/scan_testing.hpp"

namespace farfield::techniques::xpcs {
namespace {

using testing::Analysis;
using testing::Dice;
using testing::random_map;
using testing::random_scan;

model::Product as_product(const QMap& map) {
  model::Product p;
  for (auto& [name, array] : to_inputs(map)) p.datasets.push_back({name, array});
  return p;
}

TEST(Rebin, AnotherMapGivesWhatTheFramesWouldHaveGiven) {
  auto scan = random_scan(31, 150, 1);
  Dice dice(31);
  const QMap other = random_map(dice, 20, 30, 8, 4);
  // Measured with a map that has all pixels.
  for (Index i = 0; i < 600; ++i) {
    scan.map.dynamic_roi_map.data()[i] = 1;
    scan.map.static_roi_map.data()[i] = static_cast<std::uint32_t>(i % 7 + 1);
  }
  CorrelateOptions options;
  options.keep_pixels = true;
  const auto rebinned = rebin(Analysis(scan).run(options), as_product(other));
  scan.map = qmap_from([&] {
    model::Acquisition a;
    a.inputs = to_inputs(other);
    return a;
  }());
  const auto measured = Analysis(scan).run(CorrelateOptions{});
  for (const char* name : {result::kG2, result::kG2Error}) {
    const auto a = rebinned.find(name)->data.to<double, 2>(), b = measured.find(name)->data.to<double, 2>();
    // Pixels are kept as floats, 6e-8 each.
    EXPECT_LT(testing::largest_difference(a, b), 1e-6) << name;
  }
  const auto a = rebinned.find(result::kSaxs1d)->data.to<double, 1>(),
             b = measured.find(result::kSaxs1d)->data.to<double, 1>();
  for (Index s = 0; s < b.size(); ++s) EXPECT_NEAR(a(s), b(s), 1e-12 * (1 + b(s)));
  EXPECT_EQ(rebinned.metrics.at("pixels_not_measured"), 0);
}

TEST(Rebin, PixelsThatWereNotMeasuredAreCountedAndLeftOut) {
  const auto scan = random_scan(32, 60, 1);
  CorrelateOptions options;
  options.keep_pixels = true;
  QMap all;
  all.dynamic_roi_map = core::Array<std::uint32_t, 2>({20, 30}, 1);
  all.static_roi_map = core::Array<std::uint32_t, 2>({20, 30}, 1);
  const auto kept = Analysis(scan).run(options);
  const auto rebinned = rebin(kept, as_product(all));
  EXPECT_EQ(rebinned.metrics.at("pixels") + rebinned.metrics.at("pixels_not_measured"), 600);
  EXPECT_EQ(rebinned.metrics.at("pixels"), kept.metrics.at("pixels"));
}

TEST(Rebin, RefusesWhatCannotBe) {
  const auto scan = random_scan(33, 30, 1);
  const auto without = Analysis(scan).run(CorrelateOptions{});
  EXPECT_THROW(rebin(without, without), core::Error) << "no pixels kept";
  CorrelateOptions options;
  options.keep_pixels = true;
  const auto kept = Analysis(scan).run(options);
  EXPECT_THROW(rebin(kept, model::Product{}), core::Error) << "no map";
  QMap small;
  small.dynamic_roi_map = core::Array<std::uint32_t, 2>({3, 3}, 1);
  small.static_roi_map = core::Array<std::uint32_t, 2>({3, 3}, 1);
  EXPECT_THROW(rebin(kept, as_product(small)), core::Error) << "another shape";
}

}  // namespace
}  // namespace farfield::techniques::xpcs
