#include "farfield/io/atomic_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "farfield/io/system_error.hpp"

namespace farfield::io {

using core::Error;
using core::ErrorCode;

namespace {
std::filesystem::path folder_of(const std::filesystem::path& path) {
  const auto parent = path.parent_path();
  return parent.empty() ? std::filesystem::path(".") : parent;
}

void sync_folder(const std::filesystem::path& folder) {
  const int d = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (d < 0) return;  // readable folders only; the rename itself has succeeded
  ::fsync(d);
  ::close(d);
}
}  // namespace

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)) {
  if (path_.filename().empty())
    throw Error(ErrorCode::invalid_argument, fmt::format("\"{}\" names no file", path_.string()));
  std::error_code ignored;
  if (std::filesystem::is_directory(path_, ignored))
    throw Error(ErrorCode::io, fmt::format("cannot write {}: it is a folder", path_.string()));
  std::string name = (folder_of(path_) / fmt::format(".{}.XXXXXX.tmp", path_.filename().string())).string();
  descriptor_ = ::mkostemps(name.data(), 4, O_CLOEXEC);
  if (descriptor_ < 0) {
    const int number = errno;
    Error error = system_error(number, "cannot write " + path_.string());
    // A missing folder is a refusal to write, not an input that was not found.
    if (number == ENOENT)
      error = Error(ErrorCode::io,
                    fmt::format("cannot write {}: there is no folder {}", path_.string(), folder_of(path_).string()));
    throw error;
  }
  temporary_ = name;
  // mkostemps makes files private; results are meant to be shared as the umask allows.
  const mode_t mask = ::umask(0);
  ::umask(mask);
  ::fchmod(descriptor_, 0666 & ~mask);
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})),
      descriptor_(std::exchange(other.descriptor_, -1)) {}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  if (descriptor_ < 0) throw Error(ErrorCode::internal, "file written after its commit").at(path_.string());
  while (!bytes.empty()) {
    const ssize_t n = ::write(descriptor_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw system_error(errno, "cannot write " + path_.string());
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
}

void AtomicFile::commit() {
  if (descriptor_ < 0) throw Error(ErrorCode::internal, "file committed twice").at(path_.string());
  if (::fsync(descriptor_) != 0) throw system_error(errno, "cannot write " + path_.string());
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) throw system_error(errno, "cannot write " + path_.string());
  ::close(std::exchange(descriptor_, -1));
  sync_folder(folder_of(path_));
}

void write_atomic(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

void write_atomic(const std::filesystem::path& path, std::string_view text) {
  write_atomic(path, std::as_bytes(std::span(text)));
}

std::vector<std::byte> read_file(const std::filesystem::path& path, std::int64_t limit_bytes) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw system_error(errno, "cannot read " + path.string());
  std::vector<std::byte> bytes;
  const auto finish = [&](std::optional<Error> error) {
    ::close(descriptor);
    if (error) throw std::move(*error);
  };
  // The size that stat tells is not trusted: pipes have none, and files grow.
  for (std::size_t used = 0;;) {
    if (bytes.size() == used) bytes.resize(std::max<std::size_t>(65536, used * 2));
    const ssize_t n = ::read(descriptor, bytes.data() + used, bytes.size() - used);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) finish(system_error(errno, "cannot read " + path.string()));
    used += static_cast<std::size_t>(n);
    if (static_cast<std::int64_t>(used) > limit_bytes)
      finish(
          Error(ErrorCode::resource_exhausted, fmt::format("{} is longer than {} bytes", path.string(), limit_bytes)));
    if (n == 0) {
      bytes.resize(used);
      break;
    }
  }
  finish(std::nullopt);
  return bytes;
}

}  // namespace farfield::io
