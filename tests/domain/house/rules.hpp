#pragma once
// The rules that keep the rooms apart, as functions of a source tree. Each returns one line for every violation.

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace farfield::tests {

using Violations = std::vector<std::string>;

/// Room -> rooms it may use, as cmake/layers.cmake says. Throws where the file holds no table.
std::map<std::string, std::set<std::string>> read_layers(const std::filesystem::path& layers_cmake);

/// Each #include "farfield/..." of a file under farfield/ names its own room or one in its row, and exists; a
/// technique never includes another. Tests and benchmarks beside the sources obey, too.
Violations check_layers(const std::filesystem::path& root);

/// MPI, HDF5, SQL and Boost each stay behind the one room that wraps them.
Violations check_wrapped_libraries(const std::filesystem::path& root);

/// Libraries do not print, exit, or read the environment; the program does (and core, for FARFIELD_ISA).
Violations check_quiet_libraries(const std::filesystem::path& root);

/// No build file asks for the instruction set of the machine that compiles.
Violations check_portable_flags(const std::filesystem::path& root);

/// No source file is longer than `lines`.
Violations check_file_length(const std::filesystem::path& root, int lines);

/// The table of rooms in docs/explanation/house.md says what cmake/layers.cmake says.
Violations check_house_page(const std::filesystem::path& root);

/// Every relative link and image of every Markdown file leads to a file or folder of the tree.
Violations check_links(const std::filesystem::path& root);

/// Every row of the tables of attacks in docs/reference/security.md names a test ("the same": that of the row above) or
/// a fuzzer that is in the tree, and there are at least `rows`.
Violations check_attacks(const std::filesystem::path& root, int rows);

}  // namespace farfield::tests
