#include <gtest/gtest.h>

#include <cmath>

#include "farfield/math/random.hpp"
#include "farfield/technique/conformance.hpp"
#include "farfield/techniques/statistics/kernels.hpp"
#include "farfield/techniques/statistics/options.hpp"
#include "farfield/techniques/statistics/simulate.hpp"
#include "farfield/techniques/statistics/technique.hpp"

namespace farfield::techniques::statistics {
namespace {

using core::Array;
using core::Index;

/// Every frame through the technique, one thread.
model::Product analyse(const core::OptionValues& options, const model::Acquisition& acquisition,
                       const std::vector<model::FrameView>& frames, technique::Observer& observer, int threads = 1) {
  core::ThreadPool pool(threads);
  core::ManualClock clock;
  const auto mean = info().find("mean")->analyse(options, {&pool, nullptr, &clock, 0, 0});
  mean->begin(acquisition);
  mean->push(frames);
  mean->end_of_scan();
  EXPECT_EQ(mean->step({}, observer), technique::StepState::finished);
  return mean->finish(observer);
}

model::Acquisition acquisition_of(Index ny, Index nx) {
  model::Acquisition a;
  a.detector.ny = ny;
  a.detector.nx = nx;
  return a;
}

template <class T>
class StatisticsKernels : public testing::Test {};
using PixelTypes = testing::Types<std::uint8_t, std::uint16_t, std::uint32_t, std::uint64_t, std::int8_t, std::int16_t,
                                  std::int32_t, std::int64_t, float, double>;
TYPED_TEST_SUITE(StatisticsKernels, PixelTypes);

TYPED_TEST(StatisticsKernels, AgreeWithTheReferenceOnStridedImages) {
  constexpr Index kFrames = 5, kNy = 3, kNx = 19, kStride = 23;
  Array<double, 2> mean({kNy, kNx}), m2({kNy, kNx}), mean_reference({kNy, kNx}), m2_reference({kNy, kNx});
  math::Random random(7);
  for (Index f = 1; f <= kFrames; ++f) {
    Array<TypeParam, 2> stored({kNy, kStride});
    for (auto& v : stored) v = static_cast<TypeParam>(random.below(120));
    const auto image = core::AnyImage::of<TypeParam>(stored.view().window({0, 2}, {kNy, kNx}));
    add_frame(image, f, mean, m2);
    add_frame_reference(image, f, mean_reference, m2_reference);
  }
  // Contraction to FMA and 1/n instead of /n change the last bits only: a few ulp per frame of numbers below 120.
  for (Index i = 0; i < mean.size(); ++i) {
    EXPECT_NEAR(mean.data()[i], mean_reference.data()[i], 120 * kFrames * 2.3e-16);
    EXPECT_NEAR(m2.data()[i], m2_reference.data()[i], 120 * 120 * kFrames * kFrames * 2.3e-16);
  }
}

TEST(StatisticsFinite, SeesOneBadPixelUnlessItIsMasked) {
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    Array<float, 2> image({4, 9}, 1.0F);
    Array<std::uint8_t, 2> valid({4, 9}, 1);
    const auto view = core::AnyImage::of<float>(image.view());
    EXPECT_TRUE(all_finite(view, valid));
    image(2, 5) = bad;
    EXPECT_FALSE(all_finite(view, valid));
    EXPECT_FALSE(all_finite_reference(view, valid));
    valid(2, 5) = 0;
    EXPECT_TRUE(all_finite(view, valid));
    EXPECT_TRUE(all_finite_reference(view, valid));
  }
}

TEST(Statistics, KnownMeanAndVariance) {
  Array<std::uint16_t, 3> stack({4, 1, 2});
  const std::uint16_t samples[4][2] = {{2, 65535}, {4, 65533}, {4, 65535}, {6, 65533}};
  std::vector<model::FrameView> frames;
  for (Index f = 0; f < 4; ++f) {
    for (Index x = 0; x < 2; ++x) stack(f, 0, x) = samples[f][x];
    frames.push_back({f, core::AnyImage::of<std::uint16_t>(stack[f])});
  }
  technique::Observer observer;
  const auto product = analyse({}, acquisition_of(1, 2), frames, observer);
  const auto mean = product.find("mean")->data.view<double, 2>(),
             variance = product.find("variance")->data.view<double, 2>();
  // Sums of small integers divided by powers of two: exact.
  EXPECT_EQ(mean(0, 0), 4);
  EXPECT_EQ(mean(0, 1), 65534);
  EXPECT_NEAR(variance(0, 0), 8.0 / 3, 1e-15);
  EXPECT_NEAR(variance(0, 1), 4.0 / 3, 1e-15);
  EXPECT_EQ(product.metrics.at("frames"), 4);
  const auto biased = analyse({{"ddof", std::int64_t{0}}}, acquisition_of(1, 2), frames, observer);
  EXPECT_NEAR((biased.find("variance")->data.view<double, 2>()(0, 0)), 2.0, 1e-15);
}

TEST(Statistics, ALargeOffsetDoesNotSwampTheVariance) {
  // sum(x^2) - n mean^2 loses every digit here; the running form loses none that matters.
  Array<double, 3> stack({1000, 1, 1});
  std::vector<model::FrameView> frames;
  for (Index f = 0; f < 1000; ++f) {
    stack(f, 0, 0) = 1e9 + static_cast<double>(f % 2);
    frames.push_back({f, core::AnyImage::of<double>(stack[f])});
  }
  technique::Observer observer;
  const auto product = analyse({{"ddof", std::int64_t{0}}}, acquisition_of(1, 1), frames, observer);
  EXPECT_NEAR((product.find("variance")->data.view<double, 2>()(0, 0)), 0.25, 1e-6);
}

TEST(Statistics, BadFramesAreRejectedWithTheReasonAndLeaveNoTrace) {
  struct Recorder final : technique::Observer {
    void rejected(model::FrameId id, const std::string& reason) override { reasons[id] = reason; }
    std::map<model::FrameId, std::string> reasons;
  } observer;
  Array<float, 3> stack({3, 2, 2}, 5.0F);
  stack(1, 0, 1) = NAN;
  Array<float, 2> small({1, 2});
  const auto product = analyse({}, acquisition_of(2, 2),
                               {{0, core::AnyImage::of<float>(stack[0])},
                                {1, core::AnyImage::of<float>(stack[1])},
                                {2, core::AnyImage::of<float>(small.view())},
                                {3, core::AnyImage::of<float>(stack[2])}},
                               observer);
  EXPECT_EQ(product.metrics.at("frames"), 2);
  EXPECT_EQ(product.metrics.at("mean_counts"), 5);
  ASSERT_EQ(observer.reasons.size(), 2U);
  EXPECT_EQ(observer.reasons[1], "a pixel that is not masked is not finite");
  EXPECT_EQ(observer.reasons[2], "1 x 2 pixels instead of 2 x 2");
}

TEST(Statistics, FindsTheMeanOfItsSimulation) {
  constexpr Index kFrames = 400;
  const auto simulation = make_simulation({.frames = kFrames, .shape = 24, .mean_counts = 30, .dead_pixels = 7}, 3);
  std::vector<core::AnyArray> kept;
  std::vector<model::FrameView> frames;
  while (simulation->next({}, [&](const model::FrameBatch& batch) {
    for (const auto& frame : batch.frames) {
      kept.emplace_back(frame.image.view<std::uint16_t>());
      frames.push_back({frame.id, {core::DType::u16, kept.back().data(), 24, 24, 24}});
    }
  })) {}
  ASSERT_EQ(frames.size(), static_cast<std::size_t>(kFrames));
  technique::Observer observer;
  const auto product = analyse({}, simulation->acquisition(), frames, observer, 2);
  const auto truth = simulation->truth();
  const auto expected = truth.find("mean")->data.view<double, 2>(), mean = product.find("mean")->data.view<double, 2>();
  Index masked = 0;
  double chi2 = 0;
  for (Index y = 0; y < 24; ++y)
    for (Index x = 0; x < 24; ++x) {
      if (std::isnan(mean(y, x))) {
        ++masked;
        continue;
      }
      const double d = mean(y, x) - expected(y, x);
      chi2 += d * d * kFrames / expected(y, x);
    }
  EXPECT_EQ(masked, 7);
  // chi^2 of 569 degrees of freedom: mean 569, standard deviation 34; five of them on either side.
  EXPECT_NEAR(chi2, 24 * 24 - 7, 5 * 34);
  // Poisson: the variance is the mean. The mean of 569 sample variances of 400 frames: sigma = v sqrt(2/400/569) = 0.3
  // %.
  EXPECT_NEAR(product.metrics.at("mean_variance") / product.metrics.at("mean_counts"), 1, 0.015);
}

TEST(Statistics, NamesTheShapeOfAMaskThatHidesEverything) {
  auto acquisition = acquisition_of(3, 5);
  acquisition.detector.pixel_mask = Array<std::uint32_t, 2>({3, 5}, 1);
  technique::Observer observer;
  try {
    analyse({}, acquisition, {}, observer);
    FAIL() << "no error";
  } catch (const core::Error& e) {
    EXPECT_EQ(e.code(), core::ErrorCode::corrupt_data);
    EXPECT_EQ(e.message(), "the pixel mask hides all 3 x 5 pixels; at least one must be good");
  }
}

TEST(Statistics, PassesTheConformanceSuite) {
  technique::ConformanceCase test;
  test.verb = info().find("mean");
  test.open = [] { return make_simulation({.frames = 37, .shape = 9, .mean_counts = 4, .dead_pixels = 3}, 11); };
  // Running means in another order of frames: rounding of 37 updates, 37 ulp at most.
  test.order_tolerance = 37 * 2.3e-16;
  const auto violations = technique::check_conformance(test);
  EXPECT_TRUE(violations.empty()) << technique::to_text(violations);
}

}  // namespace
}  // namespace farfield::techniques::statistics
