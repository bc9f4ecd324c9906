#pragma once
// One file from one provider to another: chunks are summed as they are read, put in any order by several streams,
// read back at the destination, and only then does the file get its name.

#include <atomic>
#include <functional>
#include <stop_token>

#include "farfield/services/transfer/provider.hpp"
#include "farfield/services/transfer/rate_limit.hpp"

namespace farfield::services::transfer {

struct CopyOptions {
  int streams = 2;                     ///< chunks under way at once, in a file of several; >= 1
  Index chunk_bytes = Index{4} << 20;  ///< unit of resumption and repair; > 0
  bool sha256 = false;                 ///< also the SHA-256 of what was read back at the destination
  /// Where given, the file is still being written: chunks are copied as they fill, until this says of the file as it is
  /// now that nothing will be added. Asked about ten times a second.
  std::function<bool(const Version&)> complete;
};

/// What a copy shares with others of its task.
struct CopyContext {
  RateLimit* limit = nullptr;  ///< may be null
  std::atomic<Index>* moved = nullptr;  ///< bytes read so far are added; may be null
  std::stop_token stop;
};

struct CopyResult {
  Version source;  ///< what was copied
  Digests digests;  ///< of the file at the destination
  Index bytes_moved = 0;  ///< less than the size where an earlier attempt had left chunks
  Index chunks_repaired = 0;  ///< read back differently at first, and put again
  bool cloned = false;  ///< the file system shares the blocks
};

/// Errors of both providers, and: `conflict` the source changed meanwhile, `corrupt_data` a chunk is read back
/// differently however often it is put, `cancelled`. In all cases the destination's earlier file, if any, is untouched,
/// and a later call goes on from the chunks that are there.
CopyResult copy_file(Provider& from, const std::string& source, Provider& to, const std::string& destination,
                     const CopyOptions& options, const CopyContext& context);

}  // namespace farfield::services::transfer
