#pragma once
// Where frames come from: a file, a replay, a live stream, a simulator.

#include <functional>
#include <memory>
#include <stop_token>
#include <vector>

#include "farfield/model/acquisition.hpp"
#include "farfield/model/frame.hpp"

namespace farfield::model {

/// A piece of a scan lent by a source: frames (dense or sparse, each as the source has it) with the values known for
/// them. Valid during the call, or for longer where `keep` is set.
struct FrameBatch {
  std::vector<FrameView> frames;
  /// values[i] belongs to frame ids[i]; they may be fewer, more or other frames than those in `frames`.
  std::vector<std::pair<FrameId, Values>> values;
  /// Frames that the source knows it could not deliver, with the reason (damaged chunk, ...).
  std::vector<std::pair<FrameId, std::string>> bad;
  /// Where set: the pixels of `frames` stay as they are for whoever holds a copy of it, so that they need not be copied.
  std::shared_ptr<const void> keep{};
};

struct FrameSource {
  virtual ~FrameSource() = default;
  virtual const Acquisition& acquisition() const = 0;
  /// Hands the next piece to `take` (bounded in memory) and returns true; false at the end of the scan. A live source
  /// hands out an empty piece now and then while nothing comes.
  /// Throws on errors of the whole source; a single bad frame is reported in the batch.
  virtual bool next(std::stop_token stop, const std::function<void(const FrameBatch&)>& take) = 0;
};

}  // namespace farfield::model
