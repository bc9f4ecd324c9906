#pragma once
// A folder in which scans appear: each is handed on once, when it is complete or when it begins. Notices of the kernel
// make it quick; looking through the folder makes it certain (network file systems, lost notices, what came while
// nobody watched).

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "farfield/core/clock.hpp"
#include "farfield/services/watch/complete.hpp"
#include "farfield/services/watch/scan_name.hpp"
#include "farfield/store/database.hpp"

namespace farfield::services::watch {

struct Scan {
  Index id = 0;
  std::string name;            ///< in the watched folder: a folder, or a file
  std::filesystem::path path;  ///< the watched folder's path and the name
  std::string key;             ///< the same each time this scan is handed on, and no other's
  double complete_s = 0;       ///< when it was found complete, or begun; since 1970-01-01 UTC
};

/// When a scan is handed on.
enum class HandOn {
  complete,    ///< once, by the rule, nothing will be added
  first_file,  ///< as soon as it has a file: whoever gets it follows it until it is complete
};

struct WatcherOptions {
  std::filesystem::path folder;
  std::string pattern = kScanPattern;
  CompleteRule rule;
  double rescan_s = 10;          ///< between looks through the whole folder; > 0
  int handlers = 4;              ///< scans handed on at once; >= 1
  double patience_s = 1;         ///< before a scan whose handler failed is handed on again; doubled up to a minute
  std::function<double()> wall_s;  ///< seconds since 1970; empty: the system's
  HandOn when = HandOn::complete;  ///< at the first file the rule is not asked
};

struct WatcherStatus {
  Index growing = 0;                    ///< seen, not due
  Index waiting = 0;                    ///< due, not yet handed on
  Index handled = 0;
  std::vector<std::string> problems;    ///< at most 100: scans with a number that another has, handlers that failed
};

/// Thread-safe. One watcher for a folder at a time.
class Watcher {
public:
  /// Called from several threads, for one scan by one at a time. When it returns, the scan is handled: that is stored
  /// within moments, and it is not handed on again. When it throws, or the process dies in between, it is called again
  /// with the same key: whoever starts something stores the key with it, and starts nothing for a key that is there.
  using Handle = std::function<void(const Scan&)>;

  /// Throws `invalid_argument`, `not_found` (no such folder), and what the database throws.
  Watcher(store::Database& database, WatcherOptions options, Handle handle, const core::Clock& clock);
  /// Lets handlers at work finish.
  ~Watcher();
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  WatcherStatus status() const;

private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace farfield::services::watch
