// farfield events reduce FOLDER --out FILE: a run of LCLS-II data to one file.

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>

#include "apps/farfield/commands.hpp"
#include "apps/farfield/console.hpp"
#include "farfield/pipeline/events/roles.hpp"

namespace farfield::apps {
namespace {

namespace events = pipeline::events;
namespace fs = std::filesystem;
using core::Error;
using core::ErrorCode;
using core::Index;

struct ReduceOptions {
  std::string out, values, sums, filter, small, stage_times;
  int run = -1;
  bool complete = false, mpi = false, json = false, quiet = false;
  int builders = 1, servers = 1;
  Index batch = 1000, block = 3000;
  double patience_s = 60;
};

const core::BoundSchema<ReduceOptions>& reduce_schema() {
  using O = ReduceOptions;
  static const auto schema = [] {
    core::BoundSchema<O> s;
    s.add("out", &O::out, "the result, HDF5");
    s.add("run", &O::run, "number of the run; -1: the only one in the folder", {.min = -1, .max = 9999});
    s.add("values", &O::values,
          "kept of every event, between commas: DETECTOR.ALGORITHM.FIELD or DETECTOR[SEGMENT].ALGORITHM.FIELD",
          {.group = "Reduction"});
    s.add("sum", &O::sums, "arrays to be summed over all events, named in the same way", {.group = "Reduction"});
    s.add("filter", &O::filter,
          "only events for which this holds, decided before their data are fetched: NAME OP NUMBER and ... with slow "
          "values (epics, scan) and those of small detectors",
          {.group = "Events"});
    s.add("small-detectors", &O::small, "detectors, between commas, whose data are read in place of their index",
          {.group = "Events"});
    s.add("complete", &O::complete, "only events that every stream has", {.group = "Events"});
    s.add("patience", &O::patience_s, "files that grow and bring nothing for so long are over",
          {.min = 0, .max = 1e6, .unit = "s", .group = "Events"});
    s.add("mpi", &O::mpi, "run on the ranks that mpirun started", {.group = "Ranks"});
    s.add("builders", &O::builders, "event builders, where there are ranks enough",
          {.min = 1, .max = 1000, .group = "Ranks"});
    s.add("servers", &O::servers,
          "servers, where there are ranks enough; each gathers to a part beside the result, which are made one file in "
          "the "
          "end",
          {.min = 1, .max = 1000, .group = "Ranks"});
    s.add("batch", &O::batch, "events given to a worker at once", {.min = 1, .max = 1e6, .group = "Ranks"});
    s.add("block", &O::block, "events given to an event builder at once", {.min = 1, .max = 1e7, .group = "Ranks"});
    s.add("stage-times", &O::stage_times, "folder for the times of every event, one file per worker",
          {.group = "Ranks"});
    s.add("json", &O::json, "one JSON object a line on stdout");
    s.add("quiet", &O::quiet, "no progress");
    return s;
  }();
  return schema;
}

std::vector<std::string> between_commas(const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

events::RunOptions run_options(const ReduceOptions& given) {
  events::RunOptions options;
  options.filter = events::Filter::parse(given.filter);
  options.complete = given.complete;
  options.small_detectors = between_commas(given.small);
  for (const auto& name : between_commas(given.values))
    options.reduction.values.push_back(io::xtc2::parse_value_name(name));
  for (const auto& name : between_commas(given.sums))
    options.reduction.sums.push_back(io::xtc2::parse_value_name(name));
  options.builders = given.builders;
  options.servers = given.servers;
  options.batch_events = given.batch;
  options.index.block_events = given.block;
  options.patience_s = options.fetch.patience_s = given.patience_s;
  options.stage_times = given.stage_times;
  return options;
}

void tell(Console& console, const events::EventTotals& totals, const ReduceOptions& given, double seconds) {
  Summary summary;
  summary.state = "finished";
  summary.seconds = seconds;
  summary.metrics = {{"joined", static_cast<double>(totals.joined)},
                     {"processed", static_cast<double>(totals.processed)},
                     {"rejected", static_cast<double>(events::total(totals.rejected))},
                     {"bad", static_cast<double>(events::total(totals.bad))},
                     {"damaged", static_cast<double>(totals.damaged)},
                     {"reads", static_cast<double>(totals.reads)},
                     {"fetched_bytes", static_cast<double>(totals.fetched_bytes)},
                     {"index_faults", static_cast<double>(events::total(totals.index_faults))}};
  summary.files = {given.out};
  for (const auto* reasons : {&totals.bad, &totals.index_faults})
    for (const auto& [reason, count] : *reasons) console.warning(fmt::format("{} x {}", count, reason));
  console.summary(summary);
}

int reduce(const Arguments& arguments, const Session& session) {
  const auto given = reduce_schema().make(arguments.given);
  if (given.out.empty()) throw Error(ErrorCode::invalid_argument, "`farfield events reduce` needs --out FILE");
  const auto communicator = given.mpi ? parallel::make_mpi() : parallel::make_alone();
  // The rank that writes the result speaks of it; an error is told by the rank that has it.
  const auto options = run_options(given);
  const bool speaks = communicator->rank() ==
                      events::plan_roles(communicator->size(), options.builders, options.servers).servers.front();
  Console console({given.json, given.quiet, ::isatty(STDERR_FILENO) == 1, !speaks}, session.clock);
  const double started_s = session.clock.now_s();
  const auto fail = [&](const Error& e) {
    console.error(e);
    const int code = core::traits(e.code()).exit_code;
    std::fflush(nullptr);
    communicator->abort(code);  // the others would wait for this rank in vain
    return code;
  };
  try {
    if (!options.stage_times.empty()) fs::create_directories(options.stage_times);
    const auto files = io::xtc2::find_run(arguments.inputs.at(0), given.run);
    const auto totals = events::reduce_run(files, options, given.out, *communicator, session.clock, session.stop);
    if (!totals) return core::kExitOk;
    tell(console, *totals, given, session.clock.now_s() - started_s);
    return totals->bad.empty() && totals->index_faults.empty() ? core::kExitOk : core::kExitPartial;
  } catch (const Error& e) {
    return fail(e);
  } catch (const std::bad_alloc&) {
    return fail(Error(ErrorCode::resource_exhausted, "not enough memory"));
  } catch (const std::exception& e) {
    return fail(Error(ErrorCode::io, e.what()));
  }
}

}  // namespace

Command events_reduce_command() {
  return {
      {"events", "reduce"},
      "a run of LCLS-II data, also while it is taken: events joined, filtered, fetched and reduced to one HDF5 file",
      {"FOLDER"},
      {reduce_schema()},
      reduce};
}

}  // namespace farfield::apps
