#pragma once
// A scan as a SIMPLON detector would send it: what parse() reads. For replays and tests.

#include <vector>

#include "farfield/model/acquisition.hpp"
#include "farfield/model/frame.hpp"
#include "farfield/stream/dectris/message.hpp"

namespace farfield::stream::dectris {

enum class Protocol { v1, v2 };

struct EncodeOptions {
  Protocol protocol = Protocol::v1;
  Compression compression = Compression::bitshuffle_lz4;
  /// Values of a frame go with it: as image appendix (v1) or user data (v2). Otherwise times only.
  bool values = true;
};

using OwnedParts = std::vector<std::vector<std::byte>>;

/// Writes the messages of one series. Thread-safe.
class Encoder {
public:
  /// Throws `unsupported` for pixels that the stream has no name for (complex numbers).
  Encoder(const model::Acquisition& acquisition, SeriesId id, const EncodeOptions& options);

  /// Everything that the acquisition says; mask and flat field where it has them, one channel. What SIMPLON has no word
  /// for (where the zero frequency lies, the unit of positions) goes as a flat JSON object "farfield" into the header
  /// appendix or the user data.
  OwnedParts start() const;
  /// Throws `corrupt_data` for a frame of another shape or type, or a sparse one.
  OwnedParts image(const model::FrameView& frame, const model::Values& values) const;
  OwnedParts end() const;

private:
  std::vector<std::byte> pack(const core::AnyImage& image) const;
  OwnedParts start_v1() const;
  OwnedParts start_v2() const;

  model::Acquisition acquisition_;
  SeriesId id_;
  EncodeOptions options_;
};

}  // namespace farfield::stream::dectris
