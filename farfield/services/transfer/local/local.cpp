#include "farfield/services/transfer/local/local.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "farfield/codec/checksum.hpp"
#include "farfield/core/system_error.hpp"
#include "farfield/services/transfer/local/file_io.hpp"
#include "farfield/services/transfer/local/reader.hpp"
#include "farfield/services/transfer/local/receiver.hpp"

namespace farfield::services::transfer {

using core::Error;
using core::ErrorCode;

namespace {
std::int64_t nanoseconds(const timespec& t) { return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec; }
}  // namespace

Entry to_entry(std::string name, const struct stat& status) {
  Entry entry;
  entry.name = std::move(name);
  entry.kind = S_ISREG(status.st_mode)   ? EntryKind::file
               : S_ISDIR(status.st_mode) ? EntryKind::folder
               : S_ISLNK(status.st_mode) ? EntryKind::link
                                         : EntryKind::other;
  // The change time sees what a program hides by setting the modification time.
  entry.version = {status.st_size, nanoseconds(status.st_mtim),
                   fmt::format("{:x}-{:x}", status.st_ino, nanoseconds(status.st_ctim))};
  entry.mode = status.st_mode & 0777U;
  return entry;
}

LocalReader::LocalReader(const Root& root, const std::string& path)
    : where_(root.where(path)), file_(root.open(path, O_RDONLY)) {
  struct stat status{};
  if (::fstat(file_.get(), &status) != 0) throw core::system_error(errno, "cannot look at " + where_);
  entry_ = to_entry(std::string(name_of(path)), status);
  if (entry_.kind != EntryKind::file)
    throw Error(ErrorCode::unsupported, fmt::format("{} is not a regular file", where_));
  ::posix_fadvise(file_.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
}

Version LocalReader::version() {
  struct stat status{};
  if (::fstat(file_.get(), &status) != 0) throw core::system_error(errno, "cannot look at " + where_);
  return to_entry({}, status).version;
}

Index LocalReader::read(Index offset, std::span<std::byte> into) { return read_at(file_.get(), offset, into, where_); }

namespace {

class LocalProvider final : public Provider {
public:
  LocalProvider(const std::filesystem::path& folder, const LocalOptions& options)
      : options_(options), root_(folder), folders_(root_) {
    if (options.journal_bytes <= 0)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("a journal record every {} bytes; must be > 0", options.journal_bytes));
  }

  std::string name() const override { return root_.folder(); }

  std::optional<Entry> stat(const std::string& path) override {
    const auto status = root_.stat(path);
    if (!status) return std::nullopt;
    return to_entry(std::string(name_of(checked_path(path))), *status);
  }

  Listing list(const std::string& path) override {
    Descriptor file = root_.open(path, O_RDONLY | O_DIRECTORY);
    const int number = file.get();
    const std::unique_ptr<DIR, int (*)(DIR*)> folder(::fdopendir(number), &::closedir);
    if (!folder) throw core::system_error(errno, "cannot list " + root_.where(path));
    file.release();  // closedir closes it
    Listing listing;
    for (;;) {
      errno = 0;
      const dirent* found = ::readdir(folder.get());
      if (found == nullptr && errno != 0) throw core::system_error(errno, "cannot list " + root_.where(path));
      if (found == nullptr) break;
      const std::string name = found->d_name;
      if (name == "." || name == ".." || is_part_name(name)) continue;
      try {
        checked_path(name);
      } catch (const Error& e) {
        listing.refused.emplace_back(e.message());
        continue;
      }
      struct stat status{};
      if (::fstatat(number, found->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0)
        listing.entries.push_back(to_entry(name, status));
      else if (errno != ENOENT)  // removed since
        throw core::system_error(errno, "cannot look at " + root_.where(join(path, name)));
    }
    std::sort(listing.entries.begin(), listing.entries.end(),
              [](const Entry& a, const Entry& b) { return a.name < b.name; });
    return listing;
  }

  std::unique_ptr<Reader> open(const std::string& path) override {
    return std::make_unique<LocalReader>(root_, checked_path(path));
  }

  std::unique_ptr<Receiver> receive(const std::string& path, const ReceiveOptions& options) override {
    const std::string name = checked_path(path);
    if (name.empty())
      throw Error(ErrorCode::invalid_argument, fmt::format("{} is a folder, not a file", root_.folder()));
    if (is_part_name(name_of(name)))
      throw Error(ErrorCode::invalid_argument, fmt::format("{}: such names are those of unfinished files", name));
    return std::make_unique<LocalReceiver>(root_, folders_, options_, name, options);
  }

  void make_folder(const std::string& path) override {
    const std::string name = checked_path(path);
    const auto there = root_.stat(name);
    if (there && S_ISDIR(there->st_mode)) return;
    make_folder(std::string(folder_of(name)));  // each new one is flushed into the one above
    root_.make_folder(name);
    if (options_.durable) folders_.sync(std::string(folder_of(name)));
  }

  void remove(const std::string& path) override { root_.remove(path); }

  Digests digests(const std::string& path, bool sha256) override {
    LocalReader file(root_, checked_path(path));
    std::vector<std::byte> buffer(256 << 10);
    Digests digests;
    codec::Sha256 sum;
    for (;;) {
      const Index n = file.read(digests.size_bytes, buffer);
      if (n == 0) break;
      const auto bytes = std::span(buffer).first(static_cast<std::size_t>(n));
      digests.crc32c = codec::crc32c(bytes, digests.crc32c);
      if (sha256) sum.update(bytes);
      digests.size_bytes += n;
    }
    if (sha256) digests.sha256 = sum.hex();
    return digests;
  }

private:
  const LocalOptions options_;
  const Root root_;
  FolderSync folders_;
};

}  // namespace

std::unique_ptr<Provider> local_provider(const std::filesystem::path& root, const LocalOptions& options) {
  return std::make_unique<LocalProvider>(root, options);
}

}  // namespace farfield::services::transfer
