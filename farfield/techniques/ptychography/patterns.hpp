#pragma once
// The measured diffraction patterns, as stored (u16 stays u16), in transform order, growing as they come.

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "farfield/core/array.hpp"
#include "farfield/model/acquisition.hpp"
#include "farfield/model/frame.hpp"
#include "farfield/techniques/ptychography/options.hpp"

namespace farfield::techniques::ptychography {

/// Detector frame -> tile: transpose, flips, central crop, bin, pad, zero frequency to the corner.
/// The same map is applied to the pixel mask.
class FramePreparation {
public:
  FramePreparation() = default;
  /// Throws `invalid_argument` when crop, bin and pad do not fit the frame.
  FramePreparation(const model::Detector&, const Options&);

  Shape shape() const { return shape_; }
  core::DType dtype() const { return dtype_; }  ///< of the tile: u8, u16, u32 or f32
  /// Writes the tile. Returns why the frame cannot be used (NaN, negative counts, wrong shape), or nothing.
  /// Pixels that the mask excludes are set to zero and not judged.
  std::optional<std::string> prepare(const core::AnyImage&, void* tile) const;
  /// 1 = use, 0 = masked; (y, x) in transform order. Empty when every pixel is good.
  const core::Array<float, 2>& valid() const { return valid_; }
  float saturation() const { return saturation_; }

private:
  template <class From, class To>
  std::optional<std::string> copy(const core::AnyImage&, To* tile) const;

  Index frame_ny_ = 0, frame_nx_ = 0;
  Shape shape_;
  core::DType dtype_ = core::DType::f32;
  Index bin_ = 1;
  float saturation_ = 0;
  /// For each tile pixel the frame pixel (row-major offset) of its first binned pixel, or -1 in the padding.
  std::vector<std::int32_t> source_;
  std::int32_t bin_step_y_ = 0, bin_step_x_ = 0;
  std::vector<std::uint8_t> frame_good_;  ///< per frame pixel
  core::Array<float, 2> valid_;
};

/// Patterns in slots, in order of arrival. A slot is `ready` once it has both counts and a position.
class Patterns {
public:
  Patterns() = default;
  Patterns(Shape shape, core::DType dtype);

  /// Room for the counts of a new frame; nothing if that id is here already (a duplicate).
  void* add(model::FrameId id);
  /// Gives up the slot that add() just made (the frame was bad).
  void drop_last();
  /// Position of the window's corner on the object, px. Early (before the frame) or late.
  void set_position(model::FrameId id, double y, double x);

  Shape shape() const { return shape_; }
  core::DType dtype() const { return dtype_; }
  Index slots() const { return static_cast<Index>(ids_.size()); }
  const void* counts(Index slot) const {
    return blocks_[static_cast<std::size_t>(slot / per_block_)].data() + (slot % per_block_) * tile_bytes_;
  }
  model::FrameId id(Index slot) const { return ids_[static_cast<std::size_t>(slot)]; }
  /// Slots that have a position, in order of arrival.
  const std::vector<Index>& ready() const { return ready_; }
  /// Recorded position of a ready slot.
  double y(Index slot) const { return y_[static_cast<std::size_t>(slot)]; }
  double x(Index slot) const { return x_[static_cast<std::size_t>(slot)]; }
  double bytes() const { return static_cast<double>(slots() * tile_bytes_); }

private:
  Shape shape_;
  core::DType dtype_ = core::DType::f32;
  Index tile_bytes_ = 0, per_block_ = 1;
  std::deque<core::Array<std::uint8_t, 1>> blocks_;  // never copied when the scan grows
  std::vector<model::FrameId> ids_;
  std::map<model::FrameId, Index> slot_of_;
  std::map<model::FrameId, std::pair<double, double>> early_;
  std::vector<double> y_, x_;
  std::vector<std::uint8_t> has_position_;
  std::vector<Index> ready_;
};

}  // namespace farfield::techniques::ptychography
