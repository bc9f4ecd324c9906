// generate_reference ROOT: writes the generated files of the repository whose root is ROOT.

#include <fmt/format.h>

#include "apps/farfield/commands.hpp"
#include "farfield/io/atomic_file.hpp"

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: generate_reference ROOT\n");
    return farfield::core::kExitUsage;
  }
  try {
    for (const auto& [path, text] : farfield::apps::reference_files()) {
      const auto file = std::filesystem::path(argv[1]) / path;
      std::filesystem::create_directories(file.parent_path());
      farfield::io::write_atomic(file, text);
      fmt::print("{}\n", path);
    }
  } catch (const std::exception& e) {
    fmt::print(stderr, "generate_reference: {}\n", e.what());
    return 1;
  }
}
