#include "farfield/io/npz/zip.hpp"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "farfield/codec/deflate.hpp"
#include "farfield/core/error.hpp"

namespace farfield::io::npz {

using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
constexpr std::uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50, kEnd64 = 0x06064b50,
                        kLocator64 = 0x07064b50, kDescriptor = 0x08074b50;
constexpr std::uint64_t kIn64 = 0xffffffff;
constexpr int kStored = 0, kDeflated = 8;

// Little-endian fields of a record; out of range is damage.
class Record {
public:
  Record(std::span<const std::byte> bytes) : bytes_(bytes) {}
  std::uint64_t number(std::size_t at, std::size_t n) const {
    if (at > bytes_.size() || n > bytes_.size() - at) throw Error(ErrorCode::corrupt_data, "a zip record ends early");
    std::uint64_t value = 0;
    for (std::size_t i = n; i-- > 0;) value = value << 8 | static_cast<std::uint64_t>(bytes_[at + i]);
    return value;
  }
  std::uint32_t u32(std::size_t at) const { return static_cast<std::uint32_t>(number(at, 4)); }
  std::size_t u16(std::size_t at) const { return number(at, 2); }
  std::uint64_t u64(std::size_t at) const { return number(at, 8); }
  std::span<const std::byte> part(std::size_t at, std::size_t n) const {
    if (at > bytes_.size() || n > bytes_.size() - at) throw Error(ErrorCode::corrupt_data, "a zip record ends early");
    return bytes_.subspan(at, n);
  }

private:
  std::span<const std::byte> bytes_;
};

std::vector<std::byte> take(const Bytes& archive, Index at, Index n) {
  if (at < 0 || n < 0 || at > archive.size() || n > archive.size() - at)
    throw Error(ErrorCode::corrupt_data,
                fmt::format("the zip directory points at bytes {} to {} of {}", at, at + n, archive.size()));
  std::vector<std::byte> bytes(static_cast<std::size_t>(n));
  archive.read(at, bytes);
  return bytes;
}

Index checked(std::uint64_t value) {
  if (value > (std::uint64_t{1} << 60))
    throw Error(ErrorCode::corrupt_data, fmt::format("a zip length of {} bytes is not possible", value));
  return static_cast<Index>(value);
}
}  // namespace

std::vector<ZipEntry> zip_directory(const Bytes& archive) {
  // The end record is the last thing in the archive but for a comment of at most 65535 bytes.
  const Index tail_bytes = std::min<Index>(archive.size(), 22 + 65535);
  const Index tail_at = archive.size() - tail_bytes;
  const auto tail = take(archive, tail_at, tail_bytes);
  Index end = -1;
  for (Index i = tail_bytes - 22; i >= 0 && end < 0; --i)
    if (Record(tail).u32(static_cast<std::size_t>(i)) == kEnd) end = i;
  if (end < 0) throw Error(ErrorCode::corrupt_data, "not a zip archive, or cut off: it has no directory");
  const Record record(std::span<const std::byte>(tail).subspan(static_cast<std::size_t>(end)));
  std::uint64_t count = record.u16(10), bytes = record.u32(12), at = record.u32(16);
  if (end >= 20 && Record(tail).u32(static_cast<std::size_t>(end) - 20) == kLocator64) {
    const Index where = checked(Record(tail).u64(static_cast<std::size_t>(end) - 20 + 8));
    const auto long_end = take(archive, where, 56);
    const Record r(long_end);
    if (r.u32(0) != kEnd64) throw Error(ErrorCode::corrupt_data, "the ZIP64 end record is missing");
    count = r.u64(32);
    bytes = r.u64(40);
    at = r.u64(48);
  }
  constexpr std::uint64_t kMostDirectory = std::uint64_t{64} << 20;
  if (bytes > kMostDirectory)
    throw Error(ErrorCode::corrupt_data, fmt::format("a zip directory of {} bytes is not possible", bytes));
  const auto directory = take(archive, checked(at), checked(bytes));
  const Record d(directory);

  std::vector<ZipEntry> entries;
  std::size_t p = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    if (d.u32(p) != kCentral) throw Error(ErrorCode::corrupt_data, "the zip directory is damaged");
    const std::size_t name_bytes = d.u16(p + 28), extra_bytes = d.u16(p + 30), comment_bytes = d.u16(p + 32);
    ZipEntry e;
    const auto name = d.part(p + 46, name_bytes);
    e.name.assign(reinterpret_cast<const char*>(name.data()), name.size());
    e.method = (d.u16(p + 8) & 1U) != 0 ? -1 : static_cast<int>(d.u16(p + 10));  // bit 0: encrypted
    e.crc32 = d.u32(p + 16);
    std::uint64_t stored = d.u32(p + 20), full = d.u32(p + 24), header = d.u32(p + 42);
    // ZIP64: the fields that are all ones stand in extra field 1, in this order.
    const Record extra(d.part(p + 46 + name_bytes, extra_bytes));
    for (std::size_t q = 0; q + 4 <= extra_bytes;) {
      const std::size_t id = extra.u16(q), n = extra.u16(q + 2);
      if (id == 1) {
        const Record long_fields(extra.part(q + 4, n));
        std::size_t f = 0;
        for (std::uint64_t* field : {&full, &stored, &header})
          if (*field == kIn64) {
            *field = long_fields.u64(f);
            f += 8;
          }
      }
      q += 4 + n;
    }
    e.stored_bytes = checked(stored);
    e.bytes = checked(full);
    e.header_at = checked(header);
    entries.push_back(std::move(e));
    p += 46 + name_bytes + extra_bytes + comment_bytes;
  }
  return entries;
}

struct ZipMember::Inflater {
  Inflater() {
    if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) throw std::bad_alloc();
  }
  ~Inflater() { inflateEnd(&stream); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  z_stream stream{};
  std::vector<std::byte> in = std::vector<std::byte>(1 << 16);
};

ZipMember::ZipMember(const Bytes& archive, ZipEntry entry) : archive_(&archive), entry_(std::move(entry)) {
  if (entry_.method != kStored && entry_.method != kDeflated)
    throw Error(ErrorCode::unsupported,
                fmt::format("{} is encrypted or compressed in a way other than deflate", entry_.name));
  const auto head = take(archive, entry_.header_at, 30);
  const Record local(head);
  if (local.u32(0) != kLocal)
    throw Error(ErrorCode::corrupt_data, fmt::format("the zip directory points at no member for {}", entry_.name));
  at_ = entry_.header_at + 30 + static_cast<Index>(local.u16(26) + local.u16(28));
  if (at_ > archive.size() || entry_.stored_bytes > archive.size() - at_)
    throw Error(ErrorCode::corrupt_data, fmt::format("{} is cut off: {} bytes from {} on, the file ends at {}",
                                                     entry_.name, entry_.stored_bytes, at_, archive.size()));
  if (entry_.method == kStored && entry_.stored_bytes != entry_.bytes)
    throw Error(ErrorCode::corrupt_data,
                fmt::format("{} is stored in {} bytes but has {}", entry_.name, entry_.stored_bytes, entry_.bytes));
  // Deflate expands at most 1032-fold.
  if (entry_.method == kDeflated && entry_.bytes / 1040 > entry_.stored_bytes)
    throw Error(ErrorCode::corrupt_data,
                fmt::format("{} cannot have {} bytes in {}", entry_.name, entry_.bytes, entry_.stored_bytes));
  if (entry_.method == kDeflated) inflater_ = std::make_unique<Inflater>();
}

ZipMember::~ZipMember() = default;
ZipMember::ZipMember(ZipMember&&) noexcept = default;

void ZipMember::read_stored(std::span<std::byte> out) {
  archive_->read(at_ + taken_, out);
  taken_ += static_cast<Index>(out.size());
}

void ZipMember::read(std::span<std::byte> out) {
  if (static_cast<Index>(out.size()) > left())
    throw Error(ErrorCode::corrupt_data, fmt::format("{} ends early: it has {} bytes", entry_.name, entry_.bytes));
  if (!inflater_) {
    read_stored(out);
  } else {
    z_stream& z = inflater_->stream;
    for (std::size_t done = 0; done < out.size();) {
      if (z.avail_in == 0 && taken_ < entry_.stored_bytes) {
        const auto n = std::min<Index>(static_cast<Index>(inflater_->in.size()), entry_.stored_bytes - taken_);
        read_stored(std::span(inflater_->in).first(static_cast<std::size_t>(n)));
        z.next_in = reinterpret_cast<Bytef*>(inflater_->in.data());
        z.avail_in = static_cast<uInt>(n);
      }
      const std::size_t piece = std::min<std::size_t>(out.size() - done, 1U << 30);
      z.next_out = reinterpret_cast<Bytef*>(out.data() + done);
      z.avail_out = static_cast<uInt>(piece);
      const int status = inflate(&z, Z_NO_FLUSH);
      const std::size_t got = piece - z.avail_out;
      done += got;
      if (done < out.size() && (status != Z_OK || (got == 0 && z.avail_in == 0 && taken_ == entry_.stored_bytes)))
        throw Error(ErrorCode::corrupt_data, fmt::format("the compressed data of {} are damaged", entry_.name));
    }
  }
  crc_ = codec::crc32(out, crc_);
  done_ += static_cast<Index>(out.size());
  if (left() == 0 && crc_ != entry_.crc32)
    throw Error(ErrorCode::corrupt_data, fmt::format("{} is damaged: its CRC-32 is another", entry_.name));
}

namespace {
void le(std::vector<std::byte>& out, std::uint64_t value, int n) {
  for (int i = 0; i < n; ++i) out.push_back(static_cast<std::byte>(value >> (8 * i) & 0xff));
}
void text(std::vector<std::byte>& out, const std::string& s) {
  const auto bytes = std::as_bytes(std::span(s));
  out.insert(out.end(), bytes.begin(), bytes.end());
}
std::uint32_t short_or_64(Index value) {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(static_cast<std::uint64_t>(value), kIn64));
}
constexpr std::uint16_t kSizesFollow = 1U << 3, kUtf8 = 1U << 11, kVersion = 45;
}  // namespace

void ZipWriter::put(std::span<const std::byte> bytes) {
  file_.write(bytes);
  at_ += static_cast<Index>(bytes.size());
}

void ZipWriter::begin(const std::string& name) {
  entries_.push_back({name, kStored, 0, 0, at_, 0});
  std::vector<std::byte> head;
  le(head, kLocal, 4);
  le(head, kVersion, 2);
  le(head, kSizesFollow | kUtf8, 2);
  le(head, kStored, 2);
  le(head, 0, 2);       // time
  le(head, 0x21, 2);    // 1980-01-01: the same content gives the same bytes
  le(head, 0, 4);       // CRC and sizes follow the data
  le(head, kIn64, 4);
  le(head, kIn64, 4);
  le(head, name.size(), 2);
  le(head, 20, 2);
  text(head, name);
  le(head, 1, 2);  // ZIP64 sizes: says that those behind the data have 8 bytes
  le(head, 16, 2);
  le(head, 0, 8);
  le(head, 0, 8);
  put(head);
}

void ZipWriter::write(std::span<const std::byte> bytes) {
  auto& e = entries_.back();
  e.crc32 = codec::crc32(bytes, e.crc32);
  e.bytes += static_cast<Index>(bytes.size());
  put(bytes);
}

void ZipWriter::end() {
  auto& e = entries_.back();
  e.stored_bytes = e.bytes;
  std::vector<std::byte> tail;
  le(tail, kDescriptor, 4);
  le(tail, e.crc32, 4);
  le(tail, static_cast<std::uint64_t>(e.bytes), 8);
  le(tail, static_cast<std::uint64_t>(e.bytes), 8);
  put(tail);
}

void ZipWriter::finish() {
  const Index directory_at = at_;
  for (const auto& e : entries_) {
    std::vector<std::byte> r;
    le(r, kCentral, 4);
    le(r, kVersion, 2);
    le(r, kVersion, 2);
    le(r, kSizesFollow | kUtf8, 2);
    le(r, kStored, 2);
    le(r, 0, 2);
    le(r, 0x21, 2);
    le(r, e.crc32, 4);
    le(r, kIn64, 4);
    le(r, kIn64, 4);
    le(r, e.name.size(), 2);
    le(r, 28, 2);
    le(r, 0, 2);
    le(r, 0, 2);
    le(r, 0, 2);
    le(r, 0, 4);
    le(r, kIn64, 4);
    text(r, e.name);
    le(r, 1, 2);
    le(r, 24, 2);
    le(r, static_cast<std::uint64_t>(e.bytes), 8);
    le(r, static_cast<std::uint64_t>(e.bytes), 8);
    le(r, static_cast<std::uint64_t>(e.header_at), 8);
    put(r);
  }
  const Index end_at = at_, directory_bytes = end_at - directory_at;
  std::vector<std::byte> r;
  le(r, kEnd64, 4);
  le(r, 44, 8);
  le(r, kVersion, 2);
  le(r, kVersion, 2);
  le(r, 0, 4);
  le(r, 0, 4);
  le(r, entries_.size(), 8);
  le(r, entries_.size(), 8);
  le(r, static_cast<std::uint64_t>(directory_bytes), 8);
  le(r, static_cast<std::uint64_t>(directory_at), 8);
  le(r, kLocator64, 4);
  le(r, 0, 4);
  le(r, static_cast<std::uint64_t>(end_at), 8);
  le(r, 1, 4);
  le(r, kEnd, 4);
  le(r, 0, 4);
  le(r, std::min<std::size_t>(entries_.size(), 0xffff), 2);
  le(r, std::min<std::size_t>(entries_.size(), 0xffff), 2);
  le(r, short_or_64(directory_bytes), 4);
  le(r, short_or_64(directory_at), 4);
  le(r, 0, 2);
  put(r);
}

}  // namespace farfield::io::npz
