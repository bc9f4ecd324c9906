#pragma once
// Smalldata: the index of a stream, itself an xtc2 file. Transitions are in it as they are; of an event there is only
// where its datagram stands in the data file.

#include <optional>
#include <span>
#include <vector>

#include "farfield/io/xtc2/datagram.hpp"

namespace farfield::io::xtc2 {

/// Where the datagram of an event stands in its chunk of the data.
struct IndexEntry {
  std::uint64_t offset = 0, size = 0;
};

/// The Names of an index ("smdinfo": intOffset, intDgramSize), under the id that the facility's smdwriter takes.
const Names& index_names();

/// Appends the index of one datagram, which begins at byte `offset` of its chunk, to `out`. The payload of EndRun is
/// left out. Throws `conflict` for a Configure that has names under the id of the index already (an index of an index).
void append_index(const Datagram& datagram, Index offset, std::vector<std::byte>& out);

/// Reads the entries of an index.
class IndexReader {
public:
  /// Takes note of the Configure of a stream; the names may stand under any id.
  void configure(const NamesTable& table);
  /// True where the last Configure has the names of an index.
  bool is_index() const { return names_ != nullptr; }
  /// Nothing where the datagram holds no entry, or one that does not fit a file.
  std::optional<IndexEntry> entry(std::span<const std::byte> datagram) const;

private:
  std::shared_ptr<const Names> names_;
  Index offset_field_ = -1, size_field_ = -1;
};

}  // namespace farfield::io::xtc2
