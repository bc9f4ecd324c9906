#include "farfield/techniques/xpcs/event_block.hpp"

#include <algorithm>

namespace farfield::techniques::xpcs {
namespace {

struct Placed {
  std::uint32_t slot;
  float value;
};

/// The frames of one thread.
EventPart bin_some(std::span<StepFrame> frames, const Binning& how) {
  const auto& slot_of = how.tiling->slot;
  const CountCorrection& correct = *how.correction;
  const bool trivial = correct.trivial();
  const auto low = static_cast<std::uint32_t>(how.first_tile * kTileSlots);
  const auto high = static_cast<std::uint32_t>(how.last_tile * kTileSlots);

  std::size_t most = 0;
  for (const auto& frame : frames) most += frame.events.size();
  std::vector<Placed> placed(most);
  std::vector<std::size_t> ends;
  ends.reserve(frames.size());
  EventPart part;
  part.begin.assign(static_cast<std::size_t>(how.tiling->tiles()) + 1, 0);
  std::uint32_t* tile_counts = part.begin.data() + 1;

  Placed* out = placed.data();
  for (auto& frame : frames) {
    double sum = 0;
    Placed* const begin = out;
    const auto place = [&](std::uint32_t pixel, float count) {
      const std::uint32_t slot = slot_of[pixel];
      if (slot == PixelOrder::kUnused) return;
      const float value = trivial ? count : correct(pixel, count);
      if (!(value > 0)) return;
      sum += static_cast<double>(value);
      if (slot < low || slot >= high) return;
      ++tile_counts[slot / kTileSlots];
      *out++ = {slot, value};
    };
    for (const auto& e : frame.events.counts) place(e.pixel, static_cast<float>(e.count));
    for (const auto& e : frame.events.values) place(e.pixel, e.value);
    frame.sum = sum;
    if (how.by_frame_sum) frame.scale *= sum > 0 ? static_cast<float>(how.reference_sum / sum) : 0.0F;
    if (frame.scale != 1)
      for (Placed* p = begin; p != out; ++p) p->value *= frame.scale;
    ends.push_back(static_cast<std::size_t>(out - placed.data()));
  }

  for (std::size_t t = 1; t < part.begin.size(); ++t) part.begin[t] += part.begin[t - 1];
  part.events = core::Array<SlotEvent, 1>({static_cast<Index>(part.begin.back())});
  std::vector<std::uint32_t> next(part.begin.begin(), part.begin.end() - 1);
  SlotEvent* events = part.events.data();
  std::size_t i = 0;
  for (std::size_t f = 0; f < frames.size(); ++f)
    for (; i < ends[f]; ++i) {
      const Placed p = placed[i];
      events[next[p.slot / kTileSlots]++] = {static_cast<std::uint16_t>(p.slot % kTileSlots), frames[f].step, p.value};
    }
  return part;
}

}  // namespace

Tiling make_tiling(const QMap& map, core::View<const std::uint32_t, 2> pixel_mask) {
  Tiling out;
  out.order = order_pixels(map, pixel_mask);
  const auto fill = [&] {
    while (out.pixel.size() % kTileSlots != 0) out.pixel.push_back(PixelOrder::kUnused);
  };
  out.pixel = out.order.pixel;
  out.good_pixels = out.order.slots();
  for (Index s = 0; s < out.order.static_bins(); ++s)
    out.static_of.insert(out.static_of.end(),
                         static_cast<std::size_t>(out.order.first_slot[static_cast<std::size_t>(s) + 1] -
                                                  out.order.first_slot[static_cast<std::size_t>(s)]),
                         static_cast<std::uint32_t>(s));
  fill();
  out.mapped_tiles = out.tiles();
  const auto pixels = static_cast<Index>(out.order.slot.size());
  for (Index i = 0; i < pixels; ++i) {
    if (out.order.slot[static_cast<std::size_t>(i)] != PixelOrder::kUnused) continue;
    if (!map.mask.empty() && map.mask.data()[i] == 0) continue;
    if (!pixel_mask.empty() && pixel_mask(i / map.nx(), i % map.nx()) != 0) continue;
    out.pixel.push_back(static_cast<std::uint32_t>(i));
    ++out.good_pixels;
  }
  fill();
  out.slot.assign(static_cast<std::size_t>(pixels), PixelOrder::kUnused);
  for (std::size_t s = 0; s < out.pixel.size(); ++s)
    if (out.pixel[s] != PixelOrder::kUnused) out.slot[out.pixel[s]] = static_cast<std::uint32_t>(s);
  return out;
}

std::vector<EventPart> bin_frames(std::span<StepFrame> frames, const Binning& how, core::ThreadPool& pool) {
  // A part of its own for each thread pays once there is work for it.
  constexpr std::size_t kWorthAThread = 8192;
  std::size_t events = 0;
  for (const auto& frame : frames) events += frame.events.size();
  if (pool.size() == 1 || frames.size() < 2 || events < kWorthAThread) {
    std::vector<EventPart> one(1);
    one[0] = bin_some(frames, how);
    return one;
  }
  std::vector<EventPart> parts(static_cast<std::size_t>(pool.size()));
  pool.split(static_cast<Index>(frames.size()), [&](Index begin, Index end, int thread) {
    if (begin < end)
      parts[static_cast<std::size_t>(thread)] =
          bin_some(frames.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)), how);
  });
  std::erase_if(parts, [](const EventPart& p) { return p.begin.empty(); });
  return parts;
}

double frame_sum(const FrameEvents& events, const Tiling& tiling, const CountCorrection& correction) {
  double sum = 0;
  const auto add = [&](std::uint32_t pixel, float count) {
    if (tiling.slot[pixel] != PixelOrder::kUnused) sum += static_cast<double>(correction(pixel, count));
  };
  for (const auto& e : events.counts) add(e.pixel, static_cast<float>(e.count));
  for (const auto& e : events.values) add(e.pixel, e.value);
  return sum;
}

}  // namespace farfield::techniques::xpcs
