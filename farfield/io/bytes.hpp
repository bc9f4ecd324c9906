#pragma once
// Bytes that can be read from anywhere in them: a file, or memory.

#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "farfield/core/view.hpp"

namespace farfield::io {

struct Bytes {
  virtual ~Bytes() = default;
  virtual core::Index size() const = 0;
  /// Fills `out` from `offset`; throws `corrupt_data` where the bytes end before, `io`.
  virtual void read(core::Index offset, std::span<std::byte> out) const = 0;
};

std::unique_ptr<Bytes> memory_bytes(std::vector<std::byte> bytes);
/// Throws `not_found`, `io`.
std::unique_ptr<Bytes> file_bytes(const std::filesystem::path& path);
/// A bzip2 file, decompressed into memory. Throws `corrupt_data`, and `resource_exhausted` beyond `limit_bytes`.
std::unique_ptr<Bytes> bzip2_bytes(const std::filesystem::path& path, core::Index limit_bytes);

}  // namespace farfield::io
