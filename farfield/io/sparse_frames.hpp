#pragma once
// Frames of few counts that are decoded to lists of these, without being made dense.

#include "farfield/model/frame_source.hpp"

namespace farfield::io {

/// A source of open_scan() that has frames in both forms.
struct SparseFrames {
  virtual ~SparseFrames() = default;
  /// Before the first next(): frames come sparse from now on, without masked pixels and as many at once as before, at
  /// least at first. False where the file's compression, or how its frames are turned, does not allow it.
  virtual bool make_sparse() = 0;
};

/// Asks a source for sparse frames: bitshuffled counts of HDF5 can be had so. Returns whether dense ones become sparse;
/// sources whose frames are sparse anyhow stay as they are. For verbs that take sparse frames (Verb::sparse_frames).
bool make_sparse(model::FrameSource& source);

}  // namespace farfield::io
