#include "apps/farfield/command.hpp"

#include <algorithm>

namespace farfield::apps {

std::string Command::name() const {
  std::string text;
  for (const auto& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

const core::OptionInfo* Command::find(const std::string& option) const {
  for (const auto& schema : options)
    if (const auto* info = schema.find(option)) return info;
  return nullptr;
}

std::vector<std::string> Command::option_names() const {
  std::vector<std::string> names;
  for (const auto& schema : options)
    for (const auto& info : schema.options()) names.push_back(info.name);
  return names;
}

namespace {
std::string heading_of(const core::OptionInfo& info) { return info.rules.group.empty() ? "Options" : info.rules.group; }
}  // namespace

std::vector<std::string> Command::groups() const {
  std::vector<std::string> out;
  for (const auto& schema : options)
    for (const auto& info : schema.options())
      if (const auto heading = heading_of(info); std::find(out.begin(), out.end(), heading) == out.end())
        out.push_back(heading);
  return out;
}

std::vector<core::OptionInfo> Command::group(const std::string& heading) const {
  std::vector<core::OptionInfo> out;
  for (const auto& schema : options)
    for (const auto& info : schema.options())
      if (heading_of(info) == heading) out.push_back(info);
  return out;
}

core::OptionValues part(const core::OptionValues& values, const core::OptionSchema& schema) {
  core::OptionValues out;
  for (const auto& [name, value] : values)
    if (schema.find(name) != nullptr) out.emplace(name, value);
  return out;
}

}  // namespace farfield::apps
