#pragma once
// A file of named blocks of bytes, for checkpoints. Layout (little endian):
//   "FFBLOCKS" u32 version = 1, u32 reserved = 0
//   per block: u32 0x4b4c4246 ("FBLK"), u32 length of name, u64 length of data, name, data,
//              u32 CRC-32C of everything of the block before it
//   end: u32 0x444e4546 ("FEND"), u64 number of blocks, u32 CRC-32C of these 12 bytes

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "farfield/io/atomic_file.hpp"

namespace farfield::io {

/// Writes blocks in order; the file appears at commit().
class ContainerWriter {
public:
  explicit ContainerWriter(const std::filesystem::path& path);
  /// Throws `invalid_argument` for an empty name, one over 4096 bytes, or one given before; `io`.
  void put(std::string_view name, std::span<const std::byte> bytes);
  void commit();

private:
  AtomicFile file_;
  std::set<std::string, std::less<>> names_;
};

/// Reads blocks in any order; only the index is held in memory. Every block is checked when it is read.
class ContainerReader {
public:
  /// Throws `not_found`, `io`, `corrupt_data` for a foreign, truncated or damaged file, `unsupported` for
  /// a later version.
  explicit ContainerReader(std::filesystem::path path);
  bool has(std::string_view name) const;
  /// Throws `corrupt_data` when there is no such block (the names there are, are said) or it is damaged.
  std::vector<std::byte> get(std::string_view name) const;
  const std::vector<std::string>& names() const { return names_; }

private:
  struct Block {
    std::int64_t offset = 0, name_bytes = 0, data_bytes = 0;
  };
  std::filesystem::path path_;
  std::vector<std::string> names_;
  std::map<std::string, Block, std::less<>> blocks_;
};

}  // namespace farfield::io
