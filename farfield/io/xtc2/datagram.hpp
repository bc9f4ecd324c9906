#pragma once
// One datagram and what is in it. Nothing here trusts a size: what does not fit its container is a fault, said in
// words, and the rest of the datagram is read.

#include <array>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "farfield/core/error.hpp"
#include "farfield/io/xtc2/names.hpp"

namespace farfield::io::xtc2 {

/// A whole datagram in memory that belongs to somebody else.
class Datagram {
public:
  /// The datagram that `bytes` begin with. Fails with `corrupt_data` where its size is impossible or beyond `bytes`.
  static core::Result<Datagram> parse(std::span<const std::byte> bytes);

  const Header& header() const { return header_; }
  EventTime time() const { return header_.time(); }
  Transition transition() const { return header_.transition(); }
  std::span<const std::byte> bytes() const { return bytes_; }
  std::span<const std::byte> payload() const { return bytes_.subspan(kHeaderBytes); }

private:
  friend class DatagramReader;
  explicit Datagram(std::span<const std::byte> bytes) : header_(load<Header>(bytes.data())), bytes_(bytes) {}
  Header header_;
  std::span<const std::byte> bytes_;
};

/// One field's value: bytes that lie anywhere (not aligned), row-major.
struct Value {
  const Field* field = nullptr;
  std::span<const std::byte> bytes;
  std::array<std::uint32_t, kMaxRank> shape{};  ///< the first `rank` count

  /// Up to the first NUL.
  std::string text() const;
  /// A scalar as a number; exact up to 2^53.
  double number() const;
  /// A copy with type and shape.
  core::AnyArray array() const;
};

/// The values of one Names at one datagram.
struct Block {
  std::shared_ptr<const Names> names;
  std::uint16_t damage = 0;
  std::span<const std::byte> shapes, data;  ///< payloads

  /// All values, in the order of the fields; an `enum_entry` is one, too. Fails with `corrupt_data` where shapes or
  /// data end before the fields do, `unsupported` for an element type that is not known.
  core::Result<void> values(std::vector<Value>& out) const;
  /// The value of field `index`; fails as values() does, and with `not_found`.
  core::Result<Value> value(Index index) const;
};

/// Everything in a datagram, in the order of the file.
struct Contents {
  std::vector<std::variant<std::shared_ptr<const Names>, Block>> items;
  std::vector<std::string> faults;  ///< what could not be read, and where (bytes from the start of the datagram)
};

/// Names are entered into `table` as they come, ShapesData are looked up in it; a Configure empties it first.
/// Containers that are marked as corrupted are a fault and are not entered; other damage is handed on.
void read_contents(const Datagram& datagram, NamesTable& table, Contents& out);

}  // namespace farfield::io::xtc2
