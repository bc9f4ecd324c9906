#pragma once
// The commands, one file each; main() puts them together.

#include <map>

#include "apps/farfield/command.hpp"
#include "farfield/technique/technique.hpp"

namespace farfield::apps {

/// One command per verb of every technique: analyse.cpp, combine.cpp, simulate.cpp.
std::vector<Command> verb_commands();
Command analyse_command(const technique::TechniqueInfo& technique, const technique::Verb& verb);
Command combine_command(const technique::TechniqueInfo& technique, const technique::Verb& verb);
Command simulate_command(const technique::TechniqueInfo& technique, const technique::Verb& verb);

/// One for each analysing verb: `live TECHNIQUE` for the first, `live TECHNIQUE VERB` for the others.
std::vector<Command> live_commands(const technique::TechniqueInfo& technique);
Command replay_command();
Command distribute_command();
Command steer_command();

Command convert_command();
Command agent_start_command();
Command transfer_copy_command();
Command transfer_submit_command();
Command transfer_list_command();
Command transfer_show_command();
Command transfer_wait_command();
Command transfer_cancel_command();
Command endpoint_start_command();
Command serve_command();
Command watch_command();
Command up_command();
Command login_command();
Command logout_command();
Command whoami_command();
Command technique_list_command();
Command technique_schema_command();
/// JSON Schema of a verb's options.
std::string schema_text(const technique::TechniqueInfo& technique, const technique::Verb& verb);
Command flow_validate_command();
Command flow_deploy_command();
Command flow_run_command();
Command flow_list_command();
Command flow_show_command();
Command flow_cancel_command();
Command flow_resume_command();
Command flow_log_command();
Command flow_report_command();
Command task_submit_command();
Command task_list_command();
Command task_show_command();
Command task_cancel_command();
Command task_log_command();
Command task_output_command();
Command function_register_command();
Command function_list_command();
Command function_show_command();
/// farfield user, group, identity, experiment.
std::vector<Command> directory_commands();
/// farfield events ...: events.cpp, events_reduce.cpp, events_report.cpp.
std::vector<Command> event_commands();
Command events_reduce_command();
Command events_report_command();
Command help_command();

/// Everything the program can do, as main() offers it.
std::vector<Command> all_commands();

/// The command reference (docs/reference/cli.md).
std::string markdown_reference(const std::vector<Command>& commands);

/// Files generated from the commands, by path in the repository: the command reference, and
/// api/schemas/<technique>.<verb>.json for every verb. The target generate_reference writes them, a test compares.
std::map<std::string, std::string> reference_files();

/// Adds who made it, from what and how, where the technique has not said so itself.
void add_provenance(model::Product& product, const technique::TechniqueInfo& technique, const technique::Verb& verb,
                    const core::OptionValues& given, const Session& session);

}  // namespace farfield::apps
