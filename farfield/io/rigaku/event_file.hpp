#pragma once
// Rigaku's 64-bit events, one file of one module: little-endian words frame << 40 | pixel << 16 | count, in the
// order of the frames. There is no header: neither the number of frames nor the shape of the detector is stored.

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "farfield/io/bytes.hpp"
#include "farfield/model/frame.hpp"

namespace farfield::io::rigaku {

/// Shape of a module: 512 rows of 1024 pixels.
inline constexpr core::Index kModuleNy = 512, kModuleNx = 1024;

/// Every bit of the word is kept: 24 bits of frame, 24 of pixel, 16 of count.
struct Event {
  std::uint32_t frame = 0, pixel = 0;
  std::uint16_t count = 0;
};
constexpr std::uint64_t pack(const Event& e) {
  return std::uint64_t{e.frame} << 40 | std::uint64_t{e.pixel & 0xffffffU} << 16 | e.count;
}
constexpr Event unpack(std::uint64_t word) {
  return {static_cast<std::uint32_t>(word >> 40), static_cast<std::uint32_t>(word >> 16) & 0xffffffU,
          static_cast<std::uint16_t>(word)};
}

/// Hands out the events of a file frame by frame, in bounded memory.
class EventFile {
public:
  /// `name` is for messages. Throws `corrupt_data` for a file without a whole event, `not_found`, `io`.
  EventFile(std::unique_ptr<Bytes> bytes, std::string name);

  /// One more than the frame of the last event.
  core::Index frames() const { return frames_; }
  const std::string& name() const { return name_; }

  struct Frame {
    std::span<const std::uint64_t> events;  ///< valid until the next call; empty where `damage` is not
    std::string damage;                     ///< why this frame cannot be trusted
  };
  /// The events of frame `id`; ids grow from call to call. A single word with a frame number that does not fit
  /// between its neighbours makes the frame around it a damaged one (two frames where either word may be wrong), and so
  /// does a file that ends within a word. Throws `corrupt_data` where the numbers go back (two series in one file), or
  /// for a frame with more than 2^27 events; `io`.
  Frame take(model::FrameId id);

  /// True where the first events could be those of a Rigaku file (there is no mark to tell it by): whole words, frame
  /// numbers that do not fall, counts > 0. `pixels` bounds the pixel numbers.
  static bool looks_like(const Bytes& bytes, core::Index pixels);

private:
  bool fill();  // more words at the end of the buffer; false at the end of the file
  bool at_end() { return pos_ == end_ && !fill(); }
  std::uint32_t frame_at(std::size_t i) const { return static_cast<std::uint32_t>(buffer_[i] >> 40); }

  std::unique_ptr<Bytes> bytes_;
  std::string name_;
  core::Index words_ = 0, read_ = 0, frames_ = 0;
  bool torn_ = false;  // bytes behind the last whole word
  std::vector<std::uint64_t> buffer_;
  std::map<model::FrameId, std::string> doubtful_;
  std::size_t keep_ = 0, pos_ = 0, end_ = 0;  // words [keep, pos) belong to the frame that is being taken
};

}  // namespace farfield::io::rigaku
