#pragma once

#include <span>
#include <string_view>

namespace farfield::io::recipe {

/// A recipe of farfield/io/recipes/, put into the program by CMake.
struct Shipped {
  std::string_view name, text;
};
std::span<const Shipped> shipped();

}  // namespace farfield::io::recipe
