#include "farfield/techniques/xpcs/event_block.hpp"

#include <algorithm>

namespace farfield::techniques::xpcs {
namespace {

// A part is written here and there at once: it should stay within the second-level cache meanwhile.
constexpr std::size_t kEventsOfPart = std::size_t{1} << 17;

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
  // Not zeroed: every element is written before it is read.
  const auto placed = std::make_unique_for_overwrite<Placed[]>(most);
  std::vector<std::size_t> ends;
  ends.reserve(frames.size());
  EventPart part;
  part.begin.assign(static_cast<std::size_t>(how.tiling->tiles()) + 1, 0);
  std::uint32_t* tile_counts = part.begin.data() + 1;

  Placed* out = placed.get();
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
    ends.push_back(static_cast<std::size_t>(out - placed.get()));
  }

  for (std::size_t t = 1; t < part.begin.size(); ++t) part.begin[t] += part.begin[t - 1];
  part.events = std::make_unique_for_overwrite<SlotEvent[]>(part.begin.back());
  std::vector<std::uint32_t> next(part.begin.begin(), part.begin.end() - 1);
  SlotEvent* events = part.events.get();
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
  std::vector<std::span<StepFrame>> groups;
  std::size_t events = kEventsOfPart;
  for (std::size_t f = 0; f < frames.size(); ++f) {
    if (events >= kEventsOfPart) {
      groups.push_back(frames.subspan(f, 0));
      events = 0;
    }
    events += frames[f].events.size();
    groups.back() = {groups.back().data(), groups.back().size() + 1};
  }
  std::vector<EventPart> parts(groups.size());
  pool.for_each(static_cast<Index>(groups.size()), [&](Index i, int) {
    parts[static_cast<std::size_t>(i)] = bin_some(groups[static_cast<std::size_t>(i)], how);
  });
  return parts;
}

void append(std::vector<EventPart>& parts, EventPart part) {
  parts.push_back(std::move(part));
  // As with digits of a number: two parts of a size make one of twice the size, so each event is moved a few times
  // only.
  while (parts.size() > 1) {
    const EventPart &a = parts[parts.size() - 2], &b = parts.back();
    const std::size_t size_a = a.all().size(), size_b = b.all().size();
    if (size_a > 2 * size_b || size_a + size_b > kEventsOfPart) return;
    EventPart both;
    both.begin.resize(a.begin.size());
    both.events = std::make_unique_for_overwrite<SlotEvent[]>(size_a + size_b);
    SlotEvent* out = both.events.get();
    for (std::size_t t = 0; t + 1 < a.begin.size(); ++t) {
      out = std::copy(&a.events[a.begin[t]], &a.events[a.begin[t + 1]], out);
      out = std::copy(&b.events[b.begin[t]], &b.events[b.begin[t + 1]], out);
      both.begin[t + 1] = static_cast<std::uint32_t>(out - both.events.get());
    }
    parts.pop_back();
    parts.back() = std::move(both);
  }
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

EventBlock EventBlock::clone() const {
  EventBlock out;
  out.steps = steps;
  out.events = events;
  out.valid = valid;
  out.frames = frames;
  for (const auto& part : parts) {
    const auto from = part.all();
    EventPart copy;
    copy.begin = part.begin;
    copy.events = std::make_unique_for_overwrite<SlotEvent[]>(from.size());
    std::copy(from.begin(), from.end(), copy.events.get());
    out.parts.push_back(std::move(copy));
  }
  return out;
}

bool any_incomplete(const EventBlock& block, Index average) {
  return std::any_of(block.frames.begin(), block.frames.end(), [&](auto n) { return n > 0 && n < average; });
}

void complete_steps(EventBlock& block, Index average) {
  if (!any_incomplete(block, average)) return;
  std::vector<float> scale(static_cast<std::size_t>(block.steps), 1.0F);
  for (std::size_t s = 0; s < block.frames.size(); ++s)
    if (block.frames[s] > 0) scale[s] = static_cast<float>(average) / static_cast<float>(block.frames[s]);
  for (auto& part : block.parts)
    for (SlotEvent& e : std::span(part.events.get(), part.all().size())) e.value *= scale[e.step];
}

}  // namespace farfield::techniques::xpcs
