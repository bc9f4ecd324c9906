#include "farfield/pipeline/events/index_reader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace farfield::pipeline::events {

namespace xtc2 = io::xtc2;
using core::Error;
using core::ErrorCode;
using xtc2::Transition;

IndexSource open_index(const std::filesystem::path& path) {
  const auto present = xtc2::present_path(path);
  if (present.empty()) throw Error(ErrorCode::not_found, "no such index").at(path.string());
  // Renaming moves the name, not the open file: reading goes on.
  return {xtc2::read_file_some(present), [path] { return xtc2::is_growing(path); }};
}

IndexReader::IndexReader(std::vector<IndexSource> sources, const IndexReaderOptions& options)
    : options_(options), join_(static_cast<int>(sources.size())) {
  for (auto& source : sources) {
    Stream stream;
    stream.source = std::move(source);
    streams_.push_back(std::move(stream));
  }
  block_.bytes.resize(streams_.size());
}

// A full block takes about as much of a stream as the one before: what is read beyond it would only be moved to the
// front when the block is gone. Reads end with a page, so that the next one begins with one.
std::size_t IndexReader::read_bytes(const Stream& stream) const {
  constexpr std::size_t kPage = 4096, kLeast = 2 * kPage;
  const auto most = static_cast<std::size_t>(options_.read_bytes);
  if (stream.usual <= stream.size) return stream.usual == 0 ? most : std::min(most, kLeast);
  const auto page_end =
      (static_cast<std::size_t>(stream.read_to) + stream.usual - stream.size + kPage - 1) / kPage * kPage;
  return std::min(most, page_end - static_cast<std::size_t>(stream.read_to));
}

// More bytes of a stream; false where there are none now.
bool IndexReader::fill(std::size_t s) {
  Stream& stream = streams_[s];
  if (stream.last) return false;
  const std::size_t more = read_bytes(stream);
  if (stream.capacity - stream.size < more) {
    const std::size_t capacity = std::max(2 * stream.capacity, stream.size + more);
    auto grown = std::make_unique_for_overwrite<std::byte[]>(capacity);
    if (stream.size > 0) std::memcpy(grown.get(), stream.bytes.get(), stream.size);
    stream.bytes = std::move(grown);
    stream.capacity = capacity;
  }
  // Asked before reading: what was written before the file got its last name is read then.
  const bool growing = stream.source.growing();
  const Index got = stream.source.read(stream.read_to, {stream.bytes.get() + stream.size, more});
  stream.size += static_cast<std::size_t>(got);
  stream.read_to += got;
  if (got == 0 && !growing) stream.last = true;
  join_.set_bytes(static_cast<int>(s), {stream.bytes.get(), stream.size}, stream.last);
  return got > 0 || stream.last;
}

// Fills every stream that the join waits for; false where one of them has nothing.
bool IndexReader::feed() {
  bool all = true;
  for (std::size_t s = 0; s < streams_.size(); ++s)
    if (join_.starved(static_cast<int>(s)) && !fill(s)) all = false;
  return all;
}

// Forgets what the last block or transition was made of.
void IndexReader::drop_taken() {
  std::vector<std::size_t> places;
  for (std::size_t s = 0; s < streams_.size(); ++s) places.push_back(join_.place(static_cast<int>(s)));
  join_.rewind();
  for (std::size_t s = 0; s < streams_.size(); ++s) {
    Stream& stream = streams_[s];
    stream.size -= places[s];
    if (stream.size > 0) std::memmove(stream.bytes.get(), stream.bytes.get() + places[s], stream.size);
    join_.set_bytes(static_cast<int>(s), {stream.bytes.get(), stream.size}, stream.last);
  }
}

void IndexReader::note_losses() {
  if (join_.late() > late_) faults_["event out of the order of time"] += join_.late() - late_;
  late_ = join_.late();
  for (std::size_t s = 0; s < streams_.size(); ++s) {
    Stream& stream = streams_[s];
    if (stream.broken || !join_.broken(static_cast<int>(s))) continue;
    stream.broken = true;
    ++faults_[fmt::format("stream {}: a size that cannot be, nothing is read behind it", s)];
  }
}

// A damaged time that lies ahead would keep its stream from joining for good. Where the transition that the others
// stand at follows soon in this stream, what lies between is left out.
void IndexReader::catch_up(std::size_t s, EventTime time, Transition kind) {
  constexpr int kFills = 4;
  const int stream = static_cast<int>(s);
  std::size_t at = join_.place(stream);
  Index skipped = 0;
  for (int fills = 0;; ++skipped) {
    while (streams_[s].size - at < xtc2::kHeaderBytes)
      if (fills++ == kFills || !fill(s)) return;
    const auto header = xtc2::load<xtc2::Header>(streams_[s].bytes.get() + at);
    if (header.size() < xtc2::kHeaderBytes) return;
    if (header.transition() == kind && header.time() == time) break;
    while (static_cast<Index>(streams_[s].size - at) < header.size())
      if (fills++ == kFills || !fill(s)) return;
    at += static_cast<std::size_t>(header.size());
  }
  const Index late = join_.late();
  while (join_.place(stream) < at && !join_.head(stream).empty()) join_.skip(stream);
  faults_["event out of the order of time"] += skipped - (join_.late() - late);  // the join counts what it leaves out
}

void IndexReader::take_transition() {
  const EventTime time = join_.transition_time();
  int first_there = -1;
  for (std::size_t s = 0; s < streams_.size() && first_there < 0; ++s)
    if (join_.at_transition(static_cast<int>(s))) first_there = static_cast<int>(s);
  const auto wanted = xtc2::load<xtc2::Header>(join_.head(first_there).data()).transition();
  for (std::size_t s = 0; s < streams_.size(); ++s)
    if (!join_.at_transition(static_cast<int>(s)) && !join_.head(static_cast<int>(s)).empty())
      catch_up(s, time, wanted);
  transition_.time = time;
  transition_.datagrams.assign(streams_.size(), {});
  transition_.transition = wanted;
  for (std::size_t s = 0; s < streams_.size(); ++s) {
    const int stream = static_cast<int>(s);
    if (!join_.at_transition(stream)) continue;
    const auto head = join_.head(stream);
    const auto kind = xtc2::load<xtc2::Header>(head.data()).transition();
    // Two different ones at the same time are two transitions.
    if (kind != transition_.transition) continue;
    transition_.datagrams[s].assign(head.begin(), head.end());
    if (kind == Transition::end_run) streams_[s].ended = true;
    if (kind == Transition::configure || kind == Transition::begin_run) streams_[s].ended = false;
    join_.skip(stream);
  }
  any_transition_ = true;
  const auto missing = std::count_if(transition_.datagrams.begin(), transition_.datagrams.end(),
                                     [](const auto& d) { return d.empty(); });
  if (missing > 0) faults_[fmt::format("{} missing in a stream", name(transition_.transition))] += missing;
}

void IndexReader::give_up() {
  for (std::size_t s = 0; s < streams_.size(); ++s) {
    Stream& stream = streams_[s];
    stream.last = true;
    join_.set_bytes(static_cast<int>(s), {stream.bytes.get(), stream.size}, true);
  }
}

IndexReader::Got IndexReader::next() {
  if (taken_) {
    passed_ = 0;
    if (any_transition_ || block_.events > 0) drop_taken();
    taken_ = false;
  }
  for (;;) {
    Index bytes = 0;
    for (std::size_t s = 0; s < streams_.size(); ++s) bytes += join_.place(static_cast<int>(s));
    if (passed_ == 0 && bytes >= options_.block_bytes) drop_taken();  // nothing but events that came late
    const bool full = passed_ > 0 && (passed_ >= options_.block_events || bytes >= options_.block_bytes);
    const auto stop =
        full ? JoinStop::limit : join_.pass(std::min<Index>(options_.block_events - passed_, 4096), passed_);
    note_losses();
    if (stop == JoinStop::limit && !full) continue;
    if (stop == JoinStop::starved) {
      if (feed()) continue;
      // While files grow, what is there is handed out rather than kept for a full block.
      if (passed_ == 0) {
        const bool over = std::all_of(streams_.begin(), streams_.end(), [](const Stream& s) { return s.ended; });
        return over ? Got::end : Got::waiting;
      }
    }
    if (passed_ > 0) {
      block_.number = block_.events > 0 ? block_.number + 1 : 0;
      block_.after = last_event_;
      last_event_ = join_.joined();
      block_.events = passed_;
      for (std::size_t s = 0; s < streams_.size(); ++s) {
        block_.bytes[s] = {streams_[s].bytes.get(), join_.place(static_cast<int>(s))};
        if (full) streams_[s].usual = block_.bytes[s].size();
      }
      taken_ = true;
      return Got::block;
    }
    if (stop == JoinStop::transition) {
      take_transition();
      taken_ = true;
      return Got::transition;
    }
    for (std::size_t s = 0; s < streams_.size(); ++s)
      if (!streams_[s].broken && streams_[s].size > join_.place(static_cast<int>(s)))
        ++faults_[fmt::format("stream {}: the index ends within a datagram", s)];
    return Got::end;
  }
}

}  // namespace farfield::pipeline::events
