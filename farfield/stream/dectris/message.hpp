#pragma once
// Messages of the SIMPLON stream interface, version 1 (parts of JSON and blobs) and 2 (one CBOR map), as one set of
// types. Documentation: DECTRIS SIMPLON API 1.8 (stream), https://github.com/dectris/documentation (stream v2).

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "farfield/model/acquisition.hpp"
#include "farfield/model/frame.hpp"
#include "farfield/stream/dectris/pixels.hpp"

namespace farfield::stream::dectris {

/// A message as it came: its parts in order.
using Parts = std::span<const std::span<const std::byte>>;

/// Which series: v1 has numbers only, which may begin anew when the detector restarts.
struct SeriesId {
  std::int64_t number = 0;
  std::string unique{};  ///< v2: the same for all messages of a series, never used again
  friend bool operator==(const SeriesId&, const SeriesId&) = default;
};

/// What belongs to one threshold of the detector.
struct Channel {
  std::string name;                        ///< "threshold_1"; v1 has one, ""
  std::optional<double> threshold_eV;
  core::Array<std::uint32_t, 2> pixel_mask;  ///< (y, x), NeXus bits; empty: not sent
  core::Array<float, 2> flatfield;           ///< (y, x), counts are multiplied by it; empty: not sent
};

/// The beginning of a series. v1 "header_detail" and v2 "header_detail" decide how much is there.
struct SeriesStart {
  SeriesId id;
  std::string header_detail{};  ///< "all", "basic", "none"; "" where the version does not say
  /// Beam, geometry, saturation, expected frames; every other scalar of the header as metadata under its own name.
  /// `detector` has ny = nx = 0 where the header does not say, and no mask: that is a channel's.
  model::Acquisition acquisition;
  std::optional<core::DType> dtype;
  std::vector<Channel> channels;  ///< at least one
  /// Farfield wrote the header: what it leaves out is not known, and nothing is to be added.
  bool own_words = false;
  bool flatfield_applied = true, countrate_applied = true;  ///< by the detector; true where it does not say
  /// Pairs (measured, true) counts per frame (i, 2), growing; empty: not sent.
  core::Array<float, 2> countrate;
};

struct ChannelPixels {
  std::string channel;
  PackedPixels pixels;
};

struct SeriesImage {
  SeriesId id;
  model::FrameId frame = 0;
  std::vector<ChannelPixels> channels;  ///< at least one
  /// "time_s" (start, since the series began), "exposure_s"; numbers in an appendix or user data that is a flat JSON
  /// object (v1) or map (v2), under their own names.
  model::Values values;
};

/// An image whose number could be read, and nothing more.
struct DamagedImage {
  SeriesId id;
  model::FrameId frame = 0;
  std::string reason;
};

struct SeriesEnd {
  SeriesId id;
};

/// Refers to the bytes it was parsed from.
struct Message {
  std::variant<SeriesStart, SeriesImage, DamagedImage, SeriesEnd> content;
  std::shared_ptr<const void> storage{};  ///< of strings that the message held in pieces

  const SeriesId& series() const {
    return std::visit([](const auto& m) -> const SeriesId& { return m.id; }, content);
  }
};

/// Either version, told by the first byte. Every size is checked against what is there before anything is allocated.
/// `corrupt_data`, `unsupported`.
core::Result<Message> parse(Parts parts);
core::Result<Message> parse_v1(Parts parts);
core::Result<Message> parse_v2(std::span<const std::byte> message);

}  // namespace farfield::stream::dectris
