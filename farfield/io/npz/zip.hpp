#pragma once
// Zip archives as numpy writes them: members stored or deflated, ZIP64 for large ones. Reading trusts
// nothing: every offset and length is checked against the archive, every member against its CRC-32.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "farfield/io/atomic_file.hpp"
#include "farfield/io/bytes.hpp"

namespace farfield::io::npz {

struct ZipEntry {
  std::string name;
  int method = 0;  ///< 0 stored, 8 deflated
  core::Index stored_bytes = 0, bytes = 0, header_at = 0;
  std::uint32_t crc32 = 0;
};

/// The members of an archive. Throws `corrupt_data` where the directory contradicts the archive.
std::vector<ZipEntry> zip_directory(const Bytes& archive);

/// Reads one member from its beginning to its end, in pieces.
class ZipMember {
public:
  /// Throws `unsupported` for encryption or another compression.
  ZipMember(const Bytes& archive, ZipEntry entry);
  ~ZipMember();
  ZipMember(ZipMember&&) noexcept;
  ZipMember& operator=(ZipMember&&) = delete;
  const ZipEntry& entry() const { return entry_; }
  core::Index left() const { return entry_.bytes - done_; }
  /// Fills `out`. Throws `corrupt_data` where the member ends before, is damaged, or (at its end) has
  /// another CRC.
  void read(std::span<std::byte> out);

private:
  struct Inflater;
  void read_stored(std::span<std::byte> out);

  const Bytes* archive_;
  ZipEntry entry_;
  core::Index at_ = 0, taken_ = 0, done_ = 0;
  std::uint32_t crc_ = 0;
  std::unique_ptr<Inflater> inflater_;
};

/// Writes stored members one after the other; sizes need not be known before.
class ZipWriter {
public:
  explicit ZipWriter(AtomicFile& file) : file_(file) {}
  void begin(const std::string& name);
  void write(std::span<const std::byte> bytes);
  void end();
  /// The directory.
  void finish();

private:
  void put(std::span<const std::byte> bytes);

  AtomicFile& file_;
  std::vector<ZipEntry> entries_;
  core::Index at_ = 0;
};

}  // namespace farfield::io::npz
