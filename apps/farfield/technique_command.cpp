// farfield technique list, farfield technique schema NAME[.VERB]

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/farfield/commands.hpp"
#include "apps/farfield/registry.hpp"

namespace farfield::apps {

std::string schema_text(const technique::TechniqueInfo& technique, const technique::Verb& verb) {
  return verb.options.json_schema(fmt::format("farfield {} {}", technique.name, verb.name)) + "\n";
}

namespace {

int list(const Arguments&, const Session&) {
  for (const auto* technique : techniques()) {
    fmt::print("{}: {}\n", technique->name, technique->summary);
    for (const auto& verb : technique->verbs) fmt::print("  {:<16} {}\n", verb.name, verb.summary);
    for (const auto& doi : technique->references) fmt::print("  doi:{}\n", doi);
  }
  return core::kExitOk;
}

int schema(const Arguments& arguments, const Session&) {
  const auto& name = arguments.inputs.at(0);
  const auto dot = name.find('.');
  const auto& technique = find_technique(name.substr(0, dot));
  if (dot != std::string::npos) {
    fmt::print("{}", schema_text(technique, find_verb(technique, name.substr(dot + 1))));
    return core::kExitOk;
  }
  auto all = nlohmann::ordered_json::object();
  for (const auto& verb : technique.verbs) all[verb.name] = nlohmann::ordered_json::parse(schema_text(technique, verb));
  fmt::print("{}\n", all.dump(2));
  return core::kExitOk;
}

}  // namespace

Command technique_list_command() {
  return {{"technique", "list"}, "the techniques of this build and their verbs", {}, {}, list};
}

Command technique_schema_command() {
  return {{"technique", "schema"},
          "JSON Schema of the options: of a technique's verbs, or of one (NAME.VERB)",
          {"NAME"},
          {},
          schema};
}

}  // namespace farfield::apps
