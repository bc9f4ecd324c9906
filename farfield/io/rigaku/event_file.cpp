#include "farfield/io/rigaku/event_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "farfield/core/error.hpp"

namespace farfield::io::rigaku {

using core::Error;
using core::ErrorCode;
using core::Index;

static_assert(std::endian::native == std::endian::little, "words are read as they are stored");

namespace {
constexpr Index kWord = sizeof(std::uint64_t);
// Half of a second-level cache: a frame is decoded while its words are still in it.
constexpr std::size_t kBufferWords = std::size_t{1} << 16;
// A last word that says a frame so far behind the one before it is damaged; no detector is dark for so long.
constexpr Index kLongestJump = Index{1} << 20;
constexpr std::size_t kMostWords = std::size_t{1} << 27;

// The first word from `pos` on that is not of this frame. Blocks without a branch on each word are vectorised.
std::size_t end_of_frame(const std::uint64_t* words, std::size_t pos, std::size_t end, std::uint64_t frame) {
  constexpr std::size_t kBlock = 16;
  for (; pos + kBlock <= end; pos += kBlock) {
    std::uint64_t differs = 0;
    for (std::size_t i = 0; i < kBlock; ++i) differs |= (words[pos + i] >> 40) ^ frame;
    if (differs != 0) break;
  }
  while (pos < end && words[pos] >> 40 == frame) ++pos;
  return pos;
}

std::span<std::byte> bytes_of(std::uint64_t* words, std::size_t count) {
  return std::as_writable_bytes(std::span(words, count));
}
}  // namespace

EventFile::EventFile(std::unique_ptr<Bytes> bytes, std::string name)
    : bytes_(std::move(bytes)),
      name_(std::move(name)),
      words_(bytes_->size() / kWord),
      torn_(bytes_->size() % kWord != 0),
      buffer_(kBufferWords) {
  if (words_ == 0)
    throw Error(ErrorCode::corrupt_data, fmt::format("{} bytes hold no event of {} bytes", bytes_->size(), kWord))
        .at(name_);
  std::uint64_t last = 0;
  bytes_->read((words_ - 1) * kWord, bytes_of(&last, 1));
  auto end = static_cast<Index>(unpack(last).frame);
  if (words_ > 1) {
    std::uint64_t tail[2] = {0, 0};
    const auto count = std::min<Index>(words_ - 1, 2);
    bytes_->read((words_ - 1 - count) * kWord, bytes_of(tail + 2 - count, static_cast<std::size_t>(count)));
    const auto first = static_cast<Index>(unpack(tail[0]).frame), before = static_cast<Index>(unpack(tail[1]).frame);
    // Where the last word fits the one before the two, the other is the damaged one, which take() finds.
    const bool fits = end > first || (end == first && before > first + kLongestJump);
    if ((end < before && !fits) || end > before + kLongestJump) {
      doubtful_[before] = fmt::format("event {} of the file, its last one, says frame {}, after an event of frame {}",
                                      words_ - 1, end, before);
      if (end == first) doubtful_[end] = doubtful_[before];  // either of the two words may be wrong
      end = before;
      --words_;
    }
  }
  frames_ = end + 1;
}

bool EventFile::fill() {
  if (read_ == words_) return false;
  if (keep_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + keep_, (end_ - keep_) * sizeof(std::uint64_t));
    pos_ -= keep_;
    end_ -= keep_;
    keep_ = 0;
  }
  if (end_ == buffer_.size()) {
    if (buffer_.size() >= kMostWords)
      throw Error(ErrorCode::corrupt_data,
                  fmt::format("frame {} has more than {} events", frame_at(keep_), buffer_.size()))
          .at(name_);
    buffer_.resize(2 * buffer_.size());
  }
  const auto count =
      static_cast<std::size_t>(std::min<Index>(words_ - read_, static_cast<Index>(buffer_.size() - end_)));
  bytes_->read(read_ * kWord, bytes_of(buffer_.data() + end_, count));
  read_ += static_cast<Index>(count);
  end_ += count;
  return true;
}

EventFile::Frame EventFile::take(model::FrameId id) {
  Frame frame;
  keep_ = pos_;
  const auto wanted = static_cast<std::uint64_t>(id);
  if (const auto doubt = doubtful_.find(id); doubt != doubtful_.end()) frame.damage = doubt->second;
  while (!at_end()) {
    pos_ = end_of_frame(buffer_.data(), pos_, end_, wanted);
    if (pos_ == end_) continue;
    // Another frame begins here, unless this word is damaged: then the one behind it falls back.
    const Index word = read_ - static_cast<Index>(end_ - pos_);
    const std::uint32_t found = frame_at(pos_);
    const bool last = pos_ + 1 == end_ && !fill();
    const std::uint32_t following = last ? found : frame_at(pos_ + 1);
    if (found > wanted && following >= found) break;
    if (following < wanted)
      throw Error(ErrorCode::corrupt_data,
                  fmt::format("event {} is of frame {}, after events of frame {}: frames must be in order",
                              found < wanted ? word : word + 1, std::min(found, following), id))
          .at(name_);
    frame.damage = fmt::format("event {} of the file says frame {}, between events of frames {} and {}", word, found,
                               id, following);
    // Either of two words may be the damaged one: neither frame can be trusted.
    if (following == wanted)
      doubtful_[found] = fmt::format("event {} of this frame stands before one of frame {}", word, id);
    ++pos_;
    keep_ = pos_;
  }
  if (id + 1 == frames_ && !at_end())
    throw Error(ErrorCode::corrupt_data,
                fmt::format("event {} is of frame {}, but the file ends with frame {}: frames must be in order",
                            read_ - static_cast<Index>(end_ - pos_), frame_at(pos_), id))
        .at(name_);
  if (torn_ && read_ == words_ && pos_ == end_ && id + 1 >= frames_ && frame.damage.empty())
    frame.damage =
        fmt::format("the file ends within an event, {} bytes behind the last whole one", bytes_->size() % kWord);
  if (frame.damage.empty()) frame.events = {buffer_.data() + keep_, pos_ - keep_};
  return frame;
}

bool EventFile::looks_like(const Bytes& bytes, Index pixels) {
  constexpr Index kProbed = 512;
  const Index count = std::min(kProbed, bytes.size() / kWord);
  if (count == 0) return false;
  std::vector<std::uint64_t> words(static_cast<std::size_t>(count));
  bytes.read(0, bytes_of(words.data(), words.size()));
  std::uint32_t frame = 0;
  for (const auto word : words) {
    const Event e = unpack(word);
    if (e.frame < frame || e.count == 0 || static_cast<Index>(e.pixel) >= pixels) return false;
    frame = e.frame;
  }
  return true;
}

}  // namespace farfield::io::rigaku
