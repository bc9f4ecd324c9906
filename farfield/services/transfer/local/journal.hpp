#pragma once
// Which chunks of an unfinished file are on the disk: a small file beside it, to which records are appended. Each has
// a checksum of its own; reading ends at the first damaged one, so a crash while it is written costs chunks, never
// trust.

#include <cstdint>
#include <span>
#include <utility>

#include "farfield/services/transfer/descriptor.hpp"
#include "farfield/services/transfer/provider.hpp"
#include "farfield/services/transfer/root.hpp"

namespace farfield::services::transfer {

class Journal {
public:
  /// Opens the journal `path`, or begins a new one where there is none or it was written with another chunk size.
  Journal(const Root& root, const std::string& path, const Version& source, Index chunk_bytes);
  /// What the journal said when it was opened; the version is that of its first attempt.
  const Held& held() const { return held_; }
  /// Appends. The chunks must be on the disk already.
  void add(std::span<const std::pair<Index, std::uint32_t>> chunks);

private:
  bool load(Index chunk_bytes);
  void begin(const Version& source, Index chunk_bytes);
  void write(std::span<const std::byte> bytes);
  std::string where_;
  Descriptor file_;
  Index end_ = 0;
  Held held_;
};

}  // namespace farfield::services::transfer
