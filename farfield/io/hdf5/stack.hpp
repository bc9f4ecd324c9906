#pragma once
// Frames of one scan out of one or more datasets, piece by piece, decoded outside of the library's lock.

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "farfield/core/pixel_count.hpp"
#include "farfield/core/thread_pool.hpp"
#include "farfield/io/hdf5/file.hpp"

namespace farfield::io::hdf5 {

/// A stack of frames stack(frame, y, x): datasets of rank >= 3 of one frame shape and element type, one after
/// the other; leading axes of a raster are flattened, slow -> fast. Rank 2 is a stack of one frame.
class Stack {
public:
  /// Throws `corrupt_data` where shapes or types differ or a frame is implausibly large, `unsupported`.
  explicit Stack(std::vector<Dataset> parts);

  core::Index frames() const { return frames_; }
  core::Index ny() const { return ny_; }
  core::Index nx() const { return nx_; }
  core::DType dtype() const { return dtype_; }
  core::Index frame_bytes() const { return ny_ * nx_ * core::item_size(dtype_); }
  /// Frames per chunk of the first dataset: reading multiples of it decodes every chunk once.
  core::Index chunk_frames() const { return chunk_frames_; }

  /// Frames that could not be read, with the reason.
  using Bad = std::vector<std::pair<core::Index, std::string>>;
  /// Reads frames [first, first + count) to `out`, count * frame_bytes() bytes, in the machine's order.
  /// Frames in `bad` are zero in `out`. Chunks are decoded on `pool` (null: here).
  Bad read(core::Index first, core::Index count, void* out, core::ThreadPool* pool) const;

  /// True where the frames are bitshuffled unsigned counts of at most 4 bytes, each whole within its chunk.
  bool can_read_sparse() const;
  /// As read(), but of each frame the pixels that are not 0, ascending: out[i] becomes frame first + i, empty where it
  /// is bad. `valid`: as codec::SparseRule::valid for one frame; empty: all pixels. Only where can_read_sparse().
  Bad read_sparse(core::Index first, std::span<std::vector<core::PixelCount>> out, std::span<const std::byte> valid,
                  core::ThreadPool* pool) const;

private:
  struct Part {
    Dataset dataset;
    core::Index first = 0, frames = 0;
    bool raw = false;  // chunks are fetched as stored and decoded by us
  };
  void read_part(const Part& part, core::Index first, core::Index count, std::byte* out, core::ThreadPool* pool,
                 Bad& bad) const;
  void read_raw(const Part& part, core::Index first, core::Index count, std::byte* out, core::ThreadPool* pool,
                Bad& bad) const;
  /// What is not 0 among the `elements` of the chunk that begins with a frame; `valid` is heeded in chunks of one.
  core::Index sparse_chunk(const Part& part, core::Index frame, core::Index elements, std::span<const std::byte> valid,
                           std::span<core::PixelCount> out) const;

  std::vector<Part> parts_;
  core::Index frames_ = 0, ny_ = 0, nx_ = 0, chunk_frames_ = 1;
  core::DType dtype_ = core::DType::u16;
};

}  // namespace farfield::io::hdf5
