#include "farfield/pipeline/events/join.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "farfield/core/error.hpp"

namespace farfield::pipeline::events {

using io::xtc2::kHeaderBytes;
using io::xtc2::Transition;

Join::Join(int streams) {
  if (streams < 1 || streams > kMostStreams)
    throw core::Error(core::ErrorCode::invalid_argument,
                      fmt::format("{} streams; 1 to {} can be joined", streams, kMostStreams));
  lanes_.resize(at(streams));
  time_.fill(kNever);
}

void Join::set_bytes(int stream, std::span<const std::byte> bytes, bool last) {
  Lane& lane = lanes_[at(stream)];
  lane.begin = bytes.data();
  lane.end = static_cast<std::uint32_t>(std::min<std::size_t>(bytes.size(), kMissing - 1));
  lane.last = last && lane.end == bytes.size();
  if (lane.state != State::broken) load(at(stream));
  find_barrier();
  hungry_ = std::any_of(lanes_.begin(), lanes_.end(), [](const Lane& l) { return l.state == State::starved; });
}

// Looks at the datagram at the lane's place, past those that come late.
void Join::load(std::size_t stream) {
  Lane& lane = lanes_[stream];
  for (;;) {
    const std::uint32_t left = lane.end - lane.place;
    const std::byte* head = lane.begin + lane.place;
    time_[stream] = kNever;
    if (left < kHeaderBytes) {
      lane.state = lane.last ? State::ended : State::starved;
      hungry_ = hungry_ || !lane.last;
      return;
    }
    const auto extent = io::xtc2::load<std::uint32_t>(head + 20);
    if (extent < 12 || extent > kMissing - 24) {
      lane.state = State::broken;
      return;
    }
    lane.size = extent + 12;
    if (lane.size > left) {
      lane.state = lane.last ? State::ended : State::starved;
      hungry_ = hungry_ || !lane.last;
      return;
    }
    const auto time = io::xtc2::load<EventTime>(head);  // seconds stand above nanoseconds
    const auto service = io::xtc2::load<std::uint32_t>(head + 8) >> 24 & 0xfU;
    if (service != static_cast<std::uint32_t>(Transition::l1_accept) && time != kNever) {
      lane.state = State::transition;
      time_[stream] = time;
      barrier_ = std::min(barrier_, time);
      return;
    }
    if ((time > joined_ || !any_) && time != kNever) [[likely]] {
      lane.state = State::event;
      time_[stream] = time;
      return;
    }
    ++late_;
    lane.place += lane.size;
  }
}

void Join::find_barrier() {
  barrier_ = kNever;
  for (std::size_t s = 0; s < lanes_.size(); ++s)
    if (lanes_[s].state == State::transition) barrier_ = std::min(barrier_, time_[s]);
}

// At most `limit` events; how many.
template <bool kWrite>
std::size_t Join::go(std::size_t limit, EventTime* times, std::uint32_t* places) {
  const std::size_t streams = lanes_.size();
  Lane* const lanes = lanes_.data();
  std::size_t made = 0;
  EventTime next = kNever;
  for (std::size_t s = 0; s < streams; ++s) next = std::min(next, time_[s]);
  while (made < limit && !hungry_ && next < barrier_) {  // no next at all, kNever, is not before any barrier
    joined_ = next;
    any_ = true;
    // The earliest time that follows is found on the way: times that were stored just now, read again together, would
    // have to wait for the stores.
    EventTime following = kNever;
    for (std::size_t s = 0; s < streams; ++s) {
      EventTime time = time_[s];
      if (time != next) {
        if constexpr (kWrite) places[s] = kMissing;
        following = std::min(following, time);
        continue;
      }
      Lane& lane = lanes[s];
      if constexpr (kWrite) places[s] = lane.place;
      lane.place += lane.size;
      // Mostly another event follows, whole and later: all else is for load() to see to.
      const std::uint32_t left = lane.end - lane.place;
      if (left >= kHeaderBytes) [[likely]] {
        const std::byte* head = lane.begin + lane.place;
        const auto extent = io::xtc2::load<std::uint32_t>(head + 20);
        time = io::xtc2::load<EventTime>(head);
        const auto service = io::xtc2::load<std::uint32_t>(head + 8) >> 24 & 0xfU;
        if (extent - 12 <= left - kHeaderBytes && time > next && time != kNever &&
            service == static_cast<std::uint32_t>(Transition::l1_accept)) [[likely]] {
          lane.size = extent + 12;
          time_[s] = time;
          following = std::min(following, time);
          continue;
        }
      }
      load(s);
      following = std::min(following, time_[s]);
    }
    if constexpr (kWrite) {
      times[made] = next;
      places += streams;
    }
    ++made;
    next = following;
  }
  return made;
}

JoinStop Join::run(Index limit, EventTable& out) {
  const std::size_t streams = lanes_.size();
  out.streams_ = streams;
  while (limit > 0) {
    // Room for a piece at once: no test for growth in the loop.
    const auto piece = static_cast<std::size_t>(std::min<Index>(limit, 4096)),
               had = static_cast<std::size_t>(out.size_);
    if (out.times_.size() < had + piece) out.times_.resize(2 * (had + piece));
    if (out.places_.size() < out.times_.size() * streams) out.places_.resize(out.times_.size() * streams);
    const std::size_t made = go<true>(piece, out.times_.data() + had, out.places_.data() + had * streams);
    out.size_ += static_cast<Index>(made);
    limit -= static_cast<Index>(made);
    if (made < piece) return why();
  }
  return JoinStop::limit;
}

JoinStop Join::pass(Index limit, Index& count) {
  const auto made = static_cast<Index>(go<false>(static_cast<std::size_t>(limit), nullptr, nullptr));
  count += made;
  return made < limit ? why() : JoinStop::limit;
}

std::span<const std::byte> Join::head(int stream) const {
  const Lane& lane = lanes_[at(stream)];
  if (lane.state != State::event && lane.state != State::transition) return {};
  return {lane.begin + lane.place, lane.size};
}

void Join::skip(int stream) {
  Lane& lane = lanes_[at(stream)];
  if (lane.state != State::event && lane.state != State::transition) return;
  lane.place += lane.size;
  load(at(stream));
  find_barrier();
}

void Join::rewind() {
  for (std::size_t s = 0; s < lanes_.size(); ++s) {
    Lane& lane = lanes_[s];
    lane.place = lane.end = 0;
    if (lane.state != State::broken) lane.state = State::starved;
    time_[s] = kNever;
  }
  find_barrier();
  hungry_ = true;
}

}  // namespace farfield::pipeline::events
