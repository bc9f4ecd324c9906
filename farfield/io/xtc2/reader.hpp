#pragma once
// The datagrams of a file, one after the other, also while it is written.

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "farfield/io/xtc2/datagram.hpp"

namespace farfield::io::xtc2 {

/// Fills the front of `out` with bytes from `offset` on, as many as there are now; how many. 0: no more at present.
using ReadSome = std::function<Index(Index offset, std::span<std::byte> out)>;

/// A file that may grow. Throws `not_found`, `io`, also from the calls.
ReadSome read_file_some(const std::filesystem::path& path);
/// Bytes in memory.
ReadSome read_memory_some(std::vector<std::byte> bytes);

class DatagramReader {
public:
  explicit DatagramReader(ReadSome read, Index buffer_bytes = Index{1} << 18);

  /// The next datagram, valid until the next call; nothing at the present end, from where a later call goes on. Memory
  /// grows with the bytes that are there, not with those that a datagram promises. Throws `io`.
  std::optional<Datagram> next();
  /// Where the datagram that was handed out last begins.
  Index offset() const { return offset_; }
  /// After next() has returned nothing: why bytes remain ("ends within a datagram", "a size that cannot be"); empty
  /// where none do. A size that cannot be ends the file for good: nothing tells where the next datagram begins.
  std::string rest() const;

private:
  bool fill(std::size_t wanted);

  ReadSome read_;
  std::vector<std::byte> buffer_;
  std::size_t begin_ = 0, end_ = 0;
  Index read_to_ = 0, offset_ = 0;
};

}  // namespace farfield::io::xtc2
