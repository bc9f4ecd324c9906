// Help: of the program, of a group of commands, of a command.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "apps/farfield/command_line.hpp"
#include "apps/farfield/commands.hpp"

namespace farfield::apps {
namespace {

struct HelpOptions {
  bool markdown = false;
};

const core::BoundSchema<HelpOptions>& help_schema() {
  static const auto schema = [] {
    core::BoundSchema<HelpOptions> s;
    s.add("markdown", &HelpOptions::markdown, "the whole command reference");
    return s;
  }();
  return schema;
}

constexpr std::size_t kWidth = 100, kColumn = 34;

/// `text` broken between words, every line after the first indented.
std::string wrapped(const std::string& text, std::size_t indent) {
  std::string out;
  std::size_t column = indent;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    if (column > indent && column + 1 + (end - at) > kWidth) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (column > indent) {
      out += ' ';
      ++column;
    }
    out.append(text, at, end - at);
    column += end - at;
    at = end + 1;
  }
  return out;
}

std::string row(const std::string& left, const std::string& right) {
  const std::string gap =
      left.size() + 2 < kColumn ? std::string(kColumn - left.size() - 2, ' ') : "\n" + std::string(kColumn, ' ');
  return fmt::format("  {}{}{}\n", left, gap, wrapped(right, kColumn));
}

std::string flag(const core::OptionInfo& info) {
  const std::string unit = info.rules.unit;
  switch (info.type) {
    case core::OptionType::boolean: return "--[no-]" + info.name;
    case core::OptionType::integer: return fmt::format("--{} {}", info.name, unit.empty() ? "N" : unit);
    case core::OptionType::real: return fmt::format("--{} {}", info.name, unit.empty() ? "X" : unit);
    case core::OptionType::list: return fmt::format("--{} {},...", info.name, unit.empty() ? "X" : unit);
    case core::OptionType::choice: return fmt::format("--{} WORD", info.name);
    case core::OptionType::text: return fmt::format("--{} TEXT", info.name);
  }
  return "--" + info.name;
}

std::string described(const core::OptionInfo& info) {
  std::string text = info.help;
  if (info.type == core::OptionType::choice) text += fmt::format(": {}", fmt::join(info.rules.choices, ", "));
  const std::string fallback = info.type == core::OptionType::boolean ? (std::get<bool>(info.fallback) ? "on" : "off")
                                                                      : core::to_text(info.fallback);
  return fallback.empty() ? text : fmt::format("{} [{}]", text, fallback);
}

std::string command_help(const Command& command) {
  std::string text =
      fmt::format("Usage: farfield {}{}{}{}\n{}\n", command.name(), command.inputs.empty() ? "" : " ",
                  fmt::join(command.inputs, " "), command.options.empty() ? "" : " [--option ...]", command.summary);
  for (const auto& group : command.groups()) {
    text += fmt::format("\n{}\n", group);
    for (const auto& info : command.group(group)) text += row(flag(info), described(info));
  }
  if (!command.options.empty())
    text += "\nConfiguration\n" + row("--config FILE", "read options from a TOML file: option = value") +
            row("--print-config", "print the options in effect as TOML and do nothing else");
  return text;
}

}  // namespace

std::string help_text(const std::vector<Command>& commands, const std::vector<std::string>& words) {
  const auto begins = [&](const Command& command) {
    return words.size() <= command.words.size() && std::equal(words.begin(), words.end(), command.words.begin());
  };
  for (const auto& command : commands)
    if (command.words == words) return command_help(command);
  std::string rows;
  for (const auto& command : commands)
    if (begins(command)) rows += row(command.name(), command.summary);
  if (rows.empty()) {
    std::vector<std::string> known;
    for (const auto& command : commands) known.push_back(command.name());
    const auto near = core::nearest_name(fmt::format("{}", fmt::join(words, " ")), known);
    throw core::Error(core::ErrorCode::invalid_argument,
                      fmt::format("no command {}; {}", fmt::join(words, " "),
                                  near ? "did you mean " + *near + "?" : "`farfield help` lists them"));
  }
  std::string text =
      fmt::format("Usage: farfield {}{}COMMAND\n\nCommands\n{}", fmt::join(words, " "), words.empty() ? "" : " ", rows);
  if (words.empty())
    text = "Farfield couples a light-source instrument to computing while the experiment runs.\n" + text +
           "\n`farfield help COMMAND` tells more; `farfield --version` names this build.\n";
  return text;
}

Command help_command() {
  // The words after `help` are those of a command, at most two.
  return {{"help"},
          "this program's help, or that of a command",
          {"[COMMAND]", "[VERB]"},
          {help_schema()},
          [](const Arguments& arguments, const Session&) {
            const auto commands = all_commands();
            const bool markdown = help_schema().make(arguments.given).markdown;
            fmt::print("{}", markdown ? markdown_reference(commands) : help_text(commands, arguments.inputs));
            return core::kExitOk;
          }};
}

}  // namespace farfield::apps
