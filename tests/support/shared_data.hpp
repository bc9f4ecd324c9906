#pragma once
// Large measured data sets live outside the repository; a test that needs one skips where it is absent.

#include <cstdlib>
#include <filesystem>

namespace farfield::tests {

/// The file `name` of the shared data: under $FARFIELD_SHARED_DATA, else ../shared/data beside the repository
/// root (in which tests run). Use it with FARFIELD_REQUIRE_SHARED.
inline std::filesystem::path shared_data(const std::filesystem::path& name) {
  const char* root = std::getenv("FARFIELD_SHARED_DATA");
  return std::filesystem::path(root != nullptr ? root : "../shared/data") / name;
}

}  // namespace farfield::tests

/// Skips the running test unless the file exists.
#define FARFIELD_REQUIRE_SHARED(path) \
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "shared data absent: " << (path)
