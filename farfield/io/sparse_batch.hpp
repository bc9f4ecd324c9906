#pragma once
// Sparse frames of one batch, gathered in one buffer that is used again for the next.

#include <algorithm>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "farfield/model/frame_source.hpp"

namespace farfield::io {

class SparseBatch {
public:
  SparseBatch(core::Index ny, core::Index nx) : ny_(ny), nx_(nx) {}

  core::Index events() const { return static_cast<core::Index>(used_); }
  core::Index frames() const { return static_cast<core::Index>(ends_.size()); }
  bool empty() const { return ends_.empty() && batch_.bad.empty(); }

  /// Room for `count` more events of the frame that is being gathered; valid until the next call.
  std::span<model::PixelCount> grow(std::size_t count) {
    if (used_ + count > buffer_.size()) buffer_.resize(std::max(used_ + count, 2 * buffer_.size()));
    used_ += count;
    return {buffer_.data() + used_ - count, count};
  }
  /// Ends the frame: everything gathered since the last end belongs to it.
  void end_frame(model::FrameId id) {
    ends_.push_back(used_);
    batch_.frames.push_back({id, {}});
  }
  /// Drops what was gathered since the last end.
  void end_bad_frame(model::FrameId id, std::string reason) {
    used_ = ends_.empty() ? 0 : ends_.back();
    batch_.bad.emplace_back(id, std::move(reason));
  }
  void add_values(model::FrameId id, model::Values values) { batch_.values.emplace_back(id, std::move(values)); }

  /// The batch, with views into the buffer.
  const model::FrameBatch& lend() {
    std::size_t begin = 0;
    for (std::size_t i = 0; i < ends_.size(); ++i) {
      batch_.frames[i].sparse = {ny_, nx_, {buffer_.data() + begin, ends_[i] - begin}};
      begin = ends_[i];
    }
    return batch_;
  }
  void clear() {
    used_ = 0;
    ends_.clear();
    batch_.frames.clear();
    batch_.values.clear();
    batch_.bad.clear();
  }

private:
  core::Index ny_, nx_;
  std::vector<model::PixelCount> buffer_;
  std::size_t used_ = 0;
  std::vector<std::size_t> ends_;
  model::FrameBatch batch_;
};

}  // namespace farfield::io
