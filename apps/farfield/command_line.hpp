#pragma once
// argv -> command and option texts. CLI11 is known to command_line.cpp only: it compiles slowly.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "apps/farfield/command.hpp"

namespace farfield::apps {

struct CommandLine {
  const Command* command = nullptr;          ///< null: `text` is all there is to do
  std::vector<std::string> inputs;
  std::map<std::string, std::string> flags;  ///< option -> text, as typed; booleans "true" or "false"
  std::string config_file;
  bool print_config = false;
  std::string text;                          ///< help that was asked for
};

/// Throws `invalid_argument` for what cannot be parsed; a wrong name suggests the nearest one.
CommandLine parse_command_line(const std::vector<Command>& commands, const std::vector<std::string>& arguments);

/// Help of the whole program ({}), a group ({"technique"}) or a command. Throws `invalid_argument` for other words.
std::string help_text(const std::vector<Command>& commands, const std::vector<std::string>& words);

}  // namespace farfield::apps
