#pragma once
// Series of frames to the format that a file name asks for.

#include <filesystem>
#include <memory>

#include "farfield/model/frame_source.hpp"

namespace farfield::io {

struct FrameWriter {
  virtual ~FrameWriter() = default;
  /// Frames in order of their numbers; dense or sparse. Throws what the writer of the format throws.
  virtual void append(const model::FrameBatch& batch) = 0;
  /// The file appears now. Once.
  virtual void commit() = 0;
};

/// .imm: IMM, compressed; .bin: events of a Rigaku module; every other ending: CXI (dense frames of the acquisition's
/// type, with their values). The first two store counts and times only, neither geometry nor mask.
std::unique_ptr<FrameWriter> make_frame_writer(const std::filesystem::path& path,
                                               const model::Acquisition& acquisition);

}  // namespace farfield::io
