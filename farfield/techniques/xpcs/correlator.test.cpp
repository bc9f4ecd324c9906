#include "farfield/techniques/xpcs/correlator.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>

#include "farfield/core/error.hpp"
#include "farfield/techniques/xpcs/correlate_reference.hpp"
#include "farfield/techniques/xpcs/testing.hpp"

namespace farfield::techniques::xpcs {
namespace {

using testing::Dice;
using testing::events_of;
using testing::largest_difference;
using testing::random_counts;
using testing::random_map;

struct Case {
  QMap map;
  LagScheme scheme;
  core::Array<double, 2> counts;  // (pixel, time); NaN: missing
};

/// Feeds `counts` in blocks of the given lengths (again and again), the rest not absorbed.
struct Feed {
  Feed(const Case& c, std::vector<Index> blocks, int threads, Index window = 1000)
      : pool(threads), tiling(make_tiling(c.map, {})), correlator(tiling, c.scheme, window, 0, tiling.tiles()) {
    Index t = 0;
    const Index frames = c.counts.extent(1);
    for (std::size_t b = 0; t < frames; ++b) {
      const Index steps = std::min(blocks[b % blocks.size()], frames - t);
      auto block = make_block(c, t, steps);
      t += steps;
      if (t == frames) {
        rest = std::move(block);
      } else {
        correlator.absorb(block, pool);
      }
    }
  }
  EventBlock make_block(const Case& c, Index from, Index steps) {
    EventBlock block;
    block.steps = steps;
    std::vector<std::vector<model::PixelCount>> events;
    std::vector<StepFrame> frames;
    for (Index t = 0; t < steps; ++t) {
      const bool good = !std::isnan(c.counts(0, from + t));
      block.valid.push_back(good ? 1 : 0);
      events.push_back(good ? events_of(c.counts, from + t) : std::vector<model::PixelCount>{});
    }
    for (Index t = 0; t < steps; ++t)
      frames.push_back({static_cast<std::uint16_t>(t), 1, {events[static_cast<std::size_t>(t)], {}}, 0});
    const CountCorrection none;
    Binning how;
    how.tiling = &tiling;
    how.correction = &none;
    how.last_tile = tiling.tiles();
    block.parts = bin_frames(frames, how, pool);
    return block;
  }
  G2Table table() {
    sums = correlator.sums(rest, pool);
    return g2_of(sums, tiling.order, dynamic_bins());
  }
  Index dynamic_bins() const {
    return *std::max_element(tiling.order.dynamic_of.begin(), tiling.order.dynamic_of.end());
  }
  core::ThreadPool pool;
  Tiling tiling;
  Correlator correlator;
  EventBlock rest;
  BinSums sums;
};

void expect_reference(const Case& c, Feed& run, double tolerance = 1e-9) {
  const auto expected = correlate_reference(c.counts, c.map, c.scheme);
  const auto table = run.table();
  ASSERT_EQ(run.sums.lags.size(), expected.lags.size());
  const Index bins = run.dynamic_bins();
  for (Index i = 0; i < static_cast<Index>(expected.lags.size()); ++i) {
    EXPECT_EQ(run.sums.lags[static_cast<std::size_t>(i)].steps(), expected.lags[static_cast<std::size_t>(i)].steps());
    for (Index d = 0; d < bins; ++d) {
      const double g = expected.g2(i, d), e = expected.error(i, d);
      ASSERT_EQ(std::isnan(g), std::isnan(table.g2(i, d))) << "lag " << i << ", bin " << d + 1;
      if (std::isnan(g)) continue;
      ASSERT_NEAR(table.g2(i, d), g, tolerance * (1 + g)) << "lag " << i << ", bin " << d + 1;
      ASSERT_NEAR(table.error(i, d), e, tolerance * (10 + e) * 100) << "lag " << i << ", bin " << d + 1;
    }
  }
}

Case random_case(unsigned seed, bool gaps) {
  Dice dice(seed);
  Case c;
  const Index ny = dice.whole(1, 40), nx = dice.whole(1, 40), frames = dice.whole(1, 700);
  const Index dynamics = dice.whole(1, 4);
  c.map = random_map(dice, ny, nx, dice.whole(dynamics, 12), dynamics);
  c.scheme = dice.chance(0.2)   ? LagScheme::linear(dice.whole(1, 40))
             : dice.chance(0.3) ? LagScheme::multi_tau(Index{1} << dice.whole(0, 4), dice.whole(1, 400))
                                : LagScheme::multi_tau(Index{1} << dice.whole(0, 4));
  // From a photon in a thousand frames, all in lists, to several in each, all in rows.
  c.counts = random_counts(dice, ny * nx, frames, std::pow(10.0, dice.real() * 4 - 3));
  if (gaps)
    for (Index t = 0; t < frames; ++t)
      if (dice.chance(seed % 2 == 0 ? 0.02 : 0.4))
        for (Index p = 0; p < ny * nx; ++p) c.counts(p, t) = NAN;
  return c;
}

class RandomScans : public ::testing::TestWithParam<unsigned> {};

// Counts and their sums are whole numbers below 2^24 here: float and double hold them exactly, so only the last
// divisions round.
TEST_P(RandomScans, EqualTheDefinition) {
  const Case c = random_case(GetParam(), false);
  Dice dice(GetParam() + 1000);
  Feed run(c, {dice.whole(1, 300), dice.whole(1, 50), dice.whole(1, 9)}, 1);
  expect_reference(c, run);
}
TEST_P(RandomScans, EqualTheDefinitionAroundMissingFrames) {
  const Case c = random_case(GetParam(), true);
  Dice dice(GetParam() + 2000);
  Feed run(c, {dice.whole(1, 300), dice.whole(1, 50), dice.whole(1, 9)}, 1);
  expect_reference(c, run);
}
TEST_P(RandomScans, DoNotDependOnBlocksOrThreads) {
  const Case c = random_case(GetParam(), GetParam() % 3 == 0);
  Feed whole(c, {1 << 15}, 1), pieces(c, {7, 64, 33}, 3);
  const auto a = whole.table(), b = pieces.table();
  // Whole numbers add up to the same in any order.
  EXPECT_EQ(std::memcmp(a.g2.data(), b.g2.data(), static_cast<std::size_t>(a.g2.size()) * 8), 0);
  EXPECT_LT(largest_difference(a.error, b.error), 1e-12);
}
INSTANTIATE_TEST_SUITE_P(Seeds, RandomScans, ::testing::Range(0U, 60U));

TEST(Correlator, LargeCountsKeepTheirDigits) {
  // Dense detectors count thousands: products of level sums pass 2^24 by far, and vector lanes round. 1e-6 of g2 is
  // what the technique promises; the mean over pixels brings it well below.
  Dice dice(5);
  Case c;
  c.map = random_map(dice, 12, 12, 3, 1);
  c.scheme = LagScheme::multi_tau(4);
  c.counts = random_counts(dice, 144, 3000, 5000);
  Feed run(c, {1 << 14}, 2);
  expect_reference(c, run, 1e-7);
}

TEST(Correlator, TheFutureOfABlockIsAsIfAbsorbed) {
  const Case c = random_case(3, true);
  Feed run(c, {64}, 2);
  const auto ahead = run.correlator.sums(run.rest, run.pool);
  run.correlator.absorb(run.rest, run.pool);
  const auto after = run.correlator.sums({}, run.pool);
  ASSERT_EQ(ahead.sums.extents(), after.sums.extents());
  EXPECT_EQ(std::memcmp(ahead.sums.data(), after.sums.data(), static_cast<std::size_t>(after.sums.size()) * 8), 0);
  EXPECT_EQ(ahead.pairs, after.pairs);
  EXPECT_EQ(run.correlator.steps(), c.counts.extent(1));
}

TEST(Correlator, GoesOnFromACheckpoint) {
  const Case c = random_case(8, true);
  Feed run(c, {50}, 1), other(c, {1 << 15}, 1);
  std::vector<std::vector<std::byte>> blocks;
  run.correlator.save([&](std::span<const std::byte> b) { blocks.emplace_back(b.begin(), b.end()); });
  Correlator restored(run.tiling, c.scheme, 1000, 0, run.tiling.tiles());
  std::size_t at = 0;
  restored.restore([&] { return blocks.at(at++); });
  EXPECT_EQ(at, blocks.size());
  const auto a = run.correlator.sums(run.rest, run.pool), b = restored.sums(run.rest, run.pool);
  EXPECT_EQ(std::memcmp(a.sums.data(), b.sums.data(), static_cast<std::size_t>(a.sums.size()) * 8), 0);
  blocks[2].resize(3);
  at = 0;
  EXPECT_THROW(restored.restore([&] { return blocks.at(at++); }), core::Error);
}

TEST(Correlator, IntensitiesAddUp) {
  const Case c = random_case(11, false);
  const Index frames = c.counts.extent(1), window = 37;
  Feed run(c, {50, 13}, 2, window);
  run.table();
  core::Array<double, 2> expected({(frames - 1) / window + 1, run.tiling.order.static_bins()});
  for (Index p = 0; p < c.counts.extent(0); ++p) {
    double sum = 0;
    const auto s = c.map.static_roi_map.data()[p];
    for (Index t = 0; t < frames; ++t) {
      sum += c.counts(p, t);
      if (s > 0) expected(t / window, s - 1) += c.counts(p, t);
    }
    EXPECT_EQ(run.sums.pixel_intensity(run.tiling.slot[static_cast<std::size_t>(p)]), sum) << "pixel " << p;
  }
  EXPECT_EQ(largest_difference(run.sums.window_intensity, expected), 0);
}

TEST(Correlator, PixelsAreWhatTheBinsAreMadeOf) {
  const Case c = random_case(4, false);
  Feed run(c, {100}, 1);
  PixelCorrelations pixels;
  const auto sums = run.correlator.sums(run.rest, run.pool, &pixels);
  const auto reference = correlate_reference(c.counts, c.map, c.scheme);
  ASSERT_EQ(pixels.g2.extent(0), static_cast<Index>(reference.lags.size()));
  for (Index i = 0; i < pixels.g2.extent(0); ++i) {
    const Lag lag = sums.lags[static_cast<std::size_t>(i)];
    const auto pairs = static_cast<double>(sums.pairs[static_cast<std::size_t>(i)]);
    for (Index s = 0; s < run.tiling.order.static_bins(); ++s) {
      double g2 = 0, past = 0;
      for (Index slot = run.tiling.order.first_slot[static_cast<std::size_t>(s)];
           slot < run.tiling.order.first_slot[static_cast<std::size_t>(s) + 1]; ++slot) {
        g2 += static_cast<double>(pixels.g2(i, slot));
        past += static_cast<double>(pixels.past(i, slot));
      }
      const double step = std::ldexp(1.0, static_cast<int>(lag.level));
      // Floats hold 2^-24 of each of at most 1600 pixels.
      EXPECT_NEAR(g2 * pairs * step * step, sums.sums(i, s, BinSums::kG2), 1e-6 * (1 + sums.sums(i, s, BinSums::kG2)));
      EXPECT_NEAR(past * pairs * step, sums.sums(i, s, BinSums::kPast), 1e-6 * (1 + sums.sums(i, s, BinSums::kPast)));
    }
  }
}

TEST(Lags, FollowTheScheme) {
  const auto lags = lags_of(LagScheme::multi_tau(4), 5000);
  ASSERT_EQ(lags.size(), 44U);
  EXPECT_EQ(lags[7].steps(), 8);
  EXPECT_EQ(lags[8].steps(), 10);
  EXPECT_EQ(lags[11].steps(), 16);
  EXPECT_EQ(lags.back().steps(), 4096);
  EXPECT_EQ(lags_of(LagScheme::multi_tau(4), 2000).back().steps(), 1536);
  EXPECT_EQ(lags_of(LagScheme::multi_tau(4), 1).size(), 0U);
  EXPECT_EQ(lags_of(LagScheme::multi_tau(4, 20), 5000).back().steps(), 20);
  EXPECT_EQ(lags_of(LagScheme::linear(30), 12).size(), 11U);
  for (Index dpl : {1, 2, 8, 64})
    for (Index frames : {2, 17, 1000}) {
      Index last = 0;
      for (const Lag& lag : lags_of(LagScheme::multi_tau(dpl), frames)) {
        EXPECT_GT(lag.steps(), last);
        last = lag.steps();
        EXPECT_GE((frames >> lag.level) - lag.k, 1);
      }
    }
}

}  // namespace
}  // namespace farfield::techniques::xpcs
