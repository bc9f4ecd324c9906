// farfield flow list | show | log | report

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/farfield/commands.hpp"
#include "apps/farfield/flow_options.hpp"
#include "farfield/io/atomic_file.hpp"
#include "farfield/services/flow/timestamp.hpp"

namespace farfield::apps {
namespace {
namespace flow = services::flow;
using core::Error;
using core::ErrorCode;
using Json = nlohmann::ordered_json;

struct LookOptions {
  std::string status, tag, flow, svg;
  std::int64_t limit = 100;
  bool flows = false, watch = false, json = false;
};

core::BoundSchema<LookOptions> with_json(core::BoundSchema<LookOptions> s) {
  s.add("json", &LookOptions::json, "one JSON object a line on stdout");
  return s;
}
core::BoundSchema<LookOptions> selection() {
  core::BoundSchema<LookOptions> s;
  s.add("flow", &LookOptions::flow, "only runs of this flow");
  s.add("tag", &LookOptions::tag, "only runs with this tag");
  s.add("status", &LookOptions::status, "only runs that are ACTIVE, SUCCEEDED, FAILED or CANCELLED");
  s.add("limit", &LookOptions::limit, "the newest so many", {.min = 1, .max = 100000});
  return s;
}
const core::BoundSchema<LookOptions>& list_schema() {
  static const auto schema = [] {
    auto s = selection();
    s.add("flows", &LookOptions::flows, "flows instead of runs");
    return with_json(std::move(s));
  }();
  return schema;
}
const core::BoundSchema<LookOptions>& show_schema() {
  static const auto schema = [] {
    core::BoundSchema<LookOptions> s;
    s.add("watch", &LookOptions::watch, "each new event, until the run ends");
    return with_json(std::move(s));
  }();
  return schema;
}
const core::BoundSchema<LookOptions>& log_schema() {
  static const auto schema = with_json({});
  return schema;
}
const core::BoundSchema<LookOptions>& report_schema() {
  static const auto schema = [] {
    auto s = selection();
    s.add("svg", &LookOptions::svg, "also draw the bars into this file");
    return with_json(std::move(s));
  }();
  return schema;
}

flow::Records::Page page_of(const LookOptions& options) {
  flow::Records::Page page;
  page.flow_id = options.flow;
  page.tag = options.tag;
  page.limit = options.limit;
  if (!options.status.empty()) {
    try {
      page.status = flow::run_status(options.status);
    } catch (const Error&) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("--status '{}' must be ACTIVE, SUCCEEDED, FAILED or CANCELLED", options.status));
    }
  }
  return page;
}

Json as_json(const flow::RunRecord& run) {
  return {{"message_type", "run"},
          {"id", run.id},
          {"flow", run.flow_id},
          {"flow_version", run.flow_version},
          {"label", run.label},
          {"tags", run.tags},
          {"owner", run.owner},
          {"managers", run.managers},
          {"monitors", run.monitors},
          {"status", flow::name_of(run.status)},
          {"states", run.states},
          {"error", run.error},
          {"cause", run.cause},
          {"started", flow::format_timestamp(run.started_at_s)},
          {"updated", flow::format_timestamp(run.updated_at_s)}};
}

int list(const Arguments& arguments, const Session&) {
  const auto options = list_schema().make(part(arguments.given, list_schema()));
  const auto host = open_flow_host(arguments);
  if (options.flows) {
    for (const auto& one : host->flows(page_of(options))) {
      if (options.json)
        fmt::print("{}\n", Json{{"message_type", "flow"},
                                {"id", one.id},
                                {"version", one.version},
                                {"title", one.title},
                                {"owner", one.owner}}
                               .dump());
      else fmt::print("{}  v{:<3} {:<10} {}\n", one.id, one.version, one.owner, one.title);
    }
    return core::kExitOk;
  }
  for (const auto& run : host->runs(page_of(options))) {
    if (options.json) fmt::print("{}\n", as_json(run).dump());
    else
      fmt::print("{}  {:<9}  {:.19}  {:<20} {}\n", run.id, flow::name_of(run.status),
                 flow::format_timestamp(run.started_at_s), fmt::format("{}", fmt::join(run.states, ",")), run.label);
  }
  return core::kExitOk;
}

void print_event(const flow::StoredEvent& event, const std::string& run, bool json) {
  const Json body = Json::parse(event.body);
  if (json) {
    fmt::print("{}\n", Json{{"message_type", "event"},
                            {"run", run},
                            {"number", event.number},
                            {"time", flow::format_timestamp(event.at_s)},
                            {"kind", event.kind},
                            {"body", body}}
                           .dump());
    return;
  }
  std::string rest;
  for (const char* name : {"state", "next", "url", "key", "status", "error", "cause", "by"})
    if (body.contains(name))
      rest += fmt::format(" {}={}", name, body[name].is_string() ? body[name].get<std::string>() : body[name].dump());
  fmt::print("{:>5}  {}  {:<16}{}\n", event.number, flow::format_timestamp(event.at_s), event.kind, rest);
}

int log(const Arguments& arguments, const Session&) {
  const auto options = log_schema().make(part(arguments.given, log_schema()));
  const std::string& id = arguments.inputs.at(0);
  for (const auto& event : open_flow_host(arguments)->log(id)) print_event(event, id, options.json);
  return core::kExitOk;
}

int show(const Arguments& arguments, const Session& session) {
  const auto options = show_schema().make(part(arguments.given, show_schema()));
  const std::string& id = arguments.inputs.at(0);
  const auto host = open_flow_host(arguments);
  flow::RunRecord run;
  if (options.watch) {
    run = host->follow(
        id, 0,
        [&](const flow::StoredEvent& event) {
          print_event(event, id, options.json);
          std::fflush(stdout);
        },
        session.stop);
  } else {
    run = host->run(id);
  }
  if (options.json) {
    fmt::print("{}\n", as_json(run).dump());
    return core::kExitOk;
  }
  const Json fields = as_json(run);
  for (const auto& [name, value] : fields.items())
    if (name != "message_type" && !value.empty() && value != "")
      fmt::print("{:<13} {}\n", name, value.is_string() ? value.get<std::string>() : value.dump());
  return core::kExitOk;
}

int report(const Arguments& arguments, const Session&) {
  const auto options = report_schema().make(part(arguments.given, report_schema()));
  const auto host = open_flow_host(arguments);
  std::vector<flow::RunRecord> runs;
  if (!arguments.inputs.empty()) runs.push_back(host->run(arguments.inputs[0]));
  else runs = host->runs(page_of(options));
  if (runs.empty()) throw Error(ErrorCode::not_found, "no run fits");
  std::vector<flow::RunTimes> times;
  for (const auto& run : runs) times.push_back(host->times(run));
  if (options.json) {
    for (const auto& t : times)
      fmt::print("{}\n", Json{{"message_type", "times"},
                              {"run", t.run_id},
                              {"label", t.label},
                              {"incoming_s", t.incoming_s},
                              {"compute_s", t.compute_s},
                              {"outgoing_s", t.outgoing_s},
                              {"others_s", t.others_s},
                              {"total_s", t.total_s}}
                             .dump());
  } else {
    fmt::print("{}", flow::times_table(times));
    if (times.size() == 1)
      for (const auto& state : times[0].states)
        fmt::print("  {:<24} {:<10} {:>10.3f} s{}\n", state.state, state.kind, state.left_s - state.entered_s,
                   state.failed ? "  failed" : "");
  }
  if (!options.svg.empty()) {
    io::write_atomic(options.svg, times_figure(times));
    if (!options.json) fmt::print(stderr, "{}\n", options.svg);
  }
  return core::kExitOk;
}
}  // namespace

Command flow_list_command() {
  return {{"flow", "list"}, "runs, newest first, or flows", {}, {list_schema(), host_schema()}, list};
}
Command flow_show_command() {
  return {{"flow", "show"}, "one run: its status and where it is", {"RUN"}, {show_schema(), host_schema()}, show};
}
Command flow_log_command() {
  return {{"flow", "log"},
          "every event of a run; private parameters are left out",
          {"RUN"},
          {log_schema(), host_schema()},
          log};
}
Command flow_report_command() {
  return {{"flow", "report"},
          "where the time of runs went: incoming, compute, outgoing, others",
          {"[RUN]"},
          {report_schema(), host_schema()},
          report};
}

}  // namespace farfield::apps
