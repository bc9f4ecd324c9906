#pragma once
// The k-way join: datagrams of several streams with the same time are one event.

#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "farfield/io/xtc2/layout.hpp"

namespace farfield::pipeline::events {

using core::Index;
using io::xtc2::EventTime;

/// As many streams as a run may have (one bit each in a mask of streams).
inline constexpr int kMostStreams = 64;
/// The place of a stream that has no datagram at an event.
inline constexpr std::uint32_t kMissing = ~std::uint32_t{0};

/// Events of a block: time(event) and of(event)[stream], the byte at which the datagram begins in the stream's bytes.
class EventTable {
public:
  Index size() const { return size_; }
  EventTime time(Index event) const { return times_[static_cast<std::size_t>(event)]; }
  std::span<const EventTime> times() const { return std::span(times_).first(static_cast<std::size_t>(size_)); }
  std::span<const std::uint32_t> of(Index event) const {
    return std::span(places_).subspan(static_cast<std::size_t>(event) * streams_, streams_);
  }
  void clear() { size_ = 0; }

private:
  friend class Join;
  // Longer than needed: memory that was used once is not cleared again.
  std::vector<EventTime> times_;
  std::vector<std::uint32_t> places_;
  std::size_t streams_ = 0;
  Index size_ = 0;
};

/// Why a join stopped.
enum class JoinStop {
  limit,       ///< as many events as were asked for
  transition,  ///< every event before the next transition is joined
  starved,     ///< a stream needs more bytes, see Join::starved()
  done,        ///< all streams have ended
};

/// Joins what lies in memory, as far as it goes; more bytes may follow. Times of a stream grow: an event that comes
/// late or twice is left out and counted, and so is one whose time can be none.
class Join {
public:
  /// Throws `invalid_argument` unless 1 <= streams <= kMostStreams.
  explicit Join(int streams);

  /// Events up to this time were joined before: they would come late.
  void begin_after(EventTime time) {
    joined_ = time;
    any_ = true;
  }
  /// The bytes of a stream since the last rewind(), those that are joined included: whole datagrams, and perhaps the
  /// beginning of one more. They stay where they are until the next call. `last`: nothing follows. At most 2^32 - 2
  /// bytes.
  void set_bytes(int stream, std::span<const std::byte> bytes, bool last);
  /// Bytes of `stream` that are joined (or left out).
  std::uint32_t place(int stream) const { return lanes_[at(stream)].place; }
  /// Joins at most `limit` further events and appends them to `out`.
  JoinStop run(Index limit, EventTable& out);
  /// The same without a table, for who only wants to know how far a block of events reaches. Adds to `count`.
  JoinStop pass(Index limit, Index& count);
  /// The time of the event that was joined last; 0 before any.
  EventTime joined() const { return joined_; }

  bool starved(int stream) const { return lanes_[at(stream)].state == State::starved; }
  /// True where a datagram has a size that cannot be: this stream is over.
  bool broken(int stream) const { return lanes_[at(stream)].state == State::broken; }
  /// At a transition: its time, and which streams stand at it. Every stream should.
  EventTime transition_time() const { return barrier_; }
  bool at_transition(int stream) const {
    const Lane& lane = lanes_[at(stream)];
    return lane.state == State::transition && time_[at(stream)] == barrier_;
  }
  /// The bytes of the datagram that a stream stands at.
  std::span<const std::byte> head(int stream) const;
  /// Steps over it.
  void skip(int stream);
  /// Forgets the bytes that are joined: set_bytes() follows for every stream, with what was behind them.
  void rewind();

  Index late() const { return late_; }  ///< left out: not after the event before it, or at no time at all

private:
  enum class State : std::uint8_t { event, transition, starved, ended, broken };
  struct Lane {
    const std::byte* begin = nullptr;
    std::uint32_t place = 0, size = 0, end = 0;
    State state = State::starved;
    bool last = false;
  };
  static constexpr EventTime kNever = std::numeric_limits<EventTime>::max();
  static std::size_t at(int stream) { return static_cast<std::size_t>(stream); }
  void load(std::size_t stream);
  void find_barrier();
  template <bool kWrite>
  std::size_t go(std::size_t limit, EventTime* times, std::uint32_t* places);
  JoinStop why() const {
    return hungry_ ? JoinStop::starved : barrier_ != kNever ? JoinStop::transition : JoinStop::done;
  }

  std::array<EventTime, kMostStreams> time_{};  // of each stream's next datagram; kNever: it does not take part
  std::vector<Lane> lanes_;
  EventTime barrier_ = kNever, joined_ = 0;     // time of the next transition, of the last event
  bool any_ = false, hungry_ = true;
  Index late_ = 0;
};

}  // namespace farfield::pipeline::events
