#pragma once
// Files and whole trees from one provider to another: listed, compared, copied by many workers, tried again where
// that may help; also while the tree is still growing.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "farfield/core/clock.hpp"
#include "farfield/services/transfer/copy_file.hpp"
#include "farfield/services/transfer/filter.hpp"
#include "farfield/services/watch/complete.hpp"

namespace farfield::services::transfer {

/// When a file at the destination is good enough as it is.
enum class Sync {
  never,     ///< all files are copied
  exists,    ///< one of this name is there
  size,      ///< and has the same size
  mtime,     ///< and the same modification time (this service sets it to the source's)
  checksum,  ///< and the same size and CRC-32C, read on both sides
};

struct Item {
  std::string source, destination;  ///< paths; of a file the destination is the file's, not its folder's
  bool recursive = false;           ///< the source is a folder
};

struct JobOptions {
  Sync sync = Sync::never;
  Filter filter;
  int concurrency = 8;        ///< files at once, or as many exchanges of small ones (copy_small.hpp); 1 to 1000
  double bandwidth_Bps = 0;   ///< bytes per second of the whole job; 0: no limit
  int attempts = 3;           ///< for a file whose source changes, or a peer that does not answer; >= 1
  CopyOptions copy;           ///< `complete` is the job's
  /// Where given, the items are still growing: they are looked through again and again, and files are copied as they
  /// settle, until the rule says that all items are complete; its test is asked with the first item's source.
  std::optional<watch::CompleteRule> follow;
};

/// One file and what became of it.
struct Unit {
  std::string source, destination;
  enum class Outcome { copied, skipped, failed } outcome = Outcome::copied;
  CopyResult copy;                   ///< of a copied one
  std::optional<core::Error> error;  ///< of a failed one
  int attempts = 1;
  double seconds = 0;
};

struct Progress {
  Index files_found = 0, files_copied = 0, files_skipped = 0, files_failed = 0;
  Index bytes_found = 0;  ///< of the files found
  Index bytes_read = 0;   ///< of the source, as far as it was copied
  Index links_left_out = 0, others_left_out = 0;  ///< symbolic links; FIFOs, sockets, devices
  bool listing = true;    ///< more files may be found
};

/// Hears of the job. unit() and copied_before() are called by many threads at once, progress() by one.
struct JobObserver {
  virtual ~JobObserver() = default;
  /// A file is done: at the destination and durable, left as it was, or given up. Returns before this
  /// worker goes on; of small files that went together all are there when it is called for the first.
  virtual void unit(const Unit& /*unit*/) {}
  /// About twice a second, and once at the end.
  virtual void progress(const Progress& /*progress*/) {}
  /// Was this version copied to this place by an earlier run of the same job?
  virtual bool copied_before(const std::string& /*destination*/, const Version& /*source*/) { return false; }
};

struct JobResult {
  Progress progress;
  std::vector<Unit> failed;  ///< the first 100
  std::optional<core::Error>
      error;  ///< what ended the job early: a full disk, a peer that is away, a lost database, a stop
  bool ok() const { return !error && progress.files_failed == 0; }
};

/// Throws `invalid_argument` for options or items that make no sense.
void check(const std::vector<Item>& items, const JobOptions& options);

/// Throws what check() throws, and `invalid_argument` for an item that would be copied into itself; all else is in the
/// result.
JobResult run_job(Provider& from, Provider& to, const std::vector<Item>& items, const JobOptions& options,
                  JobObserver& observer, const core::Clock& clock, std::stop_token stop);

}  // namespace farfield::services::transfer
