#pragma once
// Lists as people write them.

#include <string>
#include <string_view>
#include <vector>

namespace farfield::core {

/// "a, b,,c" -> {"a", "b", "c"}: blanks around parts are dropped, and so are empty parts.
std::vector<std::string> between_commas(std::string_view list);

}  // namespace farfield::core
