#pragma once
// Where the time of runs went: into incoming transfers, computing, outgoing transfers, and all else (services,
// waiting), the break-down by which federated workflows of light sources are judged.

#include <functional>
#include <string>
#include <vector>

#include "farfield/services/flow/records.hpp"

namespace farfield::services::flow {

/// One visit of one state, times in seconds since 1970.
struct StateTime {
  std::string state, kind;  ///< kind of its action: "transfer", "compute" ...; empty: no action
  double entered_s = 0, left_s = 0;
  double action_start_s = 0, action_end_s = 0;  ///< as the provider says, else when it was scheduled and heard of
  bool failed = false;
};

struct RunTimes {
  std::string run_id, label;
  double total_s = 0;
  /// Lengths of time in which at least one such action was at work. Transfers that start before the first computation
  /// are incoming, later ones outgoing. `others_s` is when none of them was.
  double incoming_s = 0, compute_s = 0, outgoing_s = 0, others_s = 0;
  std::vector<StateTime> states;
};

/// "transfer", "compute", ... of an ActionUrl.
using KindOf = std::function<std::string(const std::string& url)>;
/// By the addresses of urls_of().
std::string kind_of_url(const std::string& url);

/// From the log of a run; of one that is still active up to its last event.
RunTimes run_times(const RunRecord& run, const std::vector<StoredEvent>& events, const KindOf& kind_of = kind_of_url);

/// A table in plain text: a line for each run (no more than `rows`), then median and mean.
std::string times_table(const std::vector<RunTimes>& runs, std::size_t rows = 50);

}  // namespace farfield::services::flow
