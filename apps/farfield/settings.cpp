#include "apps/farfield/settings.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cstdlib>

#include "farfield/io/atomic_file.hpp"

namespace farfield::apps {
namespace {

using core::Error;
using core::ErrorCode;

constexpr std::int64_t kLargestConfig = 1 << 20;

core::OptionValue value_of(const std::string& name, const toml::node& node) {
  if (const auto v = node.value_exact<bool>()) return *v;
  if (const auto v = node.value_exact<std::int64_t>()) return *v;
  if (const auto v = node.value_exact<double>()) return *v;
  if (const auto v = node.value_exact<std::string>()) return *v;
  if (const auto* array = node.as_array()) {
    std::vector<double> list;
    for (const auto& element : *array) {
      const auto number = element.value<double>();
      if (!number) break;
      list.push_back(*number);
    }
    if (list.size() == array->size()) return list;
  }
  throw Error(ErrorCode::invalid_argument,
              fmt::format("option {} must be a boolean, a number, text or a list of numbers", name));
}

core::OptionValues read_config(const std::string& path, const Command& command) {
  const auto bytes = io::read_file(path, kLargestConfig);
  toml::table table;
  try {
    table = toml::parse(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  } catch (const toml::parse_error& e) {
    throw Error(ErrorCode::corrupt_data, fmt::format("not TOML: {}", e.description()))
        .at(fmt::format("{}:{}", path, e.source().begin.line));
  }
  core::OptionValues values;
  for (const auto& [key, node] : table) {
    const std::string name(key.str());
    try {
      const auto* info = command.find(name);
      if (info == nullptr) {
        const auto near = core::nearest_name(name, command.option_names());
        throw Error(ErrorCode::invalid_argument,
                    fmt::format("unknown option {}{}", name, near ? "; did you mean " + *near + "?" : ""));
      }
      values[name] = core::check_option(*info, value_of(name, node));
    } catch (Error& e) {
      throw std::move(e.at(fmt::format("{}:{}", path, node.source().begin.line)));
    }
  }
  return values;
}

std::string toml_value(const core::OptionValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) {
    std::string quoted = "\"";
    for (const char c : *text) {
      if (c == '"' || c == '\\') quoted += '\\';
      if (static_cast<unsigned char>(c) < 0x20) quoted += fmt::format("\\u{:04x}", static_cast<int>(c));
      else quoted += c;
    }
    return quoted + "\"";
  }
  if (const auto* list = std::get_if<std::vector<double>>(&value)) return fmt::format("[{}]", fmt::join(*list, ", "));
  return core::to_text(value);
}

}  // namespace

Environment process_environment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  };
}

std::string environment_name(const std::string& option) {
  std::string name = "FARFIELD_" + option;
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return c == '-' ? '_' : static_cast<char>(std::toupper(c)); });
  return name;
}

core::OptionValues resolve(const CommandLine& line, const Environment& environment) {
  core::OptionValues values;
  if (!line.config_file.empty()) values = read_config(line.config_file, *line.command);
  for (const auto& name : line.command->option_names()) {
    const auto& info = *line.command->find(name);
    if (const auto flag = line.flags.find(name); flag != line.flags.end()) {
      values[name] = core::parse_option(info, flag->second);
    } else if (const auto variable = environment(environment_name(name)); variable && !variable->empty()) {
      try {
        values[name] = core::parse_option(info, *variable);
      } catch (Error& e) {
        throw std::move(e.at("environment variable " + environment_name(name)));
      }
    }
  }
  return values;
}

std::string to_toml(const Command& command, const core::OptionValues& given) {
  std::string text =
      fmt::format("# farfield {}: options in effect; a line that begins with # is a default\n", command.name());
  for (const auto& group : command.groups()) {
    text += fmt::format("\n# {}\n", group);
    for (const auto& info : command.group(group)) {
      const auto it = given.find(info.name);
      text += it == given.end() ? fmt::format("# {} = {}\n", info.name, toml_value(info.fallback))
                                : fmt::format("{} = {}\n", info.name, toml_value(it->second));
    }
  }
  return text;
}

}  // namespace farfield::apps
