#include "farfield/services/transfer/local/receiver.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "farfield/core/log.hpp"
#include "farfield/core/system_error.hpp"
#include "farfield/services/transfer/local/file_io.hpp"
#include "farfield/services/transfer/local/reader.hpp"

namespace farfield::services::transfer {

using core::Error;
using core::ErrorCode;

namespace {
constexpr std::size_t kReadBack = 256 << 10;  // stays in the second-level cache between reading and summing

std::string hidden(const std::string& path, std::string_view suffix) {
  // Of the name's hash: the name itself may be as long as names can be.
  const std::string hash = codec::sha256_hex(std::as_bytes(std::span(name_of(path)))).substr(0, 32);
  return join(folder_of(path), fmt::format(".farfield-{}.{}", hash, suffix));
}

timespec to_timespec(std::int64_t ns) {
  std::int64_t seconds = ns / 1'000'000'000, rest = ns % 1'000'000'000;
  if (rest < 0) {
    rest += 1'000'000'000;
    --seconds;
  }
  return {static_cast<time_t>(seconds), static_cast<long>(rest)};
}
}  // namespace

std::string part_path(const std::string& path) { return hidden(path, "part"); }
std::string journal_path(const std::string& path) { return hidden(path, "journal"); }
bool is_part_name(std::string_view name) {
  return name.starts_with(".farfield-") && (name.ends_with(".part") || name.ends_with(".journal"));
}

LocalReceiver::LocalReceiver(const Root& root, FolderSync& folders, const LocalOptions& local, std::string path,
                             const ReceiveOptions& options)
    : root_(root),
      folders_(folders),
      local_(local),
      path_(std::move(path)),
      part_(part_path(path_)),
      where_(root.where(path_)),
      options_(options) {
  if (options_.chunk_bytes <= 0)
    throw Error(ErrorCode::invalid_argument, fmt::format("chunks of {} bytes; must be > 0", options_.chunk_bytes));
  open_part();
  const bool several = options_.growing || options_.version.size_bytes > options_.chunk_bytes;
  if (options_.growing || options_.version.size_bytes > local_.journal_bytes)
    journal_.emplace(root_, journal_path(path_), options_.version, options_.chunk_bytes);
  if (options_.sha256) sha256_.emplace(kReadBack, several);
  if (several) reader_ = std::thread([this] { read_back_loop(); });
  if (journal_) keeper_ = std::thread([this] { journal_loop(); });
}

void LocalReceiver::open_part() {
  for (int attempt = 0; attempt < 100; ++attempt) {
    file_ = root_.open(part_, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    // The kernel drops the lock with the process: a part left by a killed transfer is free.
    if (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) throw core::system_error(errno, "cannot lock " + where_);
      throw Error(ErrorCode::conflict, fmt::format("{} is being written by another transfer", where_));
    }
    // Whoever held it before us may have given it its final name meanwhile.
    struct stat ours{};
    const auto there = root_.stat(part_);
    if (::fstat(file_.get(), &ours) == 0 && there && there->st_ino == ours.st_ino && there->st_dev == ours.st_dev)
      return;
  }
  throw Error(ErrorCode::conflict, fmt::format("{} is being written by other transfers", where_));
}

LocalReceiver::~LocalReceiver() {
  stop_threads();
  if (ended_ || !file_) return;
  if (!journal_) {
    abandon();  // too small to be worth going on with
    return;
  }
  try {
    std::unique_lock lock(mutex_);
    flush_pending(lock);
  } catch (const std::exception& e) {  // the next attempt copies more
    core::log(core::LogLevel::warning, "transfer.journal_not_written", {{"file", where_}, {"error", e.what()}});
  }
}

void LocalReceiver::stop_threads() noexcept {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  if (reader_.joinable()) reader_.join();
  if (keeper_.joinable()) keeper_.join();
}

void LocalReceiver::abandon() noexcept {
  stop_threads();
  try {
    root_.remove(part_);
    if (journal_) root_.remove(journal_path(path_));
  } catch (const std::exception& e) {  // a hidden file is left; the next transfer to this name takes it over
    core::log(core::LogLevel::warning, "transfer.part_not_removed", {{"file", where_}, {"error", e.what()}});
  }
  ended_ = true;
}

const Held& LocalReceiver::held() const {
  static const Held nothing;
  return journal_ ? journal_->held() : nothing;
}

bool LocalReceiver::clone(Reader& from) {
  const auto* local = dynamic_cast<LocalReader*>(&from);
  cloned_ = local != nullptr && ::ioctl(file_.get(), FICLONE, local->descriptor()) == 0;
  return cloned_;
}

/// Says at once, not after hours, that a disk does not have the room.
void LocalReceiver::preallocate() {
  struct stat before{};
  if (options_.growing || ::fstat(file_.get(), &before) != 0 || before.st_size >= options_.version.size_bytes) return;
  if (::fallocate(file_.get(), 0, 0, options_.version.size_bytes) == 0 || errno != ENOSPC) return;
  (void)::ftruncate(file_.get(), before.st_size);
  throw core::system_error(ENOSPC, fmt::format("cannot write {} ({} bytes)", where_, options_.version.size_bytes));
}

void LocalReceiver::put(Index number, std::span<const std::byte> bytes, std::uint32_t crc32c) {
  if (number < 0 || std::ssize(bytes) > options_.chunk_bytes)
    throw Error(ErrorCode::internal, fmt::format("chunk {} of {} bytes", number, bytes.size())).at(where_);
  if (ended_) throw Error(ErrorCode::internal, fmt::format("chunk {} comes after the end", number)).at(where_);
  if (!cloned_) {
    if (reader_.joinable()) std::call_once(preallocated_, [this] { preallocate(); });
    write_at(file_.get(), number * options_.chunk_bytes, bytes, where_);
  }
  const Piece piece{crc32c, std::ssize(bytes)};
  const std::lock_guard lock(mutex_);
  if (error_) std::rethrow_exception(error_);  // of the threads: a full disk
  pieces_[number] = piece;
  rewind(number);
  if (journal_) {
    pending_.emplace_back(number, crc32c);
    pending_bytes_ += piece.bytes;
  }
  changed_.notify_all();
}

void LocalReceiver::keep(Index number, Index bytes) {
  const auto chunk = held().crc32c.find(number);
  if (chunk == held().crc32c.end())
    throw Error(ErrorCode::internal, fmt::format("chunk {} is not held", number)).at(where_);
  const std::lock_guard lock(mutex_);
  pieces_[number] = {chunk->second, bytes};
  rewind(number);
  changed_.notify_all();
}

/// What was read of this chunk and those after it, or is being read now, counts no more.
void LocalReceiver::rewind(Index to) {
  verified_ = false;
  if (to > position_ || (to == position_ && !reading_)) return;
  ++rewinds_;
  position_ = sha256_ ? 0 : to;
  sha256_stale_ = true;
  bad_.erase(bad_.lower_bound(position_), bad_.end());
}

/// Reads the chunks from position_ on: all that are there, or as far as `up_to`, waiting for none.
void LocalReceiver::check_pieces(std::unique_lock<std::mutex>& lock, std::optional<Index> up_to) {
  thread_local std::vector<std::byte> buffer(kReadBack);
  while (!ending_ && (!up_to || position_ < *up_to)) {
    const auto piece = pieces_.find(position_);
    if (piece == pieces_.end()) return;
    const auto [expected, bytes] = piece->second;
    const Index number = position_;
    const std::uint64_t rewinds = rewinds_;
    if (sha256_ && std::exchange(sha256_stale_, false)) sha256_->restart();
    reading_ = true;
    lock.unlock();
    std::uint32_t sum = 0;
    Index done = 0;
    while (done < bytes) {
      const auto want = static_cast<std::size_t>(std::min<Index>(bytes - done, kReadBack));
      const auto into = (sha256_ ? sha256_->acquire() : std::span(buffer)).first(want);
      const Index got = read_at(file_.get(), number * options_.chunk_bytes + done, into, where_);
      sum = codec::crc32c(into.first(static_cast<std::size_t>(got)), sum);
      if (sha256_) sha256_->submit(static_cast<std::size_t>(got));
      if (got == 0) break;
      done += got;
    }
    lock.lock();
    reading_ = false;
    if (rewinds != rewinds_) continue;  // this chunk, or one before it, was written again
    if (done != bytes || sum != expected) bad_.insert(number);
    position_ = number + 1;
    changed_.notify_all();
  }
}

void LocalReceiver::read_back_loop() {
  std::unique_lock lock(mutex_);
  try {
    while (!ending_) {
      check_pieces(lock, std::nullopt);
      if (!ending_) changed_.wait(lock, [&] { return ending_ || pieces_.contains(position_); });
    }
  } catch (...) {
    if (!lock.owns_lock()) lock.lock();
    error_ = std::current_exception();
    changed_.notify_all();
  }
}

void LocalReceiver::journal_loop() {
  std::unique_lock lock(mutex_);
  try {
    while (!ending_) {
      changed_.wait(lock, [&] { return ending_ || pending_bytes_ >= local_.journal_bytes; });
      if (!ending_) flush_pending(lock);
    }
  } catch (...) {
    if (!lock.owns_lock()) lock.lock();
    error_ = std::current_exception();
    changed_.notify_all();
  }
}

void LocalReceiver::flush_pending(std::unique_lock<std::mutex>& lock) {
  const auto chunks = std::exchange(pending_, {});
  pending_bytes_ = 0;
  if (chunks.empty()) return;
  lock.unlock();
  if (local_.durable && ::fdatasync(file_.get()) != 0) throw core::system_error(errno, "cannot write " + where_);
  journal_->add(chunks);
  lock.lock();
}

std::vector<Index> LocalReceiver::verify(Index size_bytes) {
  const Index count = (size_bytes + options_.chunk_bytes - 1) / options_.chunk_bytes;
  std::unique_lock lock(mutex_);
  if (error_) std::rethrow_exception(error_);
  pieces_.erase(pieces_.lower_bound(count), pieces_.end());
  rewind(count);  // the file may have become shorter
  for (Index number = 0; number < count; ++number) {
    const Index bytes = std::min(options_.chunk_bytes, size_bytes - number * options_.chunk_bytes);
    const auto piece = pieces_.find(number);
    if (piece == pieces_.end() || piece->second.bytes != bytes)
      throw Error(ErrorCode::internal, fmt::format("chunk {} of {} was not written", number, count)).at(where_);
  }
  struct stat status{};
  if (::fstat(file_.get(), &status) != 0 || (status.st_size != size_bytes && ::ftruncate(file_.get(), size_bytes) != 0))
    throw core::system_error(errno, "cannot write " + where_);
  if (reader_.joinable()) changed_.wait(lock, [&] { return error_ || position_ >= count; });
  else check_pieces(lock, count);
  if (error_) std::rethrow_exception(error_);
  verified_ = bad_.empty();
  if (!bad_.empty()) cloned_ = false;  // what put() brings next must be written
  return {bad_.begin(), bad_.end()};
}

Digests LocalReceiver::commit(const Version& source, unsigned mode) {
  stop_threads();
  if (error_) std::rethrow_exception(error_);
  if (!verified_ || ended_) throw Error(ErrorCode::internal, "a file is committed that was not verified").at(where_);
  Digests digests;
  for (const auto& [number, piece] : pieces_) {
    digests.crc32c = codec::crc32c_combine(digests.crc32c, piece.crc32c, static_cast<std::uint64_t>(piece.bytes));
    digests.size_bytes += piece.bytes;
  }
  if (sha256_) digests.sha256 = sha256_->hex();
  const std::array<timespec, 2> times{timespec{0, UTIME_OMIT}, to_timespec(source.mtime_ns)};
  if (::fchmod(file_.get(), mode & 0777U) != 0 || ::futimens(file_.get(), times.data()) != 0 ||
      (local_.durable && ::fsync(file_.get()) != 0))
    throw core::system_error(errno, "cannot write " + where_);
  root_.rename(part_, path_);
  ended_ = true;
  root_.remove(journal_path(path_));  // also one that a larger version of the file left
  if (local_.durable) folders_.sync(std::string(folder_of(path_)));
  return digests;
}

}  // namespace farfield::services::transfer
