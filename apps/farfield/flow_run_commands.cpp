// farfield flow run | resume | cancel

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/farfield/commands.hpp"
#include "apps/farfield/flow_options.hpp"
#include "farfield/core/text.hpp"
#include "farfield/services/flow/dry_run.hpp"

namespace farfield::apps {
namespace {
namespace flow = services::flow;
using core::Error;
using core::ErrorCode;
using Json = nlohmann::ordered_json;

struct RunOptions {
  std::string input = "{}", label, tags, role, results;
  bool dry_run = false, json = false;
};

const core::BoundSchema<RunOptions>& run_schema() {
  static const auto schema = [] {
    core::BoundSchema<RunOptions> s;
    s.add("input", &RunOptions::input, "the input: JSON, or the name of a file that holds it");
    s.add("label", &RunOptions::label, "a name for people");
    s.add("tags", &RunOptions::tags, "words to find the run by: scan100,test");
    s.add("role", &RunOptions::role,
          "as whom states act whose RunAs is a role: ROLE=service:ID, several between commas; needs --service");
    s.add("dry-run", &RunOptions::dry_run,
          "only show which states it passes and what each action would be asked; nothing is stored");
    s.add("results", &RunOptions::results,
          "for --dry-run: JSON object (or file) with the details that actions give, by state");
    s.add("json", &RunOptions::json, "one JSON object a line on stdout");
    return s;
  }();
  return schema;
}

struct OutputOptions {
  bool json = false;
};
const core::BoundSchema<OutputOptions>& output_schema() {
  static const auto schema = [] {
    core::BoundSchema<OutputOptions> s;
    s.add("json", &OutputOptions::json, "one JSON object a line on stdout");
    return s;
  }();
  return schema;
}

std::string text_or_file(const std::string& given) {
  const auto first = given.find_first_not_of(" \t\n");
  if (first != std::string::npos && (given[first] == '{' || given[first] == '[')) return given;
  return read_text(given);
}

int outcome(const flow::RunRecord& run, bool json) {
  if (json)
    fmt::print("{}\n", Json{{"message_type", "run"},
                            {"id", run.id},
                            {"status", flow::name_of(run.status)},
                            {"states", run.states},
                            {"error", run.error},
                            {"cause", run.cause}}
                           .dump());
  else if (run.status == flow::RunStatus::failed)
    fmt::print(stderr, "FAILED in {}: {}: {}\n", fmt::join(run.states, ", "), run.error, run.cause);
  else fmt::print(stderr, "{}\n", flow::name_of(run.status));
  switch (run.status) {
    case flow::RunStatus::succeeded: return core::kExitOk;
    case flow::RunStatus::failed: return 1;
    default: return core::traits(ErrorCode::cancelled).exit_code;
  }
}

/// Follows the run until it ends or the user interrupts, and says which states it enters. A run of a service goes on by
/// itself, one in this process can be resumed.
int follow(FlowHost& host, const std::string& id, std::int64_t after, const Session& session, bool json) {
  const auto show = [&](const flow::StoredEvent& event) {
    if (event.kind != "StateEntered" && event.kind != "RetryScheduled" && event.kind != "StateCaught") return;
    const Json body = Json::parse(event.body);
    if (json)
      fmt::print("{}\n", Json{{"message_type", "event"},
                              {"run", id},
                              {"number", event.number},
                              {"kind", event.kind},
                              {"state", body.value("state", "")}}
                             .dump());
    else
      fmt::print(stderr, "{} {}{}\n",
                 event.kind == "StateEntered"     ? "->"
                 : event.kind == "RetryScheduled" ? "again:"
                                                  : "caught:",
                 body.value("state", ""), body.contains("error") ? " " + body.value("error", "") : "");
  };
  const flow::RunRecord run = host.follow(id, after, show, session.stop);
  if (run.status == flow::RunStatus::active)
    fmt::print(stderr, "{}\n",
               host.in_this_process() ? "interrupted; it goes on with: farfield flow resume " + id
                                      : "it goes on; look at it with: farfield flow show " + id + " --watch");
  return outcome(run, json);
}

/// A flow in the database, or a file.
bool is_file(const std::string& name) { return name.ends_with(".json") || name.find('/') != std::string::npos; }

int dry_run(const std::string& name, const RunOptions& options, const Arguments& arguments) {
  std::string definition;
  if (is_file(name)) {
    definition = read_text(name);
  } else {
    definition = open_flow_host(arguments)->flow(name).definition;
  }
  std::map<std::string, std::string> details;
  if (!options.results.empty()) {
    const auto given = Json::parse(text_or_file(options.results), nullptr, false);
    if (!given.is_object())
      throw Error(ErrorCode::invalid_argument, "--results must be a JSON object {\"STATE\": details}");
    for (const auto& [state, value] : given.items()) details[state] = value.dump();
  }
  const auto run = flow::dry_run(flow::parse_definition(definition), text_or_file(options.input), details, user_name());
  for (const auto& step : run.steps) {
    if (options.json) {
      Json line{{"message_type", "step"}, {"state", step.state}, {"type", step.type}};
      if (!step.action_url.empty()) line["action_url"] = step.action_url;
      if (!step.body.empty()) line["body"] = Json::parse(step.body);
      if (step.waits_s > 0) line["waits_s"] = step.waits_s;
      fmt::print("{}\n", line.dump());
    } else {
      fmt::print("{} ({})\n", step.state, step.type);
      if (!step.action_url.empty()) fmt::print("    {}\n    {}\n", step.action_url, step.body);
      if (step.waits_s > 0) fmt::print("    waits {} s\n", step.waits_s);
    }
  }
  if (options.json)
    fmt::print("{}\n", Json{{"message_type", "run"},
                            {"status", run.status},
                            {"error", run.error},
                            {"cause", run.cause},
                            {"output", Json::parse(run.output)}}
                           .dump());
  else if (run.error.empty()) fmt::print("{}\n{}\n", run.status, Json::parse(run.output).dump(2));
  else fmt::print("{}: {}: {}\n", run.status, run.error, run.cause);
  return run.status == "SUCCEEDED" ? core::kExitOk : 1;
}

int run(const Arguments& arguments, const Session& session) {
  const auto options = run_schema().make(part(arguments.given, run_schema()));
  const std::string& name = arguments.inputs.at(0);
  if (options.dry_run) return dry_run(name, options, arguments);
  if (!options.results.empty()) throw Error(ErrorCode::invalid_argument, "--results goes with --dry-run");
  const auto host = open_flow_host(arguments);
  flow::RunRequest request;
  request.flow_id = is_file(name) ? deploy_file(*host, name, "", "", "").id : name;
  request.input = text_or_file(options.input);
  request.label = options.label;
  request.tags = core::between_commas(options.tags);
  for (const std::string& one : core::between_commas(options.role)) {
    // A role's name may hold '=', an identity's may not.
    const auto equals = one.rfind('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == one.size())
      throw Error(ErrorCode::invalid_argument, fmt::format("{:?} must be ROLE=service:ID", one)).at("--role");
    if (!request.identities.emplace(one.substr(0, equals), flow::RunIdentity{one.substr(equals + 1), ""}).second)
      throw Error(ErrorCode::invalid_argument, fmt::format("{:?} comes twice", one.substr(0, equals))).at("--role");
  }
  const std::string id = host->start(request);
  if (!options.json) {
    fmt::print("{}\n", id);
    std::fflush(stdout);
  }
  return follow(*host, id, 0, session, options.json);
}

int resume(const Arguments& arguments, const Session& session) {
  const auto options = output_schema().make(part(arguments.given, output_schema()));
  const std::string& id = arguments.inputs.at(0);
  const auto host = open_flow_host(arguments);
  const std::int64_t before = host->run(id).events;
  host->resume(id);
  return follow(*host, id, before, session, options.json);
}

int cancel(const Arguments& arguments, const Session&) {
  const auto options = output_schema().make(part(arguments.given, output_schema()));
  const std::string& id = arguments.inputs.at(0);
  const auto host = open_flow_host(arguments);
  host->cancel(id);
  outcome(host->run(id), options.json);
  return core::kExitOk;
}
}  // namespace

Command flow_run_command() {
  return {{"flow", "run"},
          "start a run of a flow and follow it; FLOW is an id or a file, which is deployed first",
          {"FLOW"},
          {run_schema(), host_schema()},
          run};
}
Command flow_resume_command() {
  return {{"flow", "resume"},
          "go on with a run that was interrupted, failed or was cancelled, in the state where it stopped",
          {"RUN"},
          {output_schema(), host_schema()},
          resume};
}
Command flow_cancel_command() {
  return {{"flow", "cancel"}, "end an active run and its actions", {"RUN"}, {output_schema(), host_schema()}, cancel};
}

}  // namespace farfield::apps
