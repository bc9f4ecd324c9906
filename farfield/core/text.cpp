#include "farfield/core/text.hpp"

#include <algorithm>

namespace farfield::core {

std::vector<std::string> between_commas(std::string_view list) {
  constexpr std::string_view kBlanks = " \t\r\n";
  std::vector<std::string> parts;
  while (!list.empty()) {
    std::string_view part = list.substr(0, list.find(','));
    list.remove_prefix(std::min(part.size() + 1, list.size()));
    const auto first = part.find_first_not_of(kBlanks);
    if (first == std::string_view::npos) continue;
    parts.emplace_back(part.substr(first, part.find_last_not_of(kBlanks) - first + 1));
  }
  return parts;
}

}  // namespace farfield::core
