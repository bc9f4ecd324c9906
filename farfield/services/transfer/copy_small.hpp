#pragma once
// Small files, many in one exchange with the destination: over a long way one by one they would be slow, each waiting
// for the answer to the one before.

#include <optional>
#include <string>
#include <vector>

#include "farfield/services/transfer/copy_file.hpp"

namespace farfield::services::transfer {

inline constexpr Index kSmallTogether_bytes = Index{4} << 20;  ///< of all files of one exchange

struct SmallFile {
  std::string source, destination;
  Index size_bytes = 0;  ///< as it was listed
};

/// Whether files of this size go together: at most kMostStored of them, and kSmallTogether_bytes in all.
bool goes_together(Index size_bytes, const CopyOptions& options);

/// The results in the order of the files; empty where a file did not get there, for whatever reason, or it is not known
/// whether it did. copy_file() is then to be called for it, and says why. Throws `cancelled` alone.
std::vector<std::optional<CopyResult>> copy_small(Provider& from, const std::vector<SmallFile>& files, Provider& to,
                                                  const CopyOptions& options, const CopyContext& context);

}  // namespace farfield::services::transfer
