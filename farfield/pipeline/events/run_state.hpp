#pragma once
// What the transitions of a run have set so far, per stream: names, slow values, the chunk that offsets refer to. Each
// role keeps one and gives it every transition in order.

#include <filesystem>
#include <string>
#include <vector>

#include "farfield/io/xtc2/environment.hpp"
#include "farfield/io/xtc2/smalldata.hpp"
#include "farfield/pipeline/events/index_reader.hpp"

namespace farfield::pipeline::events {

struct StreamState {
  io::xtc2::NamesTable names;
  io::xtc2::IndexReader index;      ///< not is_index(): the datagrams are the data themselves
  io::xtc2::Environment environment;
  std::filesystem::path data;       ///< the chunk that offsets refer to now
};

class RunState {
public:
  /// `data`: the first chunk of each stream.
  explicit RunState(const std::vector<std::filesystem::path>& data);
  void apply(const TransitionRecord& record);

  int streams() const { return static_cast<int>(streams_.size()); }
  StreamState& stream(int s) { return streams_[static_cast<std::size_t>(s)]; }
  const StreamState& stream(int s) const { return streams_[static_cast<std::size_t>(s)]; }
  /// The slow value that holds now, of the first stream that has it; nullptr where none was set.
  const io::xtc2::SlowValue* slow_value(const io::xtc2::ValueName& name) const;
  /// Whether any Configure names such a value: of events, or slow.
  const io::xtc2::Field* field(const io::xtc2::ValueName& name) const;
  std::uint64_t applied() const { return applied_; }

private:
  std::vector<StreamState> streams_;
  std::uint64_t applied_ = 0;
};

}  // namespace farfield::pipeline::events
