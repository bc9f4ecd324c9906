#pragma once
// For fuzzers of readers that open files by name.

#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

namespace farfield::io::fuzz {

/// A file of this process only, in memory where the machine has such a folder.
inline std::filesystem::path scratch(const std::string& name) {
  static const std::filesystem::path folder =
      std::filesystem::is_directory("/dev/shm") ? "/dev/shm" : std::filesystem::temp_directory_path();
  return folder / ("farfield_fuzz_" + name + "_" + std::to_string(::getpid()));
}

inline void write(const std::filesystem::path& path, const std::uint8_t* data, std::size_t size) {
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
}

}  // namespace farfield::io::fuzz
