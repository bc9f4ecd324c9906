#pragma once
// Reads the indices of all streams of a run, also while they are written, and cuts them into blocks: events up to a
// number, never across a transition.

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "farfield/io/xtc2/reader.hpp"
#include "farfield/io/xtc2/run_files.hpp"
#include "farfield/pipeline/events/join.hpp"

namespace farfield::pipeline::events {

/// One transition, as every stream has it.
struct TransitionRecord {
  io::xtc2::Transition transition = io::xtc2::Transition::reset;
  EventTime time = 0;
  std::vector<std::vector<std::byte>> datagrams;  ///< per stream; empty where it is missing
};

/// Events that lie between two transitions.
struct IndexBlock {
  std::uint64_t number = 0;       ///< from 0, in the order of time
  std::optional<EventTime> after;  ///< time of the last event of the block before
  Index events = 0;
  std::vector<std::span<const std::byte>> bytes;  ///< per stream, whole datagrams
};

/// A stream's bytes, and whether more can come.
struct IndexSource {
  io::xtc2::ReadSome read;
  std::function<bool()> growing;  ///< false: what read() gives now is all there will be
};
/// The index of a stream, under its name or, while it is written, with .inprogress.
IndexSource open_index(const std::filesystem::path& path);

struct IndexReaderOptions {
  Index block_events = 3000;            ///< of five streams 0.9 MB of index, which stay in a second-level cache
  Index block_bytes = Index{64} << 20;  ///< a block ends early beyond this (a small detector in place of its index)
  Index read_bytes = Index{1} << 18;    ///< at once, per stream
};

class IndexReader {
public:
  enum class Got {
    block,       ///< block() has events
    transition,  ///< transition() was read
    waiting,     ///< nothing yet: the files grow; ask again
    end,         ///< EndRun in all streams, or the end of all files
  };
  IndexReader(std::vector<IndexSource> sources, const IndexReaderOptions& options);

  Got next();
  /// What is there now is all there will be: next() goes on to the end with it.
  void give_up();
  const IndexBlock& block() const { return block_; }  ///< valid until next()
  const TransitionRecord& transition() const { return transition_; }
  /// What was wrong with the indices, and how often.
  const std::map<std::string, Index>& faults() const { return faults_; }

private:
  struct Stream {
    IndexSource source;
    std::unique_ptr<std::byte[]> bytes;
    std::size_t capacity = 0, size = 0, usual = 0;  // usual: bytes of the last full block
    Index read_to = 0;
    bool last = false, broken = false, ended = false;
  };
  std::size_t read_bytes(const Stream& stream) const;
  bool fill(std::size_t stream);
  bool feed();
  void take_transition();
  void catch_up(std::size_t stream, EventTime time, io::xtc2::Transition kind);
  void drop_taken();
  void note_losses();

  std::vector<Stream> streams_;
  IndexReaderOptions options_;
  Join join_;
  Index passed_ = 0;  // events of the next block: only counted, who gets the block joins it again
  IndexBlock block_;
  TransitionRecord transition_;
  std::optional<EventTime> last_event_;
  bool any_transition_ = false;
  Index late_ = 0;
  std::map<std::string, Index> faults_;
  bool taken_ = true;
};

}  // namespace farfield::pipeline::events
