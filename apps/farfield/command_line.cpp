#include "apps/farfield/command_line.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <deque>
#include <set>

namespace farfield::apps {
namespace {

using core::Error;
using core::ErrorCode;
using core::OptionInfo;
using core::OptionType;

CLI::App* subcommand(CLI::App& app, const std::string& word) {
  for (auto* sub : app.get_subcommands([](CLI::App*) { return true; }))
    if (sub->get_name() == word) return sub;
  return nullptr;
}

/// The CLI11 tree with the storage that it writes to.
class Tree {
public:
  explicit Tree(const std::vector<Command>& commands) : commands_(commands) {
    prepare(root_);
    for (const auto& command : commands) add(command);
  }

  CommandLine parse(std::vector<std::string> arguments) {
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants it
    CommandLine out;
    try {
      root_.parse(arguments);
    } catch (const CLI::CallForHelp&) {
      out.text = help_text(commands_, words(innermost()));
      return out;
    } catch (const CLI::ParseError& e) {
      throw Error(ErrorCode::invalid_argument, e.what());
    }
    CLI::App* at = innermost();
    const auto leaf = leaves_.find(at);
    const auto remaining = root_.remaining(true);
    if (leaf == leaves_.end()) {
      if (remaining.empty()) {
        std::string typed = "farfield";
        for (const auto& word : words(at)) typed += " " + word;
        throw Error(ErrorCode::invalid_argument, fmt::format("{} what? `{} --help` lists the commands", typed, typed));
      }
      unknown_command(*at, remaining.front());
    }
    Leaf& chosen = leaf->second;
    for (const auto& extra : remaining) refuse(*chosen.command, extra);
    out.command = chosen.command;
    for (const auto& input : chosen.inputs)
      if (!input.empty()) out.inputs.push_back(input);
    out.inputs.insert(out.inputs.end(), chosen.more.begin(), chosen.more.end());
    for (auto& [name, flag] : chosen.flags)
      if (flag.option->count() > 0) out.flags[name] = flag.is_boolean ? (flag.on ? "true" : "false") : flag.text;
    out.config_file = chosen.config_file;
    out.print_config = chosen.print_config;
    check_inputs(out);
    return out;
  }

private:
  struct Flag {
    CLI::Option* option = nullptr;
    bool is_boolean = false, on = false;
    std::string text;
  };
  struct Leaf {
    const Command* command = nullptr;
    std::deque<std::string> inputs;  // does not move what CLI11 points to
    std::vector<std::string> more;   // of a last input "NAME..."
    std::map<std::string, Flag> flags;
    std::string config_file;
    bool print_config = false;
  };

  static void prepare(CLI::App& app) {
    app.allow_extras();               // collected, and refused with a suggestion
    app.require_subcommand(0, 1);     // so that a file may have the name of a command
  }

  CLI::App* innermost() {
    CLI::App* at = &root_;
    while (!at->get_subcommands().empty()) at = at->get_subcommands().front();
    return at;
  }
  static std::vector<std::string> words(const CLI::App* app) {
    std::vector<std::string> out;
    for (; app->get_parent() != nullptr; app = app->get_parent()) out.insert(out.begin(), app->get_name());
    return out;
  }

  void add(const Command& command) {
    CLI::App* at = &root_;
    for (std::size_t i = 0; i < command.words.size(); ++i) {
      CLI::App* next = subcommand(*at, command.words[i]);
      if (next == nullptr) {
        next = at->add_subcommand(command.words[i]);
        prepare(*next);
      }
      at = next;
    }
    Leaf& leaf = leaves_[at];
    leaf.command = &command;
    for (const auto& input : command.inputs) {
      const bool optional = input.starts_with("[");
      if (takes_more(input)) {
        at->add_option(input.substr(0, input.size() - 3), leaf.more);
        continue;
      }
      leaf.inputs.emplace_back();
      at->add_option(optional ? input.substr(1, input.size() - 2) : input, leaf.inputs.back());
    }
    for (const auto& schema : command.options)
      for (const auto& info : schema.options()) {
        Flag& flag = leaf.flags[info.name];
        flag.is_boolean = info.type == OptionType::boolean;
        const std::string dashes = "--" + info.name;
        flag.option =
            flag.is_boolean ? at->add_flag(dashes + ",!--no-" + info.name, flag.on) : at->add_option(dashes, flag.text);
      }
    if (command.options.empty()) return;
    at->add_option("--config", leaf.config_file);
    at->add_flag("--print-config", leaf.print_config);
  }

  [[noreturn]] static void refuse(const Command& command, const std::string& extra) {
    if (!extra.starts_with("-"))
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("unexpected argument {}; `farfield {}` takes {}", extra, command.name(),
                              command.inputs.empty() ? "none" : fmt::format("{}", fmt::join(command.inputs, " "))));
    const std::string typed = extra.substr(0, extra.find('='));
    std::vector<std::string> known{"--config", "--print-config", "--help"};
    for (const auto& schema : command.options)
      for (const auto& info : schema.options()) {
        known.push_back("--" + info.name);
        if (info.type == OptionType::boolean) known.push_back("--no-" + info.name);
      }
    const auto near = core::nearest_name(typed, known);
    throw Error(ErrorCode::invalid_argument,
                fmt::format("unknown option {} of `farfield {}`; {}", typed, command.name(),
                            near ? "did you mean " + *near + "?" : "--help lists them"));
  }

  [[noreturn]] static void unknown_command(const CLI::App& at, const std::string& word) {
    std::vector<std::string> known;
    for (const auto* sub : at.get_subcommands([](const CLI::App*) { return true; })) known.push_back(sub->get_name());
    const auto near = core::nearest_name(word, known);
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("unknown {} {}; {}", word.starts_with("-") ? "option" : "command", word,
                    near ? "did you mean " + *near + "?" : fmt::format("there are: {}", fmt::join(known, ", "))));
  }

  static bool takes_more(const std::string& input) { return input.ends_with("..."); }

  static void check_inputs(const CommandLine& line) {
    std::size_t least = 0;
    for (const auto& name : line.command->inputs) least += name.starts_with("[") ? 0 : 1;
    if (line.print_config) return;
    const bool more = !line.command->inputs.empty() && takes_more(line.command->inputs.back());
    if (line.inputs.size() < least || (!more && line.inputs.size() > line.command->inputs.size()))
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("`farfield {}` takes {}; {} given", line.command->name(),
                              line.command->inputs.empty() ? "no argument"
                                                           : fmt::format("{}", fmt::join(line.command->inputs, " ")),
                              line.inputs.empty() ? "none" : fmt::format("{}", fmt::join(line.inputs, " "))));
  }

  const std::vector<Command>& commands_;
  CLI::App root_;
  std::map<const CLI::App*, Leaf> leaves_;  // nodes do not move: CLI11 holds pointers into them
};

}  // namespace

CommandLine parse_command_line(const std::vector<Command>& commands, const std::vector<std::string>& arguments) {
  return Tree(commands).parse(arguments);
}

}  // namespace farfield::apps
