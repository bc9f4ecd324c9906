#pragma once
// For tests of this room only: folders that vanish, files with known content, and errors as text.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <random>
#include <string>

#include "farfield/core/error.hpp"
#include "farfield/core/testing.hpp"

namespace farfield::services::transfer::testing {

using core::testing::TemporaryFolder;

/// Writes a file in place, making the folders above it.
inline void write_plain(const std::filesystem::path& path, const std::string& bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream file(path, std::ios::binary);
  file << bytes;
  if (!file.flush()) throw std::runtime_error("cannot write " + path.string());
}

inline std::string read_plain(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path.string());
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline std::string random_text(std::size_t bytes, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string text(bytes, '\0');
  std::size_t i = 0;
  for (; i + 8 <= bytes; i += 8) {
    const std::uint64_t word = random();
    std::memcpy(text.data() + i, &word, 8);
  }
  for (; i < bytes; ++i) text[i] = static_cast<char>(random());
  return text;
}

/// Code and full text of the error that `f` throws; a failure of the test when it throws none.
struct Caught {
  core::ErrorCode code = core::ErrorCode::internal;
  std::string text;
};
inline Caught caught(const std::function<void()>& f) {
  try {
    f();
  } catch (const core::Error& e) {
    return {e.code(), e.what()};
  }
  ADD_FAILURE() << "no error was thrown";
  return {};
}

}  // namespace farfield::services::transfer::testing
