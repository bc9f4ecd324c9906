#include "farfield/stream/spool/spool.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "farfield/codec/checksum.hpp"
#include "farfield/codec/endian.hpp"
#include "farfield/core/log.hpp"
#include "farfield/core/system_error.hpp"

namespace farfield::stream {

namespace fs = std::filesystem;
using core::Error;
using core::ErrorCode;

namespace {

constexpr std::uint32_t kMagic = 0x4C505346;  // "FSPL"
constexpr Index kHeader = 24, kMostParts = 1024, kMostBytes = Index{4} << 30;

/// magic, parts, bytes of the payload (8), its CRC, the CRC of what stands before.
struct Header {
  std::uint32_t parts = 0;
  std::uint64_t bytes = 0;
  std::uint32_t crc = 0;

  std::array<std::byte, kHeader> packed() const {
    std::array<std::byte, kHeader> out{};
    const auto put = [&](std::size_t at, auto value) { std::memcpy(out.data() + at, &value, sizeof value); };
    put(0, kMagic);
    put(4, parts);
    put(8, bytes);
    put(16, crc);
    put(20, codec::crc32c(std::span(out).first(20)));
    return out;
  }
  static std::optional<Header> parse(std::span<const std::byte, kHeader> in) {
    const auto get = [&](std::size_t at, auto& value) { std::memcpy(&value, in.data() + at, sizeof value); };
    Header h;
    std::uint32_t magic = 0, crc = 0;
    get(0, magic);
    get(4, h.parts);
    get(8, h.bytes);
    get(16, h.crc);
    get(20, crc);
    if (magic != kMagic || crc != codec::crc32c(in.first(20)) || h.parts > kMostParts ||
        h.bytes > static_cast<std::uint64_t>(kMostBytes) || h.bytes < h.parts * sizeof(std::uint64_t))
      return std::nullopt;
    return h;
  }
};
static_assert(std::endian::native == std::endian::little, "records are little-endian");

bool read_exactly(int descriptor, std::span<std::byte> out, Index offset) {
  std::size_t done = 0;
  while (done < out.size()) {
    const auto n = ::pread(descriptor, out.data() + done, out.size() - done, offset + static_cast<Index>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    done += static_cast<std::size_t>(n);
  }
  return true;
}

void write_exactly(int descriptor, std::span<const std::byte> in, Index offset, const fs::path& path) {
  std::size_t done = 0;
  while (done < in.size()) {
    const auto n = ::pwrite(descriptor, in.data() + done, in.size() - done, offset + static_cast<Index>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw core::system_error(n < 0 ? errno : EIO, "cannot write " + path.string());
    done += static_cast<std::size_t>(n);
  }
}

}  // namespace

Spool::Spool(fs::path folder, const SpoolOptions& options) : folder_(std::move(folder)), options_(options) {
  if (options_.most_bytes < 1 || options_.segment_bytes < 1)
    throw Error(ErrorCode::invalid_argument, fmt::format("spool of {} bytes in segments of {} must have at least 1",
                                                         options_.most_bytes, options_.segment_bytes));
  // Some room is given back while the rest is still needed.
  options_.segment_bytes = std::min(options_.segment_bytes, std::max<Index>(1, options_.most_bytes / 4));
  std::error_code failed;
  fs::create_directories(folder_, failed);
  if (failed) throw core::system_error(failed.value(), "cannot make the folder " + folder_.string());
  const fs::path lock = folder_ / "lock";
  lock_ = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock_ < 0) throw core::system_error(errno, "cannot open " + lock.string());
  try {
    if (::flock(lock_, LOCK_EX | LOCK_NB) != 0)
      throw Error(ErrorCode::conflict, fmt::format("the spool {} is in use by another process", folder_.string()));
    std::vector<std::int64_t> numbers;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      const std::string name = entry.path().filename().string();
      std::int64_t number = 0;
      const auto* end = name.data() + name.size();
      if (const auto [at, wrong] = std::from_chars(name.data(), end, number);
          wrong == std::errc() && std::string_view(at, end) == ".spool" && number >= 0)
        numbers.push_back(number);
    }
    std::sort(numbers.begin(), numbers.end());
    released_ = read_cursor();
    for (const auto number : numbers) open_segment(number, false);
    if (segments_.empty() || segments_.back().number < released_.segment) open_segment(released_.segment, true);
    reading_ = std::max(released_, Place{segments_.front().number, 0});
    for (auto& segment : segments_) {
      segment.bytes = whole_records(segment);
      if (segment.number == reading_.segment) reading_.offset = std::min(reading_.offset, segment.bytes);
      // An unfinished record of a process that died; what is appended follows the last whole one.
      if (::ftruncate(segment.descriptor, segment.bytes) != 0)
        throw core::system_error(errno, "cannot write " + path_of(segment.number).string());
    }
    remove_released();
  } catch (...) {
    for (const auto& segment : segments_) ::close(segment.descriptor);
    ::close(lock_);
    throw;
  }
}

Spool::~Spool() {
  for (const auto& segment : segments_) ::close(segment.descriptor);
  ::close(lock_);
}

fs::path Spool::path_of(std::int64_t segment) const { return folder_ / fmt::format("{:08}.spool", segment); }

void Spool::open_segment(std::int64_t number, bool fresh) {
  const auto path = path_of(number);
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | (fresh ? O_TRUNC : 0), 0600);
  if (descriptor < 0) throw core::system_error(errno, "cannot open " + path.string());
  segments_.push_back({number, 0, descriptor});
}

/// Up to where the records of a segment follow one another; counts those that are to be read.
Index Spool::whole_records(Segment& segment) {
  struct stat status{};
  if (::fstat(segment.descriptor, &status) != 0)
    throw core::system_error(errno, "cannot read " + path_of(segment.number).string());
  Index at = 0;
  std::array<std::byte, kHeader> bytes{};
  while (at + kHeader <= status.st_size && read_exactly(segment.descriptor, bytes, at)) {
    const auto header = Header::parse(bytes);
    if (!header || static_cast<Index>(header->bytes) > status.st_size - at - kHeader) break;
    if (Place{segment.number, at} >= reading_) ++unread_;
    at += kHeader + static_cast<Index>(header->bytes);
  }
  return at;
}

Index Spool::bytes() const {
  Index sum = 0;
  for (const auto& segment : segments_) sum += segment.bytes;
  return sum;
}

void Spool::remove_front() {
  ::close(segments_.front().descriptor);
  std::error_code ignored;
  fs::remove(path_of(segments_.front().number), ignored);
  segments_.pop_front();
}

bool Spool::append(const Envelope& message) {
  std::vector<std::uint64_t> lengths;
  for (const auto& part : message.parts) lengths.push_back(part.size());
  const auto table = std::as_bytes(std::span(lengths));
  const Index payload = message.bytes() + std::ssize(table);
  if (std::ssize(message.parts) > kMostParts || payload > kMostBytes)
    throw Error(ErrorCode::invalid_argument, fmt::format("message of {} parts and {} bytes is too large for a spool",
                                                         message.parts.size(), payload));
  const Index size = kHeader + payload;
  const auto no_room = [&] { return bytes() > 0 && bytes() + size > options_.most_bytes; };
  while (no_room()) {
    // Everything was read: the last segment may go, too, once another one follows it.
    if (segments_.size() == 1 && unread_ == 0) open_segment(segments_.back().number + 1, true);
    if (segments_.size() < 2 || (unread_ > 0 && segments_.front().number >= reading_.segment)) return false;
    ++forgotten_;
    core::log(core::LogLevel::warning, "spool_forgets",
              {{"folder", folder_.string()}, {"segment", std::to_string(segments_.front().number)}});
    remove_front();
    const Place front{segments_.front().number, 0};
    while (!read_.empty() && read_.front() < front) read_.pop_front();
    reading_ = std::max(reading_, front);
    released_ = std::max(released_, front);
    write_cursor();
  }
  if (segments_.back().bytes >= options_.segment_bytes) open_segment(segments_.back().number + 1, true);

  auto& segment = segments_.back();
  Header header{static_cast<std::uint32_t>(message.parts.size()), static_cast<std::uint64_t>(payload),
                codec::crc32c(table)};
  for (const auto& part : message.parts) header.crc = codec::crc32c(part, header.crc);
  const auto path = path_of(segment.number);
  try {
    Index at = segment.bytes;
    const auto put = [&](std::span<const std::byte> bytes) {
      write_exactly(segment.descriptor, bytes, at, path);
      at += std::ssize(bytes);
    };
    put(header.packed());
    put(table);
    for (const auto& part : message.parts) put(part);
  } catch (...) {
    (void)!::ftruncate(segment.descriptor, segment.bytes);  // opening would cut it off, too
    throw;
  }
  segment.bytes += size;
  ++unread_;
  return true;
}

bool Spool::next(Envelope& message) {
  if (unread_ == 0) return false;
  auto segment =
      std::find_if(segments_.begin(), segments_.end(), [&](const Segment& s) { return s.number >= reading_.segment; });
  while (segment != segments_.end() && (segment->number > reading_.segment || reading_.offset >= segment->bytes)) {
    if (segment->number == reading_.segment) ++segment;
    if (segment != segments_.end()) reading_ = {segment->number, 0};
  }
  if (segment == segments_.end()) throw Error(ErrorCode::internal, "the spool lost count").at(folder_.string());
  const auto where = [&] { return fmt::format("{} of {}", reading_.offset, path_of(segment->number).string()); };
  std::array<std::byte, kHeader> bytes{};
  const auto header = read_exactly(segment->descriptor, bytes, reading_.offset) ? Header::parse(bytes) : std::nullopt;
  if (!header || static_cast<Index>(header->bytes) > segment->bytes - reading_.offset - kHeader)
    throw Error(ErrorCode::io, "a record of the spool changed after it was written").at(where());
  const auto payload = std::make_shared<std::vector<std::byte>>(header->bytes);
  const bool whole =
      read_exactly(segment->descriptor, *payload, reading_.offset + kHeader) && codec::crc32c(*payload) == header->crc;
  read_.push_back(reading_);
  reading_.offset += kHeader + static_cast<Index>(header->bytes);
  --unread_;
  std::vector<std::uint64_t> lengths(header->parts);
  std::memcpy(lengths.data(), payload->data(), lengths.size() * sizeof(std::uint64_t));
  std::size_t at = lengths.size() * sizeof(std::uint64_t);
  message.parts.clear();
  for (const auto length : lengths) {
    if (!whole || length > payload->size() - at) break;
    message.parts.push_back(std::span(*payload).subspan(at, length));
    at += length;
  }
  if (!whole || message.parts.size() != lengths.size())
    throw Error(ErrorCode::corrupt_data, "a record of the spool is damaged").at(where());
  message.owner = payload;
  return true;
}

void Spool::release(std::size_t but) {
  while (read_.size() > but) read_.pop_front();
  released_ = read_.empty() ? reading_ : read_.front();
  write_cursor();  // first: a segment that is gone must not be asked for
  remove_released();
}

void Spool::remove_released() {
  while (segments_.size() > 1 && segments_.front().number < released_.segment) remove_front();
}

void Spool::write_cursor() const {
  const fs::path path = folder_ / "released", temporary = folder_ / "released.part";
  const std::string text = fmt::format("{} {}\n", released_.segment, released_.offset);
  const int descriptor = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (descriptor < 0) throw core::system_error(errno, "cannot write " + temporary.string());
  try {
    write_exactly(descriptor, std::as_bytes(std::span(text)), 0, temporary);
    if (::fsync(descriptor) != 0) throw core::system_error(errno, "cannot write " + temporary.string());
  } catch (...) {
    ::close(descriptor);
    throw;
  }
  ::close(descriptor);
  std::error_code failed;
  fs::rename(temporary, path, failed);
  if (failed) throw core::system_error(failed.value(), "cannot write " + path.string());
}

Spool::Place Spool::read_cursor() const {
  const fs::path path = folder_ / "released";
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    if (errno == ENOENT) return {};
    throw core::system_error(errno, "cannot read " + path.string());
  }
  std::array<char, 64> text{};
  const auto n = ::read(descriptor, text.data(), text.size());
  ::close(descriptor);
  Place place;
  const char* end = text.data() + std::max<ssize_t>(0, n);
  const auto [gap, wrong] = std::from_chars(text.data(), end, place.segment);
  if (wrong != std::errc() || gap == end || *gap != ' ' ||
      std::from_chars(gap + 1, end, place.offset).ec != std::errc() || place.segment < 0 || place.offset < 0)
    throw Error(ErrorCode::corrupt_data, "is not the place of a message").at(path.string());
  return place;
}

SpoolFeed::SpoolFeed(Feed& source, fs::path folder, const SpoolOptions& options)
    : source_(source),
      spool_(std::move(folder), options),
      thread_([this](std::stop_token stop) { run(std::move(stop)); }) {}

SpoolFeed::~SpoolFeed() = default;

void SpoolFeed::run(std::stop_token stop) {
  using std::chrono::milliseconds;
  std::exception_ptr error;
  try {
    Envelope message;
    while (!stop.stop_requested()) {
      FeedOutcome outcome = FeedOutcome::timeout;
      try {
        outcome = source_.receive(message, milliseconds(1000), stop);
      } catch (const Error& e) {
        if (e.code() != ErrorCode::corrupt_data) throw;
        core::log(core::LogLevel::warning, "message_unreadable", {{"from", source_.name()}, {"reason", e.what()}});
      }
      if (outcome == FeedOutcome::ended) break;
      if (outcome != FeedOutcome::message) continue;
      std::unique_lock lock(mutex_);
      if (!changed_.wait(lock, stop, [&] { return spool_.append(message); })) break;
      changed_.notify_all();
    }
  } catch (...) {
    error = std::current_exception();
  }
  const std::lock_guard lock(mutex_);
  ended_ = true;
  error_ = error;
  changed_.notify_all();
}

FeedOutcome SpoolFeed::receive(Envelope& message, std::chrono::milliseconds limit, std::stop_token stop) {
  std::unique_lock lock(mutex_);
  (void)changed_.wait_for(lock, stop, limit, [&] { return spool_.unread() > 0 || ended_; });
  if (stop.stop_requested()) return FeedOutcome::stopped;
  if (spool_.unread() > 0) {
    // Segments that were read may make room for one who waits, whatever becomes of this message.
    changed_.notify_all();
    (void)spool_.next(message);
    return FeedOutcome::message;
  }
  if (error_) std::rethrow_exception(error_);
  return ended_ ? FeedOutcome::ended : FeedOutcome::timeout;
}

void SpoolFeed::release(std::size_t but) {
  const std::lock_guard lock(mutex_);
  spool_.release(but);
  changed_.notify_all();
}

Index SpoolFeed::unread() const {
  const std::lock_guard lock(mutex_);
  return spool_.unread();
}

}  // namespace farfield::stream
