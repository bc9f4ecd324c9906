#pragma once
// Files that appear complete or not at all: written under a temporary name in the same folder, flushed to
// the disk, then renamed.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

namespace farfield::io {

/// A temporary file beside `path` that becomes `path` at commit(). Destroyed uncommitted, it is removed.
/// All errors name the path: `io` (no such folder, no permission), `resource_exhausted` (disk full).
class AtomicFile {
public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// Where to write until commit(), for libraries that open files by name. The file exists, empty.
  const std::filesystem::path& temporary() const { return temporary_; }
  /// Appends.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  /// fsync, rename over `path`, fsync of the folder. Once.
  void commit();

private:
  std::filesystem::path path_, temporary_;
  int descriptor_ = -1;
};

void write_atomic(const std::filesystem::path& path, std::span<const std::byte> bytes);
void write_atomic(const std::filesystem::path& path, std::string_view text);

/// The whole file. Throws `not_found`, `io`, and `resource_exhausted` when it is longer than `limit_bytes`.
std::vector<std::byte> read_file(const std::filesystem::path& path, std::int64_t limit_bytes);

}  // namespace farfield::io
