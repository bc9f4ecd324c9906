// farfield flow validate | deploy

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/farfield/commands.hpp"
#include "apps/farfield/flow_options.hpp"
#include "farfield/services/flow/schema.hpp"

namespace farfield::apps {
namespace {
namespace flow = services::flow;

struct DefinitionOptions {
  std::string schema, title, flow, identity;
  bool json = false;
};

const core::BoundSchema<DefinitionOptions>& validate_schema() {
  static const auto schema = [] {
    core::BoundSchema<DefinitionOptions> s;
    s.add("schema", &DefinitionOptions::schema, "file with the JSON Schema of the input, checked too");
    s.add("json", &DefinitionOptions::json, "one JSON object a line on stdout");
    return s;
  }();
  return schema;
}

const core::BoundSchema<DefinitionOptions>& deploy_schema() {
  static const auto schema = [] {
    core::BoundSchema<DefinitionOptions> s;
    s.add("schema", &DefinitionOptions::schema, "file with the JSON Schema of the input");
    s.add("title", &DefinitionOptions::title, "what people call it (default: the name of the file)");
    s.add("flow", &DefinitionOptions::flow, "deploy as the next version of this flow; runs keep theirs");
    s.add("identity", &DefinitionOptions::identity,
          "service:ID, as which states with RunAs Flow act; you must be permitted to act as it; needs --service "
          "(default: that of the version before)");
    s.add("json", &DefinitionOptions::json, "one JSON object a line on stdout");
    return s;
  }();
  return schema;
}

int validate(const Arguments& arguments, const Session&) {
  const auto options = validate_schema().make(part(arguments.given, validate_schema()));
  const std::string& file = arguments.inputs.at(0);
  const auto problems = flow::check_definition(read_text(file));
  if (!options.schema.empty()) flow::InputSchema::parse(read_text(options.schema));
  bool wrong = false;
  for (const auto& problem : problems) {
    wrong = wrong || !problem.warning;
    if (options.json)
      fmt::print("{}\n", nlohmann::ordered_json{{"message_type", problem.warning ? "warning" : "error"},
                                                {"file", file},
                                                {"line", problem.line},
                                                {"path", problem.path},
                                                {"message", problem.what}}
                             .dump());
    else
      fmt::print("{}:{}: {}{}: {}\n", file, problem.line, problem.warning ? "warning: " : "",
                 problem.path.empty() ? "/" : problem.path, problem.what);
  }
  if (!wrong && !options.json)
    fmt::print("{}: {}\n", file, problems.empty() ? "a flow without mistakes" : "a flow, with warnings");
  return wrong ? core::traits(core::ErrorCode::corrupt_data).exit_code : core::kExitOk;
}

int deploy(const Arguments& arguments, const Session&) {
  const auto options = deploy_schema().make(part(arguments.given, deploy_schema()));
  const auto host = open_flow_host(arguments);
  const auto deployed =
      deploy_file(*host, arguments.inputs.at(0), options.title, options.schema, options.flow, options.identity);
  if (options.json)
    fmt::print(
        "{}\n",
        nlohmann::ordered_json{{"message_type", "flow"}, {"id", deployed.id}, {"version", deployed.version}}.dump());
  else fmt::print("{}\n", deployed.id);
  return core::kExitOk;
}
}  // namespace

Command flow_validate_command() {
  return {{"flow", "validate"},
          "check a flow's definition: every mistake with its line and path",
          {"FILE"},
          {validate_schema()},
          validate};
}
Command flow_deploy_command() {
  return {{"flow", "deploy"},
          "check a flow's definition and store it; prints its id",
          {"FILE"},
          {deploy_schema(), host_schema()},
          deploy};
}

}  // namespace farfield::apps
