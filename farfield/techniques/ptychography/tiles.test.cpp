#include "farfield/techniques/ptychography/tiles.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>

#include "farfield/parallel/threads.hpp"
#include "farfield/techniques/ptychography/refine_testing.hpp"

namespace farfield::techniques::ptychography {
namespace {

using parallel::Communicator;
using parallel::run_as_ranks;
using testing::small_scan;
using testing::SmallScan;

const Kernels& kernels() { return SmallScan::kernels(); }

TEST(SplitScan, TilesAreBalancedAndCompact) {
  math::Random random(1);
  std::vector<double> y(1000), x(1000);
  for (std::size_t i = 0; i < 1000; ++i) {
    y[i] = random.uniform(0, 100);
    x[i] = random.uniform(0, 300);
  }
  for (const int parts : {1, 2, 3, 7, 16}) {
    const auto owner = split_scan(y, x, parts);
    double area = 0;
    for (int part = 0; part < parts; ++part) {
      double y0 = 1e9, y1 = -1e9, x0 = 1e9, x1 = -1e9;
      const auto count = std::count(owner.begin(), owner.end(), part);
      EXPECT_GE(count, 1000 / parts);
      EXPECT_LE(count, 1000 / parts + 1);
      for (std::size_t i = 0; i < 1000; ++i)
        if (owner[i] == part) {
          y0 = std::min(y0, y[i]);
          y1 = std::max(y1, y[i]);
          x0 = std::min(x0, x[i]);
          x1 = std::max(x1, x[i]);
        }
      area += (y1 - y0) * (x1 - x0);
    }
    EXPECT_LE(area, 100 * 300) << parts;  // cut by straight lines: bounding boxes do not overlap
  }
  EXPECT_TRUE(split_scan({}, {}, 4).empty());
  EXPECT_THROW(split_scan(y, x, 0), core::Error);
}

TEST(SplitScan, EqualPositionsAreSharedOut) {
  const std::vector<double> same(10, 5.0);
  const auto owner = split_scan(same, same, 3);
  for (int part = 0; part < 3; ++part) EXPECT_GE(std::count(owner.begin(), owner.end(), part), 3);
}

/// Patterns whose counts are made from the frame id.
void fill(Patterns& patterns, Index frames, const std::function<bool(Index)>& takes) {
  for (Index id = 0; id < frames; ++id) {
    if (takes(id)) {
      auto* tile = static_cast<std::uint16_t*>(patterns.add(id));
      for (Index i = 0; i < patterns.shape().size(); ++i) tile[i] = static_cast<std::uint16_t>(100 * id + i);
    }
    if (id % 17 != 5) patterns.set_position(id, static_cast<double>(id % 13), static_cast<double>((id * 7) % 31));
  }
}

TEST(TileSharing, EveryPatternReachesItsTileUnchanged) {
  for (const int ranks : {1, 2, 3, 5}) {
    std::mutex mutex;
    std::map<model::FrameId, int> seen;
    run_as_ranks(ranks, [&](Communicator& c) {
      TileSharing tiles(c);
      Patterns dealt({6, 5}, core::DType::u16);
      fill(dealt, 90, [&](Index id) { return tiles.takes(id); });
      const Patterns mine = tiles.split(std::move(dealt));
      EXPECT_EQ(mine.slots(), static_cast<Index>(mine.ready().size()));
      const std::lock_guard lock(mutex);
      for (Index slot = 0; slot < mine.slots(); ++slot) {
        const Index id = mine.id(slot);
        ++seen[id];
        if (slot > 0) {
          EXPECT_LT(mine.id(slot - 1), id);
        }
        EXPECT_EQ(mine.y(slot), static_cast<double>(id % 13));
        EXPECT_EQ(mine.x(slot), static_cast<double>((id * 7) % 31));
        const auto* tile = static_cast<const std::uint16_t*>(mine.counts(slot));
        for (Index i = 0; i < 30; ++i) EXPECT_EQ(tile[i], 100 * id + i);
      }
    });
    EXPECT_EQ(seen.size(), 85U);  // five frames have no position
    for (const auto& [id, times] : seen) EXPECT_EQ(times, 1) << id;
  }
}

TEST(TileSharing, MoreProcessesThanPatternsAreRefused) {
  EXPECT_THROW(run_as_ranks(3,
                            [](Communicator& c) {
                              TileSharing tiles(c);
                              Patterns dealt({4, 4}, core::DType::u16);
                              fill(dealt, 2, [&](Index id) { return tiles.takes(id); });
                              tiles.split(std::move(dealt));
                            }),
               core::Error);
}

TEST(TileSharing, SumsOverTheObjectAreThoseOfOneProcess) {
  // Global arrays are sums of what three processes hold in boxes that overlap in pairs and all three.
  const std::array<Index, 4> box[3] = {{-3, 0, 30, 40}, {10, 25, 50, 70}, {20, -8, 60, 33}};  // y0 x0 y1 x1
  const auto value = [](int rank, Index y, Index x) {
    math::Random r(static_cast<std::uint64_t>(rank), static_cast<std::uint64_t>(1000 * (y + 50) + x + 50));
    return cfloat{static_cast<float>(r.normal()), static_cast<float>(r.normal())};
  };
  const auto inside = [&](int r, Index y, Index x) {
    return y >= box[r][0] && x >= box[r][1] && y < box[r][2] && x < box[r][3];
  };
  std::mutex mutex;
  std::map<std::pair<Index, Index>, std::vector<cfloat>> results;
  double dot = 0;
  run_as_ranks(3, [&](Communicator& c) {
    TileSharing tiles(c);
    const auto& b = box[c.rank()];
    State state;
    state.shape = {8, 8};
    state.probe = core::Array<cfloat, 3>({1, 8, 8}, cfloat{1, 0});
    state.object = core::Array<cfloat, 2>({b[2] - b[0], b[3] - b[1]});
    state.origin_y = static_cast<double>(b[0]);
    state.origin_x = static_cast<double>(b[1]);
    const Patterns no_patterns(state.shape, core::DType::u16);
    const core::Array<float, 2> all_valid;
    const ForwardModel model(kernels(), operators::Propagator::far_field(8, 8, math::FftEffort::estimate), no_patterns,
                             all_valid, 0, Likelihood::amplitude);
    tiles.align(state, model);
    for (Index y = b[0]; y < b[2]; ++y)
      for (Index x = b[1]; x < b[3]; ++x) state.object(y - b[0], x - b[1]) = value(c.rank(), y, x);
    tiles.sum_object(state.object.view());
    std::vector<double> part{tiles.dot_object(kernels(), state.object.view(), state.object.view())};
    tiles.sum(part);
    const std::lock_guard lock(mutex);
    dot = part[0];
    for (Index y = b[0]; y < b[2]; ++y)
      for (Index x = b[1]; x < b[3]; ++x) results[{y, x}].push_back(state.object(y - b[0], x - b[1]));
  });
  double expected_dot = 0;
  for (const auto& [at, values] : results) {
    cfloat expected{};
    std::size_t holders = 0;
    for (int r = 0; r < 3; ++r)
      if (inside(r, at.first, at.second)) {
        expected += value(r, at.first, at.second);
        ++holders;
      }
    EXPECT_EQ(values.size(), holders);
    for (const cfloat v : values) {
      EXPECT_EQ(v, values[0]);  // the same bits on all holders
      EXPECT_NEAR(std::abs(v - expected), 0, 1e-6);
    }
    expected_dot += std::norm(std::complex<double>(values[0]));
  }
  EXPECT_NEAR(dot, expected_dot, 1e-5 * expected_dot);
}

/// Runs `passes` on `ranks` processes; cost of one evaluation at the end, the whole on return.
struct Result {
  double cost = 0;
  Whole whole;
  double bytes_per_pass = 0, border = 0, object = 0;
};
Result reconstruct(int ranks, int passes, const core::OptionValues& simulation,
                   AlgorithmKind algorithm = AlgorithmKind::lsqml) {
  Options options;
  options.algorithm = algorithm;
  Result result;
  run_as_ranks(ranks, [&](Communicator& c) {
    TileSharing tiles(c);
    SmallScan scan(simulation, options, 7, &tiles);
    scan.random = math::Random(7, static_cast<std::uint64_t>(c.rank()));
    for (int i = 0; i < passes; ++i) {
      const double before = tiles.bytes_sent();
      scan.pass({}, tiles, &tiles);
      if (c.rank() == 0) result.bytes_per_pass = tiles.bytes_sent() - before;
    }
    const ModulusSums sums = tiles.total(scan.evaluate());
    auto whole = tiles.gather(scan.state, scan.patterns, {1, 0});
    EXPECT_EQ(whole.has_value(), tiles.first());
    if (!whole) return;
    result.cost = sums.cost / sums.valid;
    result.border = static_cast<double>(tiles.border_pixels());
    result.object = static_cast<double>(scan.state.object.size());
    result.whole = std::move(*whole);
  });
  return result;
}

TEST(TileSharing, SeveralProcessesReachTheCostOfOne) {
  const auto simulation = small_scan({{"phantom", std::string("random")}, {"start-probe", std::string("perturbed")}});
  const Result one = reconstruct(1, 24, simulation);
  for (const int ranks : {2, 3}) {
    const Result several = reconstruct(ranks, 24, simulation);
    // Batches keep LSQ-ML a little above the optimum; the mean of tiles is a larger batch and ends a little lower.
    EXPECT_LE(several.cost, (1 + 1e-3) * one.cost) << ranks;
    EXPECT_GE(several.cost, (1 - 3e-2) * one.cost) << ranks;
    ASSERT_EQ(several.whole.ids.size(), 120U);
    EXPECT_EQ(several.whole.ids, one.whole.ids);
    EXPECT_EQ(several.whole.state.y, one.whole.state.y);
    EXPECT_EQ(several.whole.recorded_x, one.whole.recorded_x);
    EXPECT_EQ(several.whole.state.object.extents(), one.whole.state.object.extents());
    // The assembled state explains the patterns as well as the parts did: nothing was lost at the borders.
    SmallScan check(simulation);
    check.state.object = several.whole.state.object.clone();
    check.state.probe = several.whole.state.probe.clone();
    check.state.origin_y = several.whole.state.origin_y;
    check.state.origin_x = several.whole.state.origin_x;
    for (const Index slot : check.slots()) check.state.place(slot);
    const ModulusSums sums = check.evaluate();
    EXPECT_NEAR(sums.cost / sums.valid, several.cost, 1e-5 * several.cost);
  }
}

TEST(TileSharing, FullBatchAlgorithmsDoTheSameOnSeveralProcesses) {
  const auto simulation = small_scan({{"phantom", std::string("random")}, {"start-probe", std::string("perturbed")}});
  for (const auto algorithm : {AlgorithmKind::cgml, AlgorithmKind::raar, AlgorithmKind::dm}) {
    const Result one = reconstruct(1, 10, simulation, algorithm), two = reconstruct(3, 10, simulation, algorithm);
    // The same sums in another order: rounding, which ten iterations amplify.
    EXPECT_NEAR(two.cost, one.cost, 1e-3 * one.cost) << name(algorithm);
    double difference = 0, total = 0;
    for (Index i = 0; i < one.whole.state.object.size(); ++i) {
      difference += std::norm(two.whole.state.object.data()[i] - one.whole.state.object.data()[i]);
      total += std::norm(one.whole.state.object.data()[i]);
    }
    EXPECT_LT(std::sqrt(difference / total), 1e-3) << name(algorithm);
  }
}

TEST(TileSharing, TrafficGrowsWithTheBorder) {
  // Three times as wide a scan, nine times the patterns: the object grows faster than the border, which is two windows
  // wide and as long as the scan and a window.
  const auto scan = [](std::int64_t patterns) {
    return small_scan({{"patterns", patterns}, {"noise", std::string("none")}});
  };
  const Result small = reconstruct(2, 1, scan(100)), large = reconstruct(2, 1, scan(900));
  EXPECT_GT(large.object, 2.4 * small.object);
  EXPECT_LT(large.border, 1.9 * small.border);
  // Shared pixels as complex values and weights, once; the probe's gradient or the probe at most 34 times.
  constexpr double kPixel = sizeof(cfloat) + sizeof(float), kProbe = 64 * 64 * sizeof(cfloat), kScalars = 1000;
  for (const Result* r : {&small, &large}) {
    EXPECT_GE(r->bytes_per_pass, r->border * kPixel + kProbe);
    EXPECT_LE(r->bytes_per_pass, r->border * kPixel + 34 * kProbe + kScalars);
  }
}

}  // namespace
}  // namespace farfield::techniques::ptychography
