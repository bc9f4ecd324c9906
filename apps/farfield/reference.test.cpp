// docs/reference/cli.md and api/schemas/ are what the program would generate now.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "apps/farfield/commands.hpp"

namespace farfield::apps {
namespace {

// Tests run in the root of the repository (farfield_register_test).
TEST(Reference, GeneratedFilesAreUpToDate) {
  std::set<std::string> schemas;
  for (const auto& [path, text] : reference_files()) {
    std::ifstream file(path);
    std::stringstream stored;
    stored << file.rdbuf();
    EXPECT_TRUE(file.good()) << path << " is missing; `ninja -C build/release generate_reference` writes it";
    EXPECT_TRUE(stored.str() == text) << path
                                      << " is out of date; `ninja -C build/release generate_reference` writes it";
    if (path.starts_with("api/schemas/")) schemas.insert(path);
  }
  for (const auto& entry : std::filesystem::directory_iterator("api/schemas"))
    EXPECT_TRUE(schemas.contains(entry.path().string())) << entry.path() << " belongs to no verb";
}

}  // namespace
}  // namespace farfield::apps
