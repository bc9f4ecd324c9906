#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>

#include "apps/farfield/commands.hpp"
#include "apps/farfield/registry.hpp"
#include "apps/farfield/version.hpp"
#include "farfield/core/cpu.hpp"

namespace farfield::apps {

std::vector<Command> verb_commands() {
  std::vector<Command> commands;
  for (const auto* technique : techniques())
    for (const auto& verb : technique->verbs)
      commands.push_back(verb.analyse   ? analyse_command(*technique, verb)
                         : verb.combine ? combine_command(*technique, verb)
                                        : simulate_command(*technique, verb));
  return commands;
}

std::vector<Command> all_commands() {
  auto commands = verb_commands();
  for (auto& command : {convert_command(),
                        agent_start_command(),
                        transfer_copy_command(),
                        transfer_submit_command(),
                        transfer_list_command(),
                        transfer_show_command(),
                        transfer_wait_command(),
                        transfer_cancel_command(),
                        serve_command(),
                        endpoint_start_command(),
                        watch_command(),
                        up_command(),
                        login_command(),
                        logout_command(),
                        whoami_command(),
                        technique_list_command(),
                        technique_schema_command(),
                        flow_validate_command(),
                        flow_deploy_command(),
                        flow_run_command(),
                        flow_list_command(),
                        flow_show_command(),
                        flow_cancel_command(),
                        flow_resume_command(),
                        flow_log_command(),
                        flow_report_command(),
                        help_command()})
    commands.push_back(command);
  for (auto& command :
       {task_submit_command(), task_list_command(), task_show_command(), task_cancel_command(), task_log_command(),
        task_output_command(), function_register_command(), function_list_command(), function_show_command()})
    commands.push_back(command);
  for (auto& command : event_commands()) commands.push_back(command);
  for (auto& command : directory_commands()) commands.push_back(command);
  for (const auto* technique : techniques())
    for (auto& command : live_commands(*technique)) commands.push_back(std::move(command));
  commands.push_back(replay_command());
  commands.push_back(distribute_command());
  commands.push_back(steer_command());
  return commands;
}

void add_provenance(model::Product& product, const technique::TechniqueInfo& technique, const technique::Verb& verb,
                    const core::OptionValues& given, const Session& session) {
  product.technique = technique.name;
  product.verb = verb.name;
  auto& p = product.provenance;
  p.try_emplace("program", "farfield");
  p.try_emplace("version", version());
  p.try_emplace("revision", git_revision());
  p.try_emplace("instruction_set", std::string(core::name(core::isa())));
  p.try_emplace("options", core::options_to_json(verb.options.complete(given)));
  p.try_emplace("created", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr))));
  std::string command_line;
  for (const auto& word : session.command_line) command_line += (command_line.empty() ? "" : " ") + word;
  p.try_emplace("command", command_line);
  std::string references;
  for (const auto& doi : technique.references) references += (references.empty() ? "" : " ") + doi;
  if (!references.empty()) p.try_emplace("references", references);
}

}  // namespace farfield::apps
