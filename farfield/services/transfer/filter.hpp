#pragma once
// Which files of a tree are transferred.

#include <string>
#include <string_view>
#include <vector>

namespace farfield::services::transfer {

/// Patterns with `*` (any run of characters within a name), `?` and `**` (any run, also across '/'). A pattern without
/// '/' is held against the last part of a path, wherever it is; one with '/' against the whole path below the item.
struct Filter {
  std::vector<std::string> include;  ///< a file must match one of these; empty: all do
  std::vector<std::string> exclude;  ///< a file or folder that matches one is left out, with all it holds
};

/// Throws `invalid_argument` for an empty pattern, or one that is longer than a path may be.
void check(const Filter& filter);
bool path_matches(std::string_view pattern, std::string_view path);
bool takes_file(const Filter& filter, std::string_view path);
bool takes_folder(const Filter& filter, std::string_view path);

}  // namespace farfield::services::transfer
