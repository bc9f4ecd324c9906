#pragma once
// What one place of a block (a worker, and those that follow it there) began and ended, in a file of the block's
// folder. It outlives the worker: an end is known from here until the endpoint has acknowledged it, and what was begun
// and not ended was lost with its worker. Lines are messages of the protocol.

#include <map>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "farfield/services/compute/protocol.hpp"

namespace farfield::services::compute {

struct JournalContent {
  int incarnation = 0;  ///< of the worker that wrote last; 0: none has
  std::map<TaskKey, TaskBegin> begun{};  ///< and not ended
  std::map<TaskKey, TaskEnd> ended{};
};

/// "NODE.PLACE.journal" in the block's folder.
std::string journal_path(const std::string& folder, const std::string& node, int place);
struct JournalName {
  std::string path, node;
  int place = 0;
};
/// All of a block's folder.
std::vector<JournalName> find_journals(const std::string& folder);

/// Empty content where there is no such file. A line that was cut by a kill is passed over. Throws `io`.
JournalContent read_journal(const std::string& path);

/// Thread-safe. What is written survives the process; the machine, once flushed.
class Journal {
public:
  /// Takes the file over as the next incarnation; what was begun there and not ended becomes an end, `lost`. Throws
  /// `conflict` if another process holds it, `io`.
  explicit Journal(std::string path);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  int incarnation() const { return incarnation_; }
  void begin(const TaskBegin& begin);
  /// Throws `io` where it could not be written; ended() tells it all the same.
  void end(const TaskEnd& end);
  void acknowledged(std::span<const TaskKey> ends);
  /// Ends that nobody has acknowledged.
  std::vector<TaskEnd> ended() const;
  bool has_ended(const TaskKey& key) const;
  bool empty() const;  ///< nothing to acknowledge
  void flush();

private:
  void append(const Message& line);
  void shorten();

  std::string path_;
  int incarnation_ = 1;
  int lock_ = -1, file_ = -1;
  mutable std::mutex mutex_;
  std::size_t bytes_ = 0;
  bool torn_ = false;  ///< the last line may be cut
  JournalContent content_;
};

}  // namespace farfield::services::compute
