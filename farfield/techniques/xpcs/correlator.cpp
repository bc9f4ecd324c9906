#include "farfield/techniques/xpcs/correlator.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "farfield/core/error.hpp"

namespace farfield::techniques::xpcs {

using core::Array;
using core::Error;
using core::ErrorCode;

/// How far a level has come; the same for all pixels.
struct Correlator::LevelTime {
  Index count = 0;                  ///< samples so far
  std::vector<std::uint8_t> valid;  ///< (history), of the last samples; 1 before the first
  std::vector<Index> pairs;         ///< (lags), good ones so far
};

struct Correlator::Tile {
  struct Level {
    Array<float, 2> recent, first;             // (slot, history)
    Array<double, 2> g2, gap_past, gap_future;  // (slot, lags); the gaps only once there are some
    Array<double, 1> total;                    // (slot)

    Level() = default;
    Level(Index history, Index lags)
        : recent({kTileSlots, history}), first({kTileSlots, history}), g2({kTileSlots, lags}), total({kTileSlots}) {}
    Level clone() const {
      Level copy;
      copy.recent = recent.clone();
      copy.first = first.clone();
      copy.g2 = g2.clone();
      copy.gap_past = gap_past.clone();
      copy.gap_future = gap_future.clone();
      copy.total = total.clone();
      return copy;
    }
  };
  std::vector<Level> levels;
  Array<double, 1> intensity;   // (slot)
  std::vector<double> windows;  // (window, static bin of this tile)
  Index first_static = 0, statics = 0;

  Tile clone() const {
    Tile copy;
    for (const auto& level : levels) copy.levels.push_back(level.clone());
    copy.intensity = intensity.clone();
    copy.windows = windows;
    copy.first_static = first_static;
    copy.statics = statics;
    return copy;
  }
};

/// What a block does to time, worked out once for all tiles.
struct Correlator::Plan {
  Index steps_before = 0;
  std::vector<LevelBlock> levels;                ///< without the arrays of a tile
  std::vector<std::vector<std::uint8_t>> valid;  ///< per level: (history + samples), empty where all are good
  std::vector<LevelTime> after;
  Index row_floats = 0;

  Plan(const std::vector<LevelTime>& before, const LagScheme& scheme, const EventBlock& block) : after(before) {
    steps_before = before.empty() ? 0 : before.front().count;
    const Index levels_now = levels_of(scheme, steps_before + block.steps);
    for (auto l = static_cast<Index>(after.size()); l < levels_now; ++l) {
      LevelTime time;
      time.valid.assign(static_cast<std::size_t>(scheme.history(l)), 1);
      time.pairs.assign(static_cast<std::size_t>(scheme.lags(l)), 0);
      after.push_back(std::move(time));
    }
    Index samples = block.steps, left_over = 0;
    std::vector<std::uint8_t> fresh(block.valid.begin(), block.valid.end());
    for (Index l = 0; l < levels_now; ++l) {
      auto& time = after[static_cast<std::size_t>(l)];
      const Index history = scheme.history(l);
      std::vector<std::uint8_t> row = time.valid;
      if (l > 0) {
        // Two samples make one of the next level; it is good if either is.
        const auto& below = valid_row_;
        const auto from = static_cast<Index>(below.size()) - below_samples_ - left_over;
        samples = (below_samples_ + left_over) / 2;
        fresh.resize(static_cast<std::size_t>(samples));
        for (Index i = 0; i < samples; ++i)
          fresh[static_cast<std::size_t>(i)] =
              below[static_cast<std::size_t>(from + 2 * i)] | below[static_cast<std::size_t>(from + 2 * i + 1)];
      }
      if (samples == 0) break;
      row.insert(row.end(), fresh.begin(), fresh.end());
      const bool whole = std::find(row.begin(), row.end(), 0) == row.end();

      LevelBlock level;
      level.history = history;
      level.first_lag = scheme.first_lag(l);
      level.lags = scheme.lags(l);
      level.samples = samples;
      level.before = time.count;
      levels.push_back(level);
      row_floats = std::max(row_floats, history + samples + kRowPadding);
      for (Index i = 0; i < level.lags; ++i)
        time.pairs[static_cast<std::size_t>(i)] += pairs(row, whole, level, level.first_lag + i);
      time.valid.assign(row.end() - history, row.end());
      left_over = time.count & 1;
      below_samples_ = samples;
      time.count += samples;
      valid_row_ = row;
      valid.push_back(whole ? std::vector<std::uint8_t>{} : std::move(row));
    }
  }

private:
  static Index pairs(const std::vector<std::uint8_t>& row, bool whole, const LevelBlock& level, Index k) {
    const Index begin = std::max<Index>(k - level.before, 0);  // samples before the first have no partner
    if (whole) return std::max<Index>(level.samples - begin, 0);
    Index n = 0;
    for (Index j = begin; j < level.samples; ++j)
      n += row[static_cast<std::size_t>(level.history + j)] & row[static_cast<std::size_t>(level.history + j - k)];
    return n;
  }
  std::vector<std::uint8_t> valid_row_;
  Index below_samples_ = 0;
};

/// One per thread.
struct Correlator::Scratch {
  std::vector<TimedCount> events, list[2];
  std::vector<std::uint32_t> begin;
  Array<float, 1> row[2];
  std::vector<LevelBlock> levels;
};

Correlator::Correlator(const Tiling& tiling, const LagScheme& scheme, Index window_steps, Index first_tile,
                       Index last_tile)
    : tiling_(tiling),
      scheme_(scheme),
      window_steps_(window_steps),
      first_tile_(first_tile),
      tiles_(static_cast<std::size_t>(last_tile - first_tile)) {
  const auto mapped = static_cast<Index>(tiling.static_of.size());
  for (Index t = first_tile; t < last_tile; ++t) {
    auto& tile = tiles_[static_cast<std::size_t>(t - first_tile)];
    tile.intensity = Array<double, 1>({kTileSlots});
    if (t >= tiling.mapped_tiles) continue;
    tile.first_static = tiling.static_of[static_cast<std::size_t>(t * kTileSlots)];
    tile.statics =
        tiling.static_of[static_cast<std::size_t>(std::min((t + 1) * kTileSlots, mapped) - 1)] - tile.first_static + 1;
  }
}
Correlator::~Correlator() = default;

Index Correlator::steps() const { return time_.empty() ? 0 : time_.front().count; }

double Correlator::bytes(const Tiling& tiling, const LagScheme& scheme, Index steps) {
  double per_slot = 8;
  for (Index l = 0; l < levels_of(scheme, steps); ++l)
    per_slot += static_cast<double>(8 * scheme.history(l) + 8 * scheme.lags(l) + 8);
  return per_slot * static_cast<double>(tiling.mapped_tiles * kTileSlots);
}

void Correlator::run(Tile& tile, Index number, const EventBlock& block, const Plan& plan, Scratch& scratch,
                     const Correlator& self) {
  // Events of this tile by slot; the parts and the sort keep them in the order of time.
  const auto n = static_cast<std::size_t>(number);
  auto& begin = scratch.begin;
  begin.assign(kTileSlots + 1, 0);
  for (const auto& part : block.parts)
    for (std::uint32_t e = part.begin[n]; e < part.begin[n + 1]; ++e) ++begin[part.events[e].slot + 1U];
  Index most = 0;
  for (Index s = 0; s < kTileSlots; ++s) {
    const auto at = static_cast<std::size_t>(s);
    most = std::max<Index>(most, begin[at + 1]);
    begin[at + 1] += begin[at];
  }
  scratch.events.resize(begin[kTileSlots]);
  for (const auto& part : block.parts)
    for (std::uint32_t e = part.begin[n]; e < part.begin[n + 1]; ++e) {
      const SlotEvent event = part.events[e];
      scratch.events[begin[event.slot]++] = {event.step, event.value};
    }
  for (Index s = kTileSlots; s > 0; --s) begin[static_cast<std::size_t>(s)] = begin[static_cast<std::size_t>(s) - 1];
  begin[0] = 0;

  const bool mapped = number < self.tiling_.mapped_tiles;
  const Index first_window = plan.steps_before / self.window_steps_;
  const Index windows = (plan.steps_before + block.steps - 1) / self.window_steps_ + 1;
  if (mapped) tile.windows.resize(static_cast<std::size_t>(windows * tile.statics), 0.0);
  for (Index s = 0; s < kTileSlots; ++s) {
    const auto place = static_cast<std::size_t>(number * kTileSlots + s);
    double sum = 0;
    if (mapped && place < self.tiling_.static_of.size()) {
      double* row =
          tile.windows.data() + first_window * tile.statics + self.tiling_.static_of[place] - tile.first_static;
      Index end = (first_window + 1) * self.window_steps_ - plan.steps_before;
      double window_sum = 0;
      for (auto e = begin[static_cast<std::size_t>(s)]; e < begin[static_cast<std::size_t>(s) + 1]; ++e) {
        while (scratch.events[e].at >= end) {
          *row += window_sum;
          sum += window_sum;
          window_sum = 0;
          row += tile.statics;
          end += self.window_steps_;
        }
        window_sum += static_cast<double>(scratch.events[e].value);
      }
      *row += window_sum;
      sum += window_sum;
    } else {
      for (auto e = begin[static_cast<std::size_t>(s)]; e < begin[static_cast<std::size_t>(s) + 1]; ++e)
        sum += static_cast<double>(scratch.events[e].value);
    }
    tile.intensity(s) += sum;
  }
  if (!mapped || self.scheme_.first == 0) return;

  while (tile.levels.size() < plan.levels.size()) {
    const auto l = static_cast<Index>(tile.levels.size());
    tile.levels.emplace_back(self.scheme_.history(l), self.scheme_.lags(l));
  }
  scratch.levels = plan.levels;
  Index history = 0;
  for (std::size_t l = 0; l < plan.levels.size(); ++l) {
    auto& from = tile.levels[l];
    auto& to = scratch.levels[l];
    history = std::max(history, to.history);
    to.recent = from.recent.data();
    to.first = from.first.data();
    to.g2 = from.g2.data();
    to.total = from.total.data();
    if (plan.valid[l].empty()) continue;
    if (from.gap_past.empty()) {
      from.gap_past = Array<double, 2>({kTileSlots, to.lags});
      from.gap_future = Array<double, 2>({kTileSlots, to.lags});
    }
    to.valid = plan.valid[l].data();
    to.gap_past = from.gap_past.data();
    to.gap_future = from.gap_future.data();
  }
  TileBlock tile_block;
  tile_block.slots = std::min(kTileSlots, static_cast<Index>(self.tiling_.static_of.size()) - number * kTileSlots);
  tile_block.levels = static_cast<Index>(plan.levels.size());
  tile_block.level = scratch.levels.data();
  tile_block.events = scratch.events.data();
  tile_block.begin = begin.data();
  for (int i = 0; i < 2; ++i) {
    if (scratch.row[i].size() < plan.row_floats) scratch.row[i] = Array<float, 1>({plan.row_floats});
    const auto room = static_cast<std::size_t>(history + most + 1);
    if (scratch.list[i].size() < room) scratch.list[i].resize(room);
    tile_block.row[i] = scratch.row[i].data();
    tile_block.list[i] = scratch.list[i].data();
  }
  correlate_tile(tile_block);
}

void Correlator::absorb(const EventBlock& block, core::ThreadPool& pool) {
  if (block.steps == 0) return;
  Plan plan(time_, scheme_, block);
  std::vector<Scratch> scratch(static_cast<std::size_t>(pool.size()));
  pool.for_each(static_cast<Index>(tiles_.size()), [&](Index t, int thread) {
    run(tiles_[static_cast<std::size_t>(t)], first_tile_ + t, block, plan, scratch[static_cast<std::size_t>(thread)],
        *this);
  });
  time_ = std::move(plan.after);
}

namespace {

/// Where the sums of one static bin go: part p of lag i at sums[i * stride + p].
struct Row {
  double* sums;
  Index stride;
};

}  // namespace

// Bins at the edges of a tile may reach into its neighbours: their sums wait in `edges`, (edge, lag, part), and are
// added in the order of the tiles, whoever is first.
void Correlator::collect(const Tile& tile, Index number, BinSums& out, core::View<double, 3> edges,
                         PixelCorrelations* pixels) const {
  const auto lags = static_cast<Index>(out.lags.size());
  const Index statics = out.sums.extent(1);
  const Index last_static = tile.first_static + tile.statics - 1;
  const auto row_of = [&](Index s) -> Row {
    if (s == tile.first_static) return {edges[0].data(), BinSums::kParts};
    if (s == last_static) return {edges[1].data(), BinSums::kParts};
    return {out.sums.data() + s * BinSums::kParts, statics * BinSums::kParts};
  };
  const Index slots = std::min(kTileSlots, static_cast<Index>(tiling_.static_of.size()) - number * kTileSlots);
  for (Index slot = 0; slot < slots; ++slot) {
    const Index place = number * kTileSlots + slot;
    const Row row = row_of(tiling_.static_of[static_cast<std::size_t>(place)]);
    Index i = 0;
    for (Index l = 0; l < static_cast<Index>(tile.levels.size()) && i < lags; ++l) {
      const auto& level = tile.levels[static_cast<std::size_t>(l)];
      const Index h = scheme_.history(l), first_lag = scheme_.first_lag(l);
      const float *first = &level.first(slot, 0), *recent = &level.recent(slot, 0);
      double head = 0, tail = 0;
      Index taken = 0;
      for (; i < lags && out.lags[static_cast<std::size_t>(i)].level == l; ++i) {
        const Index k = out.lags[static_cast<std::size_t>(i)].k, at = k - first_lag;
        for (; taken < k; ++taken) {
          head += static_cast<double>(first[taken]);
          tail += static_cast<double>(recent[h - 1 - taken]);
        }
        const double g2 = level.g2(slot, at);
        double past = level.total(slot) - tail, future = level.total(slot) - head;
        if (!level.gap_past.empty()) {
          past -= level.gap_past(slot, at);
          future -= level.gap_future(slot, at);
        }
        const auto n = static_cast<double>(out.pairs[static_cast<std::size_t>(i)]);
        const double ratio = g2 > 0 ? g2 * n / (past * future) : 0;
        double* to = row.sums + i * row.stride;
        to[BinSums::kG2] += g2;
        to[BinSums::kPast] += past;
        to[BinSums::kFuture] += future;
        to[BinSums::kRatio] += ratio;
        to[BinSums::kRatio2] += ratio * ratio;
        if (pixels == nullptr) continue;
        // In units of the samples: a sample of level l is the sum of 2^l steps.
        const double scale = n > 0 ? std::ldexp(1.0, -static_cast<int>(l)) / n : 0;
        pixels->g2(i, place) = static_cast<float>(g2 * scale * std::ldexp(1.0, -static_cast<int>(l)));
        pixels->past(i, place) = static_cast<float>(past * scale);
        pixels->future(i, place) = static_cast<float>(future * scale);
      }
    }
  }
}

BinSums Correlator::sums(const EventBlock& rest, core::ThreadPool& pool, PixelCorrelations* pixels) const {
  std::optional<Plan> plan;
  if (rest.steps > 0) plan.emplace(time_, scheme_, rest);
  const auto& time = plan ? plan->after : time_;
  const Index total = time.empty() ? 0 : time.front().count;
  const auto tiles = static_cast<Index>(tiles_.size());

  BinSums out;
  out.lags = lags_of(scheme_, total);
  for (const Lag& lag : out.lags) {
    const auto& level = time[static_cast<std::size_t>(lag.level)];
    out.pairs.push_back(level.pairs[static_cast<std::size_t>(lag.k - scheme_.first_lag(lag.level))]);
  }
  const auto lags = static_cast<Index>(out.lags.size());
  const Index statics = tiling_.order.static_bins();
  const Index windows = total == 0 ? 0 : (total - 1) / window_steps_ + 1;
  out.sums = Array<double, 3>({lags, statics, BinSums::kParts});
  Array<double, 4> edges({tiles, 2, lags, BinSums::kParts});
  out.intensity = Array<double, 1>({statics});
  out.window_intensity = Array<double, 2>({windows, statics});
  out.pixel_intensity = Array<double, 1>({tiling_.tiles() * kTileSlots});
  if (pixels != nullptr)
    for (auto* image : {&pixels->g2, &pixels->past, &pixels->future})
      *image = Array<float, 2>({lags, tiling_.order.slots()});

  std::vector<Scratch> scratch(static_cast<std::size_t>(pool.size()));
  std::vector<std::vector<double>> window_sums(tiles_.size());
  pool.for_each(tiles, [&](Index t, int thread) {
    const Tile* tile = &tiles_[static_cast<std::size_t>(t)];
    const Index number = first_tile_ + t;
    Tile ahead;
    if (plan) {
      ahead = tile->clone();
      run(ahead, number, rest, *plan, scratch[static_cast<std::size_t>(thread)], *this);
      tile = &ahead;
    }
    std::copy(tile->intensity.begin(), tile->intensity.end(), out.pixel_intensity.data() + number * kTileSlots);
    if (number >= tiling_.mapped_tiles) return;
    collect(*tile, number, out, edges[t], pixels);
    window_sums[static_cast<std::size_t>(t)] = tile->windows;
  });

  for (Index t = 0; t < tiles && first_tile_ + t < tiling_.mapped_tiles; ++t) {
    const auto& tile = tiles_[static_cast<std::size_t>(t)];
    for (Index edge = 0; edge < std::min<Index>(tile.statics, 2); ++edge) {
      const Index s = edge == 0 ? tile.first_static : tile.first_static + tile.statics - 1;
      for (Index i = 0; i < lags; ++i)
        for (Index p = 0; p < BinSums::kParts; ++p) out.sums(i, s, p) += edges(t, edge, i, p);
    }
    const auto& sums = window_sums[static_cast<std::size_t>(t)];
    for (std::size_t i = 0; i < sums.size(); ++i) {
      const auto w = static_cast<Index>(i) / tile.statics, s = tile.first_static + static_cast<Index>(i) % tile.statics;
      out.window_intensity(w, s) += sums[i];
      out.intensity(s) += sums[i];
    }
  }
  return out;
}

G2Table g2_of(const BinSums& sums, const PixelOrder& order, Index dynamic_bins) {
  const auto lags = static_cast<Index>(sums.lags.size());
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  const Array<double, 2> none({lags, dynamic_bins}, kNone);
  G2Table out{none.clone(), none.clone(), none.clone()};
  std::vector<double> mean(static_cast<std::size_t>(dynamic_bins)), mean2(mean), bins(mean), pixels(mean), ratio(mean),
      ratio2(mean);
  for (Index i = 0; i < lags; ++i) {
    const auto pairs = static_cast<double>(sums.pairs[static_cast<std::size_t>(i)]);
    for (auto* v : {&mean, &mean2, &bins, &pixels, &ratio, &ratio2}) std::fill(v->begin(), v->end(), 0.0);
    for (Index s = 0; s < order.static_bins(); ++s) {
      const auto at = static_cast<std::size_t>(s);
      if (order.dynamic_of[at] == 0) continue;
      const std::size_t d = order.dynamic_of[at] - 1;
      const auto n = static_cast<double>(order.first_slot[at + 1] - order.first_slot[at]);
      const double light = sums.sums(i, s, BinSums::kPast) * sums.sums(i, s, BinSums::kFuture);
      pixels[d] += n;
      ratio[d] += sums.sums(i, s, BinSums::kRatio);
      ratio2[d] += sums.sums(i, s, BinSums::kRatio2);
      if (!(light > 0)) continue;
      const double g2 = sums.sums(i, s, BinSums::kG2) * pairs * n / light;
      mean[d] += g2;
      mean2[d] += g2 * g2;
      bins[d] += 1;
    }
    for (Index q = 0; q < dynamic_bins; ++q) {
      const auto d = static_cast<std::size_t>(q);
      if (bins[d] == 0 || pairs == 0) continue;
      out.g2(i, q) = mean[d] / bins[d];
      const double average = ratio[d] / pixels[d];
      if (bins[d] > 1)
        out.bin_error(i, q) =
            std::sqrt(std::max(mean2[d] / bins[d] - out.g2(i, q) * out.g2(i, q), 0.0) / (bins[d] - 1));
      out.error(i, q) = std::sqrt(std::max(ratio2[d] / pixels[d] - average * average, 0.0) / pixels[d]);
    }
  }
  return out;
}

namespace {

template <class T, int Rank>
std::span<const std::byte> bytes_of(const Array<T, Rank>& a) {
  return std::as_bytes(std::span(a.begin(), a.end()));
}
template <class T>
void fill(std::span<T> to, const std::vector<std::byte>& from) {
  if (from.size() != to.size_bytes())
    throw Error(ErrorCode::corrupt_data,
                fmt::format("checkpoint block of {} bytes where this scan needs {}", from.size(), to.size_bytes()));
  if (!from.empty()) std::memcpy(to.data(), from.data(), from.size());
}
template <class T, int Rank>
void fill(Array<T, Rank>& to, const std::vector<std::byte>& from) {
  fill(std::span(to.begin(), to.end()), from);
}

}  // namespace

void Correlator::save(const std::function<void(std::span<const std::byte>)>& put) const {
  const std::int64_t head[] = {static_cast<std::int64_t>(time_.size()), static_cast<std::int64_t>(tiles_.size())};
  put(std::as_bytes(std::span(head)));
  for (const auto& level : time_) {
    put(std::as_bytes(std::span(&level.count, 1)));
    put(std::as_bytes(std::span(level.valid)));
    put(std::as_bytes(std::span(level.pairs)));
  }
  for (const auto& tile : tiles_) {
    const std::int64_t sizes[] = {static_cast<std::int64_t>(tile.levels.size()),
                                  static_cast<std::int64_t>(tile.windows.size())};
    put(std::as_bytes(std::span(sizes)));
    put(bytes_of(tile.intensity));
    put(std::as_bytes(std::span(tile.windows)));
    for (const auto& level : tile.levels) {
      put(bytes_of(level.recent));
      put(bytes_of(level.first));
      put(bytes_of(level.g2));
      put(bytes_of(level.total));
      put(bytes_of(level.gap_past));
      put(bytes_of(level.gap_future));
    }
  }
}

void Correlator::restore(const std::function<std::vector<std::byte>()>& get) {
  std::int64_t head[2];
  fill(std::span<std::int64_t>(head), get());
  // 63 levels hold any number of steps that an Index counts.
  if (head[0] < 0 || head[0] > 63 || head[1] != static_cast<std::int64_t>(tiles_.size()))
    throw Error(ErrorCode::corrupt_data, "the checkpoint is of another q-map");
  time_.clear();
  for (Index l = 0; l < head[0]; ++l) {
    LevelTime time;
    time.valid.resize(static_cast<std::size_t>(scheme_.history(l)));
    time.pairs.resize(static_cast<std::size_t>(scheme_.lags(l)));
    fill(std::span(&time.count, 1), get());
    fill(std::span(time.valid), get());
    fill(std::span(time.pairs), get());
    time_.push_back(std::move(time));
  }
  for (auto& tile : tiles_) {
    std::int64_t sizes[2];
    fill(std::span<std::int64_t>(sizes), get());
    if (sizes[0] < 0 || sizes[0] > head[0] || sizes[1] < 0 || sizes[1] > steps() * std::max<Index>(tile.statics, 1))
      throw Error(ErrorCode::corrupt_data, "the checkpoint has a tile of impossible size");
    fill(tile.intensity, get());
    tile.windows.resize(static_cast<std::size_t>(sizes[1]));
    fill(std::span(tile.windows), get());
    tile.levels.clear();
    for (Index l = 0; l < sizes[0]; ++l) {
      Tile::Level level(scheme_.history(l), scheme_.lags(l));
      fill(level.recent, get());
      fill(level.first, get());
      fill(level.g2, get());
      fill(level.total, get());
      for (auto* gap : {&level.gap_past, &level.gap_future}) {
        const auto bytes = get();
        if (bytes.empty()) continue;
        *gap = Array<double, 2>({kTileSlots, scheme_.lags(l)});
        fill(*gap, bytes);
      }
      tile.levels.push_back(std::move(level));
    }
  }
}

}  // namespace farfield::techniques::xpcs
