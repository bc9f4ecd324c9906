#include "farfield/services/transfer/local/journal.hpp"

#include <fcntl.h>

#include <array>
#include <cstring>
#include <vector>

#include "farfield/codec/checksum.hpp"
#include "farfield/core/system_error.hpp"
#include "farfield/services/transfer/local/file_io.hpp"

namespace farfield::services::transfer {
namespace {
// Little-endian, as the machines that Farfield runs on.
// Header: magic[8] chunk_bytes:i64 size:i64 mtime_ns:i64 tag_length:u32 tag[] crc32c:u32 of what precedes it.
// Record: number:i64 crc32c:u32 of the chunk, crc32c:u32 of the 12 bytes before it.
constexpr std::string_view kMagic = "FFCHUNK1";
constexpr std::size_t kFixed = 8 + 3 * 8 + 4, kRecord = 16, kLongestTag = 4096;

using Bytes = std::vector<std::byte>;

template <class T>
void append(Bytes& bytes, const T& value) {
  const auto raw = std::as_bytes(std::span(&value, 1));
  bytes.insert(bytes.end(), raw.begin(), raw.end());
}
template <class T>
T load_at(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
}  // namespace

Journal::Journal(const Root& root, const std::string& path, const Version& source, Index chunk_bytes)
    : where_(root.where(path)), file_(root.open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600)) {
  if (!load(chunk_bytes)) begin(source, chunk_bytes);
}

void Journal::write(std::span<const std::byte> bytes) {
  write_at(file_.get(), end_, bytes, where_);
  end_ += static_cast<Index>(bytes.size());
}

void Journal::begin(const Version& source, Index chunk_bytes) {
  Bytes header;
  const auto magic = std::as_bytes(std::span(kMagic));
  header.insert(header.end(), magic.begin(), magic.end());
  append(header, std::int64_t{chunk_bytes});
  append(header, std::int64_t{source.size_bytes});
  append(header, source.mtime_ns);
  // A tag too long to keep is no tag: the chunks are then compared with the source instead of trusted.
  const std::string tag = source.tag.size() <= kLongestTag ? source.tag : "?";
  append(header, static_cast<std::uint32_t>(tag.size()));
  const auto raw = std::as_bytes(std::span(tag));
  header.insert(header.end(), raw.begin(), raw.end());
  append(header, codec::crc32c(header));
  if (::ftruncate(file_.get(), 0) != 0) throw core::system_error(errno, "cannot write " + where_);
  end_ = 0;
  held_ = {source, {}};
  write(header);
}

bool Journal::load(Index chunk_bytes) {
  std::array<std::byte, kFixed> fixed{};
  if (read_at(file_.get(), 0, fixed, where_) != static_cast<Index>(kFixed)) return false;
  const auto tag_length = load_at<std::uint32_t>(fixed.data() + kFixed - 4);
  if (tag_length > kLongestTag) return false;
  Bytes header(kFixed + tag_length + 4);
  if (read_at(file_.get(), 0, header, where_) != static_cast<Index>(header.size())) return false;
  const auto body = std::span(header).first(header.size() - 4);
  if (std::memcmp(header.data(), kMagic.data(), kMagic.size()) != 0 ||
      load_at<std::uint32_t>(header.data() + body.size()) != codec::crc32c(body) ||
      load_at<std::int64_t>(header.data() + 8) != chunk_bytes)
    return false;
  held_.version = {load_at<std::int64_t>(header.data() + 16), load_at<std::int64_t>(header.data() + 24),
                   std::string(reinterpret_cast<const char*>(header.data()) + kFixed, tag_length)};
  end_ = static_cast<Index>(header.size());
  for (std::array<std::byte, kRecord> record{};
       read_at(file_.get(), end_, record, where_) == static_cast<Index>(kRecord); end_ += static_cast<Index>(kRecord)) {
    const auto number = load_at<std::int64_t>(record.data());
    if (load_at<std::uint32_t>(record.data() + 12) != codec::crc32c(std::span(record).first(12)) || number < 0) break;
    held_.crc32c[number] = load_at<std::uint32_t>(record.data() + 8);
  }
  if (::ftruncate(file_.get(), end_) != 0) throw core::system_error(errno, "cannot write " + where_);
  return true;
}

void Journal::add(std::span<const std::pair<Index, std::uint32_t>> chunks) {
  Bytes records;
  records.reserve(chunks.size() * kRecord);
  for (const auto& [number, crc] : chunks) {
    const std::size_t begin = records.size();
    append(records, std::int64_t{number});
    append(records, crc);
    append(records, codec::crc32c(std::span(records).subspan(begin, 12)));
  }
  write(records);
}

}  // namespace farfield::services::transfer
