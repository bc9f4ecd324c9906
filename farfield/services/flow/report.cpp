#include "farfield/services/flow/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <tuple>

namespace farfield::services::flow {
namespace {
using Interval = std::pair<double, double>;

/// Length of the union.
double covered(std::vector<Interval> intervals) {
  std::sort(intervals.begin(), intervals.end());
  double length = 0, end = -std::numeric_limits<double>::infinity();
  for (const auto& [from, to] : intervals) {
    length += std::max(0.0, to - std::max(from, end));
    end = std::max(end, to);
  }
  return length;
}
}  // namespace

std::string kind_of_url(const std::string& url) {
  Providers known;
  for (const char* kind : {"transfer", "compute", "wait", "expression", "echo", "notify"})
    known.add(kind, urls_of(kind), nullptr);
  return known.kind(url);
}

RunTimes run_times(const RunRecord& run, const std::vector<StoredEvent>& events, const KindOf& kind_of) {
  RunTimes out;
  out.run_id = run.id;
  out.label = run.label;
  if (events.empty()) return out;
  std::map<std::int64_t, StateTime> open;  // frame -> the state in which it is
  const auto close = [&](std::int64_t frame, double at_s, bool failed) {
    const auto found = open.find(frame);
    if (found == open.end()) return;
    found->second.left_s = at_s;
    found->second.failed = failed;
    if (found->second.action_start_s > 0 && found->second.action_end_s == 0) found->second.action_end_s = at_s;
    out.states.push_back(std::move(found->second));
    open.erase(found);
  };
  for (const StoredEvent& event : events) {
    const Json body = Json::parse(event.body);
    const std::int64_t frame = body.value("frame", std::int64_t{-1});
    if (event.kind == "StateEntered") {
      close(frame, event.at_s, true);  // tried again
      StateTime state;
      state.state = body.at("state").get<std::string>();
      state.entered_s = event.at_s;
      open[frame] = std::move(state);
    } else if (event.kind == "ActionScheduled") {
      open[frame].kind = kind_of(body.at("url").get<std::string>());
      open[frame].action_start_s = event.at_s;
    } else if (event.kind == "ActionEnded") {
      StateTime& state = open[frame];
      // A provider's clock may be another machine's: its times count where they lie inside ours.
      const double scheduled_s = state.action_start_s;
      state.action_start_s = std::clamp(body.value("start_s", scheduled_s), scheduled_s, event.at_s);
      state.action_end_s = std::clamp(body.value("completion_s", event.at_s), state.action_start_s, event.at_s);
    } else if (event.kind == "StateExited") {
      close(frame, event.at_s, false);
    } else if (event.kind == "StateFailed" || event.kind == "StateCaught") {
      close(frame, event.at_s, true);
    } else if (event.kind == "BranchEnded") {
      open.erase(body.value("branch", std::int64_t{-1}));
    }
  }
  const double last_s = events.back().at_s;
  while (!open.empty()) close(open.begin()->first, last_s, run.status != RunStatus::active);
  std::sort(out.states.begin(), out.states.end(), [](const StateTime& x, const StateTime& y) {
    return std::tie(x.entered_s, x.left_s, x.state) < std::tie(y.entered_s, y.left_s, y.state);
  });

  double first_compute_s = std::numeric_limits<double>::infinity();
  for (const StateTime& state : out.states)
    if (state.kind == "compute") first_compute_s = std::min(first_compute_s, state.action_start_s);
  std::vector<Interval> incoming, compute, outgoing, all;
  for (const StateTime& state : out.states) {
    const Interval interval{state.action_start_s, state.action_end_s};
    if (state.kind == "compute") compute.push_back(interval);
    else if (state.kind == "transfer")
      (state.action_start_s < first_compute_s ? incoming : outgoing).push_back(interval);
    else continue;
    all.push_back(interval);
  }
  out.total_s = last_s - events.front().at_s;
  out.incoming_s = covered(incoming);
  out.compute_s = covered(compute);
  out.outgoing_s = covered(outgoing);
  out.others_s = out.total_s - covered(all);
  return out;
}

std::string times_table(const std::vector<RunTimes>& runs, std::size_t rows) {
  std::string out = fmt::format("{:<36} {:>10} {:>10} {:>10} {:>10} {:>10}\n", "run", "incoming", "compute", "outgoing",
                                "others", "total s");
  const auto line = [&](const std::string& name, const RunTimes& t) {
    out += fmt::format("{:<36} {:>10.3f} {:>10.3f} {:>10.3f} {:>10.3f} {:>10.3f}\n", name, t.incoming_s, t.compute_s,
                       t.outgoing_s, t.others_s, t.total_s);
  };
  for (std::size_t i = 0; i < std::min(rows, runs.size()); ++i) line(runs[i].run_id, runs[i]);
  if (runs.size() > rows) out += fmt::format("({} more)\n", runs.size() - rows);
  if (runs.size() < 2) return out;
  const auto over = [&](double RunTimes::* member, bool median) {
    std::vector<double> values;
    for (const RunTimes& t : runs) values.push_back(t.*member);
    if (!median) return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
    std::sort(values.begin(), values.end());
    return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
  };
  for (const bool median : {true, false}) {
    RunTimes t;
    for (double RunTimes::* member :
         {&RunTimes::incoming_s, &RunTimes::compute_s, &RunTimes::outgoing_s, &RunTimes::others_s, &RunTimes::total_s})
      t.*member = over(member, median);
    line(median ? "median" : "mean", t);
  }
  return out;
}

}  // namespace farfield::services::flow
