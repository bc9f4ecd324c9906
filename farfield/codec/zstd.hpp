#pragma once
// Zstandard frames (RFC 8878). Decoding takes untrusted bytes: `corrupt_data` on anything malformed or of another
// length than `out`.

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "farfield/core/error.hpp"
#include "farfield/core/view.hpp"

namespace farfield::codec {

/// One or more frames; `out` has exactly the decoded size.
core::Result<void> zstd_decode(std::span<const std::byte> frames, std::span<std::byte> out);

/// Bytes that `bytes` may need at most when compressed.
core::Index zstd_bound(core::Index bytes);
/// Into `out` of at least zstd_bound() bytes; returns the length. `level` 1 (fast) to 19 (small).
core::Index zstd_encode(std::span<const std::byte> data, std::span<std::byte> out, int level = 3);
std::vector<std::byte> zstd_encode(std::span<const std::byte> data, int level = 3);

/// Frames of any length, decoded piece by piece. Needs at most 128 MB, whatever the frames ask for.
class ZstdStream {
public:
  ZstdStream();
  ~ZstdStream();
  ZstdStream(const ZstdStream&) = delete;
  ZstdStream& operator=(const ZstdStream&) = delete;

  struct Step {
    std::size_t taken, given;  ///< bytes of the front of `in`, and of `out`
  };
  /// `corrupt_data` on anything malformed. Nothing taken and nothing given: `in` is used up.
  core::Result<Step> decode(std::span<const std::byte> in, std::span<std::byte> out);
  /// What was taken so far ends with a frame.
  bool at_end() const { return at_end_; }

private:
  struct State;
  std::unique_ptr<State> state_;
  bool at_end_ = true;
};

}  // namespace farfield::codec
