#pragma once
// The local file system (also NFS, Lustre, GPFS: whatever is mounted) as a side of transfers.

#include <filesystem>

#include "farfield/services/transfer/provider.hpp"

namespace farfield::services::transfer {

struct LocalOptions {
  /// fsync of files and folders before a file counts as there. Without it a crash of the machine can lose files that
  /// were reported as copied.
  bool durable = true;
  /// After so many bytes of a file the chunks are flushed and written to its journal, so that an interrupted
  /// transfer goes on from there; smaller files begin anew.
  Index journal_bytes = Index{64} << 20;
};

/// Exports `root`. Unfinished files lie beside their place as `.farfield-*`, hidden from list().
std::unique_ptr<Provider> local_provider(const std::filesystem::path& root, const LocalOptions& options = {});

}  // namespace farfield::services::transfer
