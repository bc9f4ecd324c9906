#include "apps/farfield/settings.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>

#include "farfield/io/atomic_file.hpp"
#include "farfield/io/toml.hpp"

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
  const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const toml::table table = io::parse_toml(text, path, "an option file");
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

/// UTF-8 as TOML escapes, since option files are ASCII; bytes that are not UTF-8 become U+FFFD.
std::string escaped(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = [&](std::size_t k) { return static_cast<unsigned char>(text[k]); };
    const unsigned char c = byte(i);
    const std::size_t length = c < 0x80 ? 1 : c >> 5 == 0x6 ? 2 : c >> 4 == 0xE ? 3 : c >> 3 == 0x1E ? 4 : 0;
    bool valid = length > 0 && i + length <= text.size();
    std::uint32_t point = length <= 1 ? c : c & (0xFFU >> (length + 1));
    for (std::size_t k = 1; valid && k < length; ++k) {
      valid = byte(i + k) >> 6 == 0x2;
      point = point << 6 | (byte(i + k) & 0x3FU);
    }
    if (!valid) point = 0xFFFD;
    if (point == '"' || point == '\\') out += {'\\', static_cast<char>(point)};
    else if (point >= 0x20 && point < 0x7F) out += static_cast<char>(point);
    else out += point <= 0xFFFF ? fmt::format("\\u{:04x}", point) : fmt::format("\\U{:08x}", point);
    i += valid ? length : 1;
  }
  return out;
}

std::string toml_value(const core::OptionValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return '"' + escaped(*text) + '"';
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
