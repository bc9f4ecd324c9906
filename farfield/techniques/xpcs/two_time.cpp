#include "farfield/techniques/xpcs/two_time.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace farfield::techniques::xpcs {

namespace {
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr Index kDensePixel = 8;  // a pixel that counts in one of so many steps, or more often, is dense
}  // namespace

BinSeries gather_bin(std::span<const EventBlock> blocks, const Tiling& tiling, Index dynamic_bin) {
  const auto& order = tiling.order;
  BinSeries out;
  // Static bins need not be neighbours; each is a stretch of slots.
  struct Stretch {
    Index begin, end, pixel;  // slots, and the pixel of the first one within the bin
  };
  std::vector<Stretch> stretches;
  for (Index s = 0; s < order.static_bins(); ++s) {
    const auto at = static_cast<std::size_t>(s);
    const Index begin = order.first_slot[at], end = order.first_slot[at + 1];
    if (order.dynamic_of[at] != dynamic_bin || begin == end) continue;
    stretches.push_back({begin, end, out.pixels()});
    out.group.insert(out.group.end(), static_cast<std::size_t>(end - begin),
                     static_cast<std::uint32_t>(out.group_pixels.size()));
    out.group_pixels.push_back(end - begin);
  }
  for (const auto& block : blocks) {
    out.valid.insert(out.valid.end(), block.valid.begin(), block.valid.end());
    out.steps += block.steps;
  }

  /// Calls f(pixel, event) for every event of the bin in a block, in the order of time for each pixel.
  const auto each = [&](const EventBlock& block, auto&& f) {
    for (const auto& stretch : stretches)
      for (Index tile = stretch.begin / kTileSlots; tile <= (stretch.end - 1) / kTileSlots; ++tile)
        for (const auto& part : block.parts) {
          const auto t = static_cast<std::size_t>(tile);
          for (auto e = part.begin[t]; e < part.begin[t + 1]; ++e) {
            const SlotEvent& event = part.events[e];
            const Index slot = tile * kTileSlots + event.slot;
            if (slot >= stretch.begin && slot < stretch.end)
              f(static_cast<std::size_t>(stretch.pixel + slot - stretch.begin), event);
          }
        }
  };
  out.begin.assign(out.group.size() + 1, 0);
  for (const auto& block : blocks) each(block, [&](std::size_t pixel, const SlotEvent&) { ++out.begin[pixel + 1]; });
  for (std::size_t p = 1; p < out.begin.size(); ++p) out.begin[p] += out.begin[p - 1];
  out.events.resize(out.begin.back());
  auto next = out.begin;
  std::uint32_t before = 0;
  bool again = false;  // frames that share a time step leave several events of one time
  for (const auto& block : blocks) {
    each(block, [&](std::size_t pixel, const SlotEvent& event) {
      const auto at = next[pixel]++;
      out.events[at] = {before + event.step, event.value};
      again = again || (at > out.begin[pixel] && out.events[at - 1].at == out.events[at].at);
    });
    before += static_cast<std::uint32_t>(block.steps);
  }
  if (!again) return out;
  std::uint64_t made = 0;
  for (std::size_t p = 0; p < out.group.size(); ++p) {
    const auto first = made;
    const auto begin = std::exchange(out.begin[p], made), end = out.begin[p + 1];
    for (auto e = begin; e < end; ++e) {
      if (made > first && out.events[made - 1].at == out.events[e].at)
        out.events[made - 1].value += out.events[e].value;
      else out.events[made++] = out.events[e];
    }
  }
  out.begin.back() = made;
  out.events.resize(made);
  return out;
}

TwoTime::TwoTime(const BinSeries& series, bool by_static) : series_(series) {
  const auto steps = static_cast<std::size_t>(series.steps);
  const std::size_t groups = by_static ? series.group_pixels.size() : 1;
  std::vector<double> sums(steps * groups, 0.0);
  for (std::size_t p = 0; p < series.group.size(); ++p) {
    double* row = sums.data() + (by_static ? series.group[p] * steps : 0);
    for (auto e = series.begin[p]; e < series.begin[p + 1]; ++e)
      row[series.events[e].at] += static_cast<double>(series.events[e].value);
  }
  const auto pixels = static_cast<double>(series.pixels());
  weight_.assign(steps, kNone);
  for (std::size_t t = 0; t < steps; ++t) {
    if (series.valid[t] == 0) continue;
    if (by_static) weight_[t] = 1 / std::sqrt(pixels);
    else if (sums[t] > 0) weight_[t] = std::sqrt(pixels) / sums[t];
  }
  if (!by_static) return;
  scaled_ = series.events;
  for (std::size_t p = 0; p < series.group.size(); ++p) {
    const double* row = sums.data() + series.group[p] * steps;
    const auto n = static_cast<double>(series.group_pixels[series.group[p]]);
    for (auto e = series.begin[p]; e < series.begin[p + 1]; ++e)
      scaled_[e].value = static_cast<float>(static_cast<double>(scaled_[e].value) * n / row[scaled_[e].at]);
  }
}

void TwoTime::rows(Index first, core::View<float, 2> rows) const {
  const Index steps = series_.steps, last = first + rows.extent(0);
  for (Index t = first; t < last; ++t) std::fill(&rows(t - first, 0) + t, &rows(t - first, 0) + steps, 0.0F);
  const auto& events = scaled_.empty() ? series_.events : scaled_;
  std::vector<float> dense;
  for (std::size_t p = 0; p < series_.group.size(); ++p) {
    const TimedCount *e = events.data() + series_.begin[p], *const end = events.data() + series_.begin[p + 1];
    if ((end - e) * kDensePixel > steps) {  // with every sample written out, the sums are those of vectors
      dense.assign(static_cast<std::size_t>(steps), 0.0F);
      for (; e != end; ++e) dense[e->at] = e->value;
      for (Index t = first; t < last; ++t)
        if (const float value = dense[static_cast<std::size_t>(t)]; value != 0)
          add_scaled(&rows(t - first, 0) + t, dense.data() + t, value, steps - t);
      continue;
    }
    if (first > 0)
      e = std::lower_bound(e, end, first, [](const TimedCount& a, Index t) { return static_cast<Index>(a.at) < t; });
    for (; e != end && static_cast<Index>(e->at) < last; ++e) {
      float* row = &rows(static_cast<Index>(e->at) - first, 0);
      const float value = e->value;
      for (const TimedCount* other = e; other != end; ++other) row[other->at] += value * other->value;
    }
  }
  for (Index a = first; a < last; ++a) {
    float* row = &rows(a - first, 0);
    const double weight = weight_[static_cast<std::size_t>(a)];
    for (Index b = a; b < steps; ++b)
      row[b] = static_cast<float>(static_cast<double>(row[b]) * (weight * weight_[static_cast<std::size_t>(b)]));
  }
}

CurveSums::CurveSums(Index steps, Index length, std::vector<Index> cuts)
    : steps_(steps),
      length_(length),
      cuts_(std::move(cuts)),
      sum_({steps}),
      count_({steps}),
      part_sum_({std::max<Index>(steps / length - 1, 0), std::min(length, steps)}),
      part_count_(part_sum_.extents()),
      cut_time_({static_cast<Index>(cuts_.size()), steps}, kNone),
      cut_age_({static_cast<Index>(cuts_.size()), steps}, kNone) {}

void CurveSums::add(Index first, core::View<const float, 2> rows) {
  for (Index t = first; t < first + rows.extent(0); ++t) {
    const float* row = &rows(t - first, 0);
    const Index part = t / length_;
    for (Index b = t; b < steps_; ++b) {
      if (!(row[b] == row[b])) continue;
      const double v = static_cast<double>(row[b]);
      sum_(b - t) += v;
      ++count_(b - t);
      if (part < part_sum_.extent(0) && b - t < length_) {
        part_sum_(part, b - t) += v;
        ++part_count_(part, b - t);
      }
    }
    for (std::size_t c = 0; c < cuts_.size(); ++c) {
      const auto cut = static_cast<Index>(c), at = cuts_[c];
      if (t <= at) cut_time_(cut, t) = static_cast<double>(row[at]);
      if (t == at)
        for (Index b = t; b < steps_; ++b) cut_time_(cut, b) = static_cast<double>(row[b]);
      if (t > at) continue;
      for (const Index b : {2 * at - t, 2 * at - t + 1})  // ages `at` and at + 1/2: even and odd delays
        if (b < steps_) cut_age_(cut, b - t) = static_cast<double>(row[b]);
    }
  }
}

TwoTimeCurves CurveSums::curves() const {
  TwoTimeCurves out{core::Array<double, 1>({steps_}, kNone),
                    core::Array<double, 2>({part_sum_.extent(1), part_sum_.extent(0)}, kNone), cut_time_.clone(),
                    cut_age_.clone()};
  for (Index k = 0; k < steps_; ++k)
    if (count_(k) > 0) out.g2(k) = sum_(k) / static_cast<double>(count_(k));
  for (Index p = 0; p < part_sum_.extent(0); ++p)
    for (Index k = 0; k < part_sum_.extent(1); ++k)
      if (part_count_(p, k) > 0) out.partial(k, p) = part_sum_(p, k) / static_cast<double>(part_count_(p, k));
  return out;
}

}  // namespace farfield::techniques::xpcs
