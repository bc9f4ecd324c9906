#pragma once
// What is kept of every event: values as columns, and arrays summed over the run.

#include <string>
#include <vector>

#include "farfield/pipeline/events/batch.hpp"
#include "farfield/pipeline/events/fetch.hpp"
#include "farfield/pipeline/events/run_state.hpp"

namespace farfield::pipeline::events {

struct ReductionOptions {
  std::vector<io::xtc2::ValueName> values;  ///< a column each: of the event, else the slow value that holds
  std::vector<io::xtc2::ValueName> sums;    ///< arrays; without a segment: of every segment
};

/// How an event went, for who plots it.
struct EventNote {
  EventTime time = 0;
  double begin_s = 0, end_s = 0;
  bool bad = false, damaged = false;
};

/// One worker's share of a run.
class Reduction {
public:
  Reduction(ReductionOptions options, const std::vector<std::filesystem::path>& data, const FetchOptions& fetch,
            const core::Clock& clock, std::stop_token stop);

  /// Fetches and reads the events of a batch. An event of which anything cannot be fetched or read is left out whole,
  /// with its reason counted in Rows::bad. `notes`: one per event.
  Rows take(const Batch& batch, std::vector<EventNote>& notes);
  const Sums& sums() const { return sums_; }
  double fetched_s() const { return fetched_s_; }  ///< clock when the last batch was in memory

private:
  struct Found;
  std::string read_event(std::span<const std::span<const std::byte>> datagrams, EventTime time, bool& damaged);
  void start_columns(Rows& rows) const;
  void append(Column& column, const io::xtc2::Value* value) const;

  ReductionOptions options_;
  RunState run_;
  Fetcher fetcher_;
  const core::Clock& clock_;
  Sums sums_;
  double fetched_s_ = 0;
  // Of the event that is being read.
  std::vector<io::xtc2::Contents> contents_;
  std::vector<io::xtc2::Value> found_;
  std::vector<std::pair<std::string, io::xtc2::Value>> arrays_;
};

}  // namespace farfield::pipeline::events
