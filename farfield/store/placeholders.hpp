#pragma once
// Only this room includes it.

#include <string>
#include <string_view>

namespace farfield::store {

/// `?` -> `$1`, `$2` ... outside of strings, quoted names and comments.
std::string numbered_placeholders(std::string_view sql);

}  // namespace farfield::store
