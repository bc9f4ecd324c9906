#pragma once
// The events of a stretch of time, sorted into tiles of pixels while they come in.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "farfield/core/array.hpp"
#include "farfield/core/thread_pool.hpp"
#include "farfield/model/pixel_count.hpp"
#include "farfield/techniques/xpcs/qmap.hpp"

namespace farfield::techniques::xpcs {

/// Pixels of a tile: neighbours in PixelOrder, so that their level data stay in the cache while time runs.
inline constexpr Index kTileSlots = 512;

/// Every good pixel of the detector in tiles: first those of the q-map in their order, then, in tiles of their own, the
/// others, whose intensity is only summed.
struct Tiling {
  PixelOrder order;
  std::vector<std::uint32_t> slot;  ///< pixel -> place in the tiles, kUnused: masked
  std::vector<std::uint32_t> pixel;  ///< place -> pixel; kUnused: the fill of a tile's end
  std::vector<std::uint32_t> static_of;  ///< place in the q-map -> static bin, from 0
  Index mapped_tiles = 0;  ///< tiles with pixels of the q-map

  Index tiles() const { return static_cast<Index>(pixel.size()) / kTileSlots; }
  Index good_pixels = 0;
};
/// Throws as order_pixels() does.
Tiling make_tiling(const QMap& map, core::View<const std::uint32_t, 2> pixel_mask);

/// How a count becomes an intensity: v = max(count - dark, 0), kept if v > lld + sigma * dark_std, then v * gain.
struct CountCorrection {
  std::vector<float> dark, threshold, gain;  ///< per pixel; each may be empty: 0, 0, 1
  float lowest = 0;  ///< lld where there is no dark

  float operator()(std::uint32_t pixel, float v) const {
    if (!dark.empty()) v -= dark[pixel];
    if (!(v > (threshold.empty() ? lowest : threshold[pixel]))) return 0;
    return gain.empty() ? v : v * gain[pixel];
  }
  bool trivial() const { return dark.empty() && threshold.empty() && gain.empty() && lowest <= 0; }
};

/// As model::PixelCount, of frames that hold no whole numbers.
struct PixelValue {
  std::uint32_t pixel = 0;
  float value = 0;
};
/// The pixels of a frame that are not 0: in `counts`, or in `values` where they are not whole.
struct FrameEvents {
  std::span<const model::PixelCount> counts{};
  std::span<const PixelValue> values{};
  std::size_t size() const { return counts.size() + values.size(); }
};

/// One frame on its way into a block.
struct StepFrame {
  std::uint16_t step = 0;  ///< time step within the block; several frames may share one
  float scale = 1;  ///< applied to every intensity
  FrameEvents events{};
  double sum = 0;  ///< out: intensity over the good pixels, before `scale`
};

/// 8 bytes, so that a block is read at the speed of memory.
struct SlotEvent {
  std::uint16_t slot = 0;  ///< within its tile
  std::uint16_t step = 0;
  float value = 0;
};

/// Events of some frames by tile; within a tile in the order of frames.
struct EventPart {
  std::unique_ptr<SlotEvent[]> events;  ///< begin.back() of them
  std::vector<std::uint32_t> begin;  ///< tile -> first event; tiles + 1

  std::span<const SlotEvent> all() const { return {events.get(), begin.empty() ? 0 : begin.back()}; }
};

/// What several frames have in common on their way.
struct Binning {
  const Tiling* tiling = nullptr;
  const CountCorrection* correction = nullptr;
  bool by_frame_sum = false;  ///< intensities divided by the sum of their frame, times `reference_sum`
  double reference_sum = 0;
  Index first_tile = 0, last_tile = 0;  ///< events of other tiles are left out (another rank has them)
};
/// Parts in the order of the frames. Sets the sums. A frame may have at most 2^31 events.
std::vector<EventPart> bin_frames(std::span<StepFrame> frames, const Binning& how, core::ThreadPool& pool);
/// Puts a part, of the same tiling, behind the others. Small ones, as from frames that come one by one, are joined.
void append(std::vector<EventPart>& parts, EventPart part);
/// Intensity of one frame over the good pixels.
double frame_sum(const FrameEvents& events, const Tiling& tiling, const CountCorrection& correction);

/// A stretch of at most 65536 time steps.
struct EventBlock {
  Index steps = 0, events = 0;
  std::vector<std::uint8_t> valid;  ///< step -> 0 where no good frame came
  std::vector<std::uint32_t> frames;  ///< step -> good frames that it is the sum of; behind the end: 0
  std::vector<EventPart> parts;

  EventBlock clone() const;
};
/// True where a step has good frames, but less than `average`.
bool any_incomplete(const EventBlock& block, Index average);
/// Makes these steps what they would be with all frames: their mean, `average` times.
void complete_steps(EventBlock& block, Index average);

}  // namespace farfield::techniques::xpcs
