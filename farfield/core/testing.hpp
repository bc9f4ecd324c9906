#pragma once
// For tests of every room: folders that vanish, and real parts that may be missing.

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>

namespace farfield::core::testing {

/// A folder of its own per test, removed at the end.
class TemporaryFolder {
public:
  /// In `inside`, or where the system keeps temporary files.
  explicit TemporaryFolder(const std::filesystem::path& inside = {}) {
    const auto parent = inside.empty() ? std::filesystem::temp_directory_path() : inside;
    std::string name = (parent / "farfield_test_XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

private:
  std::filesystem::path path_;
};

/// FARFIELD_REQUIRE_REAL=1: where every real part (servers, kernel features, root) has to be there.
inline bool real_parts_required() {
  const char* set = std::getenv("FARFIELD_REQUIRE_REAL");
  return set != nullptr && std::string_view(set) == "1";
}

}  // namespace farfield::core::testing

/// Ends the test for want of a real part: skipped with the reason, or failed where real parts are required.
#define FARFIELD_SKIP(why)                                                                                     \
  do {                                                                                                         \
    if (::farfield::core::testing::real_parts_required()) FAIL() << "FARFIELD_REQUIRE_REAL=1, but: " << (why); \
    GTEST_SKIP() << "skipped: " << (why);                                                                      \
  } while (false)
