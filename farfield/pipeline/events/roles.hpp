#pragma once
// A run, reduced by the ranks of a communicator in four roles. Everything is asked for, so the load balances itself:
//
//   index reader  --blocks of the indices-->  event builders  --batches of events-->  workers  --rows-->  servers
//                 <-------- want -----------                  <------- want --------           <- taken -
//
// The index reader reads the indices of all streams and cuts them between transitions; event builders join a block by
// time and filter it on small data; workers fetch the data of the events that are left and reduce them; servers bring
// the rows into the order of time. One server writes the one file as the rows come. Of several, the blocks
// go to each in turn, it gathers them to a part of its own beside the result (.part0, .part1 ...), and in the end the
// first of them makes one file of the parts, in the order of time, and removes them. A rank may have several roles, so
// any number of ranks does, one too.

#include <filesystem>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "farfield/core/clock.hpp"
#include "farfield/io/xtc2/run_files.hpp"
#include "farfield/parallel/communicator.hpp"
#include "farfield/pipeline/events/filter.hpp"
#include "farfield/pipeline/events/reduction.hpp"
#include "farfield/pipeline/events/result_file.hpp"

namespace farfield::pipeline::events {

struct RunOptions {
  Filter filter;
  bool complete = false;  ///< only events that every stream has
  std::vector<std::string> small_detectors;  ///< streams with these: their data are read in place of their index
  ReductionOptions reduction;
  IndexReaderOptions index;
  FetchOptions fetch;
  Index batch_events = 1000;
  Index batch_bytes = Index{64} << 20;  ///< of data to be fetched for one batch, unless one event has more
  int builders = 1;  ///< event builders, where there are ranks enough
  int servers = 1;   ///< the same of servers; with several, all ranks that are one must see the folder of the result
  double patience_s = 60;  ///< for growing indices: without news for so long, the run is over
  std::filesystem::path stage_times;  ///< folder for one file per worker; empty: none
};

/// Which rank has which role.
struct RolePlan {
  int reader = 0;
  std::vector<int> builders, workers, servers;
};
/// 1 rank: all; 2: the second one works; 3: reader and server, builder, worker; more: reader, builders, workers,
/// servers, with at least one of each. Throws `invalid_argument` unless all three are >= 1.
RolePlan plan_roles(int size, int builders, int servers);

/// Every rank calls it with the same arguments. Returns the totals on the first server, nothing on other ranks. The
/// file appears complete or not at all. Throws `cancelled`, `not_found`, `io`; what is damaged in the data is counted
/// instead.
std::optional<EventTotals> reduce_run(const io::xtc2::RunFiles& files, const RunOptions& options,
                                      const std::filesystem::path& out, parallel::Communicator& communicator,
                                      const core::Clock& clock, std::stop_token stop);

}  // namespace farfield::pipeline::events
