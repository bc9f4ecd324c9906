#pragma once
// Any scan as a detector would send it: at a rate, and with the faults that real ones have, on demand.

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>

#include "farfield/core/clock.hpp"
#include "farfield/model/frame_source.hpp"
#include "farfield/stream/dectris/encode.hpp"

namespace farfield::stream {

using core::Index;

struct ReplayOptions {
  dectris::EncodeOptions encode{};
  dectris::SeriesId series{1, "replay-1"};
  double rate_hz = 0;        ///< frames per second; 0: as fast as they are taken
  double jitter = 0;         ///< each frame is up to this part of a period early or late
  double gaps = 0;           ///< part of the frames that is not sent
  double duplicates = 0;     ///< part of the frames that is sent twice
  Index disorder = 0;        ///< frames are held back so that one comes up to so many places late
  Index frames = 0;          ///< only the first; 0: all
  std::uint64_t seed = 1;    ///< of the faults: the same seed gives the same ones
};

struct ReplayCounts {
  Index sent = 0, left_out = 0, duplicated = 0;
  Index unreadable = 0;  ///< frames that the scan itself could not give
  Index bytes = 0;
  double seconds = 0;
};

/// Where messages go. Returns false when stopped; throws where nobody takes them.
using SendMessage = std::function<bool(const dectris::OwnedParts&)>;
/// What is known of a frame besides its pixels, for a second stream.
using SendValues = std::function<bool(model::FrameId, const model::Values&)>;

/// Sends start, images and end. Sparse frames are made dense. `values` may be empty: then they go with the images.
/// Throws `invalid_argument` for options outside their range, and what source, encoder and senders throw.
ReplayCounts replay(model::FrameSource& source, const ReplayOptions& options, const SendMessage& send,
                    const SendValues& values, std::stop_token stop);

}  // namespace farfield::stream
