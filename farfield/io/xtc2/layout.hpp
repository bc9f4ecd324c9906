#pragma once
// The bytes of LCLS-II xtc2: what a file is made of. Little-endian, packed, no file header and no checksum: a file is
// datagrams one after the other, a datagram is a header and a tree of containers ("xtc").
//
//   datagram   0 u64 time | 8 u32 env | 12 container
//   container  0 u32 src | 4 u16 damage | 6 u16 contains | 8 u32 extent, these 12 bytes included

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "farfield/core/view.hpp"

namespace farfield::io::xtc2 {

using core::Index;
static_assert(std::endian::native == std::endian::little, "values are read as they are stored");

inline constexpr Index kHeaderBytes = 24;     ///< datagram up to its payload
inline constexpr Index kContainerBytes = 12;  ///< container up to its payload

/// Seconds and nanoseconds as one number, seconds << 32 | nanoseconds: the id of an event. It is ordered like time, but
/// is no number of nanoseconds. The clock's origin is 1990-01-01 for files of the data acquisition, anything for
/// others.
using EventTime = std::uint64_t;
constexpr std::uint32_t seconds(EventTime time) { return static_cast<std::uint32_t>(time >> 32); }
constexpr std::uint32_t nanoseconds(EventTime time) { return static_cast<std::uint32_t>(time); }

/// What a datagram announces; all but l1_accept (an event's data) are transitions, which appear in every stream.
enum class Transition : std::uint8_t {
  clear_readout,
  reset,
  configure,
  unconfigure,
  begin_run,
  end_run,
  begin_step,
  end_step,
  enable,
  disable,
  slow_update,
  l1_end_of_batch,  ///< in memory only
  l1_accept,
};
/// As the facility writes it ("L1Accept"); "unknown" beyond the list.
std::string_view name(Transition transition);

enum class ContainerType : std::uint8_t { parent, shapes_data, shapes, data, names };

/// Bits of a damage word.
inline constexpr std::uint16_t kTruncated = 1U << 0, kOutOfOrder = 1U << 1, kOutOfSynch = 1U << 2, kCorrupted = 1U << 3,
                               kDroppedContribution = 1U << 4, kMissingData = 1U << 5, kTimedOut = 1U << 6,
                               kUserDamage = 1U << 12;

/// The header of a container, as stored.
struct Container {
  std::uint32_t src = 0;
  std::uint16_t damage = 0, contains = 0;
  std::uint32_t extent = 0;

  ContainerType type() const { return static_cast<ContainerType>(contains & 0xfffU); }
  /// For Names and ShapesData: node << 8 | number, without the level in the upper four bits.
  std::uint32_t names_id() const { return src & 0x0fffffffU; }
};
static_assert(sizeof(Container) == kContainerBytes);

/// The header of a datagram, as stored.
struct Header {
  std::uint32_t nanoseconds = 0, seconds = 0, env = 0;
  Container xtc;

  EventTime time() const { return std::uint64_t{seconds} << 32 | nanoseconds; }
  Transition transition() const { return static_cast<Transition>(env >> 24 & 0xfU); }
  bool is_event() const { return transition() == Transition::l1_accept; }
  /// Bytes of the whole datagram. Fewer than kHeaderBytes: not a datagram.
  Index size() const { return Index{12} + xtc.extent; }
};
static_assert(sizeof(Header) == kHeaderBytes);

/// `bytes` must hold sizeof(T) bytes.
template <class T>
T load(const std::byte* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

}  // namespace farfield::io::xtc2
