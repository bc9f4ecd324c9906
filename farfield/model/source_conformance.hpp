#pragma once
// One suite that every source of frames passes, whether file, socket, or simulation.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "farfield/model/frame_source.hpp"

namespace farfield::model {

/// What a source is expected to hand out, whatever the pieces.
struct ExpectedScan {
  Acquisition acquisition;
  std::map<FrameId, std::vector<std::byte>> frames;  ///< pixels (y, x) without gaps; of sparse ones made dense as u32
  std::map<FrameId, Values> values;
};

/// Opens the same scan again and again.
using OpenSource = std::function<std::unique_ptr<FrameSource>()>;

/// The rules:
/// - acquisition: shape, type, energy, distance, pixel size, unit of positions and mask are those expected, and hold
///   still while frames come;
/// - frames: each expected frame comes once, with its pixels, and no other; none is bad;
/// - values: each frame's are those expected;
/// - end: after false comes false;
/// - stop: with stop requested before, it ends without a wait; requested on the way, it ends, too;
/// - keep: pixels that are kept stay as they were.
/// One line for each that is broken.
std::vector<std::string> check_source(const OpenSource& open, const ExpectedScan& expected);

}  // namespace farfield::model
