#pragma once
// When a scan is complete: the one rule by which a watcher starts runs and a transfer stops following a folder.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "farfield/core/clock.hpp"
#include "farfield/core/view.hpp"

namespace farfield::services::watch {

using core::Index;

/// Whichever of these comes first. At least one must be given.
struct CompleteRule {
  /// A scan is complete when it holds a file of this name (`*` and `?` allowed, in the scan's folder itself), or when
  /// one of this name with `*` standing for the scan's lies beside it. Empty: no marker.
  std::string marker;
  /// When nothing in it has changed for so long, and nothing known to be open for writing is. <= 0: not so.
  double quiet_s = 5;
  /// Something that only others know, such as the number of frames in a file; asked when files were closed, and when
  /// the folder is looked through. The argument is the scan's path as the watcher knows it.
  std::function<bool(const std::string& path)> test;
};

/// Throws `invalid_argument` where no condition is given, or the quiet time is not a number.
void check(const CompleteRule& rule);

struct FileState {
  Index size_bytes = 0;
  std::int64_t mtime_ns = 0;
  bool operator==(const FileState&) const = default;
};

/// The files of a scan at one moment, by their path in it.
using Snapshot = std::map<std::string, FileState>;

/// `name` against `pattern`: `*` any run of characters, `?` one; all others themselves.
bool matches(std::string_view pattern, std::string_view name);

/// True if somebody is known to have the file open for writing: the kernel does not lease such a file. False where that
/// cannot be told (a network file system, another user's file).
bool is_being_written(const std::string& path);

/// Judges one scan. Not for several threads.
class CompleteJudge {
public:
  /// `wall_s`: seconds since 1970, as the times of files are; for a scan that was there long before anybody looked.
  CompleteJudge(const CompleteRule& rule, std::string path, const core::Clock& clock, std::function<double()> wall_s);
  /// True when it is complete. `open` tells whether something in it is known to be open for writing; it is only asked
  /// when all has been quiet for long enough.
  bool look(const Snapshot& now, const std::function<bool()>& open);
  /// Seconds until quiet could be reached, seen from the last look; 0 where it may be already, none without that rule.
  std::optional<double> quiet_in_s() const;

private:
  const CompleteRule& rule_;
  const std::string path_;
  const core::Clock& clock_;
  const std::function<double()> wall_s_;
  std::optional<Snapshot> last_;
  double unchanged_since_s_ = 0;
};

}  // namespace farfield::services::watch
