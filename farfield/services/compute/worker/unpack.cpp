#include "farfield/services/compute/worker/unpack.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "farfield/codec/zstd.hpp"
#include "farfield/core/error.hpp"
#include "farfield/core/system_error.hpp"

namespace farfield::services::compute {
namespace {

namespace fs = std::filesystem;
using core::Error;
using core::ErrorCode;
using core::Index;

constexpr std::size_t kBlock = 512, kPiece = std::size_t{1} << 17;
constexpr std::size_t kLongestName = 4096, kLongestExtra = std::size_t{1} << 20;

[[noreturn]] void bad(const std::string& what) { throw Error(ErrorCode::corrupt_data, what); }

class Descriptor {
public:
  explicit Descriptor(int n) : number(n) {}
  ~Descriptor() {
    if (number >= 0) ::close(number);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  const int number;
};

/// The bytes of the tar, decoded as they are asked for.
class TarBytes {
public:
  explicit TarBytes(const std::string& path)
      : path_(path), file_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), in_(kPiece), out_(kPiece) {
    if (file_.number < 0) throw core::system_error(errno, "cannot read " + path);
  }

  /// At most `most` bytes, valid until the next call; empty at the end.
  std::span<const std::byte> next(std::size_t most) {
    while (begin_ == end_ && !ended_) fill();
    const std::size_t n = std::min(most, end_ - begin_);
    const auto piece = std::span<const std::byte>(out_).subspan(begin_, n);
    begin_ += n;
    return piece;
  }
  /// Exactly `bytes`; false where the tar ends before the first.
  bool read(std::span<std::byte> bytes) {
    for (std::size_t done = 0; done < bytes.size();) {
      const auto piece = next(bytes.size() - done);
      if (piece.empty() && done == 0) return false;
      if (piece.empty()) bad("the archive ends in the middle of an entry");
      std::memcpy(bytes.data() + done, piece.data(), piece.size());
      done += piece.size();
    }
    return true;
  }

private:
  void fill() {
    const auto step =
        core::value_or_throw(stream_.decode(std::span(in_).subspan(in_begin_, in_end_ - in_begin_), out_));
    in_begin_ += step.taken;
    begin_ = 0;
    end_ = step.given;
    if (step.taken > 0 || step.given > 0) return;
    ssize_t n = 0;
    while ((n = ::read(file_.number, in_.data(), in_.size())) < 0 && errno == EINTR) {}
    if (n < 0) throw core::system_error(errno, "cannot read " + path_);
    in_begin_ = 0;
    in_end_ = static_cast<std::size_t>(n);
    if (n > 0) return;
    if (!stream_.at_end()) bad("the archive is cut off");
    ended_ = true;
  }

  std::string path_;
  Descriptor file_;
  codec::ZstdStream stream_;
  std::vector<std::byte> in_, out_;
  std::size_t in_begin_ = 0, in_end_ = 0, begin_ = 0, end_ = 0;
  bool ended_ = false;
};

struct Header {
  std::string name, link;
  char type = '0';
  std::uint64_t size = 0;
  unsigned mode = 0;
};

std::string text_of(std::span<const std::byte> field) {
  const char* begin = reinterpret_cast<const char*>(field.data());
  return {begin, ::strnlen(begin, field.size())};
}

/// Octal digits, or base 256 with the first bit set.
std::uint64_t number_of(std::span<const std::byte> field) {
  std::uint64_t value = 0;
  if ((field[0] & std::byte{0x80}) != std::byte{0}) {
    for (std::size_t i = 0; i < field.size(); ++i) {
      const auto byte = std::to_integer<std::uint64_t>(i == 0 ? field[i] & std::byte{0x7f} : field[i]);
      if (value >> 55 != 0) bad("a number in the archive is too large");
      value = value << 8 | byte;
    }
    return value;
  }
  const std::string text = text_of(field);
  for (const char c : text) {
    if (c == ' ') continue;
    if (c < '0' || c > '7' || value >> 60 != 0) bad(fmt::format("\"{}\" in the archive is no octal number", text));
    value = value * 8 + static_cast<std::uint64_t>(c - '0');
  }
  return value;
}

/// Nothing at the end of the archive.
std::optional<Header> read_header(TarBytes& tar) {
  std::array<std::byte, kBlock> block;
  if (!tar.read(block)) return std::nullopt;
  if (std::all_of(block.begin(), block.end(), [](std::byte b) { return b == std::byte{0}; })) return std::nullopt;
  const std::span<const std::byte> b(block);
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < kBlock; ++i)
    sum += i >= 148 && i < 156 ? std::uint64_t{' '} : std::to_integer<std::uint64_t>(block[i]);
  if (number_of(b.subspan(148, 8)) != sum) bad("the checksum of an entry of the archive is wrong");
  Header h;
  h.name = text_of(b.first(100));
  h.mode = static_cast<unsigned>(number_of(b.subspan(100, 8)) & 0777U);
  h.size = number_of(b.subspan(124, 12));
  h.type = static_cast<char>(block[156]);
  h.link = text_of(b.subspan(157, 100));
  if (text_of(b.subspan(257, 6)).starts_with("ustar") && block[263] == std::byte{'0'})
    if (const std::string prefix = text_of(b.subspan(345, 155)); !prefix.empty()) h.name = prefix + "/" + h.name;
  return h;
}

std::string read_extra(TarBytes& tar, std::uint64_t size) {
  if (size > kLongestExtra) bad(fmt::format("a name in the archive has {} bytes", size));
  std::vector<std::byte> bytes((static_cast<std::size_t>(size) + kBlock - 1) / kBlock * kBlock);
  if (!bytes.empty() && !tar.read(bytes)) bad("the archive ends in the middle of an entry");
  return {reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(size)};
}

/// Records "LENGTH KEY=VALUE\n" of a pax header.
std::map<std::string, std::string> pax_records(std::string_view text) {
  std::map<std::string, std::string> records;
  while (!text.empty()) {
    std::size_t length = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
    const auto digits = static_cast<std::size_t>(end - text.data());
    if (error != std::errc() || length > text.size() || length < digits + 3 || text[digits] != ' ' ||
        text[length - 1] != '\n')
      bad("an extended header of the archive is malformed");
    const std::string_view record = text.substr(digits + 1, length - digits - 2);
    const std::size_t equals = record.find('=');
    if (equals == std::string_view::npos) bad("an extended header of the archive is malformed");
    records[std::string(record.substr(0, equals))] = record.substr(equals + 1);
    text.remove_prefix(length);
  }
  return records;
}

/// Relative, without "." and ".."; empty for the folder itself.
fs::path checked(const std::string& name) {
  if (name.size() > kLongestName || name.find('\0') != std::string::npos || name.starts_with('/'))
    bad(fmt::format("path \"{}\" in the archive must be relative", name.substr(0, 200)));
  fs::path path;
  for (const fs::path& part : fs::path(name)) {
    if (part == "..") bad(fmt::format("path \"{}\" leads out of the archive", name.substr(0, 200)));
    if (!part.empty() && part != ".") path /= part;
  }
  return path;
}

/// Whether a link at `path` that points to `target` stays inside, whatever else is a link: it may go up only as far as
/// its own folder is deep, and `..` after a name could mean another folder than it seems to.
bool stays_inside(const fs::path& path, const std::string& target) {
  if (target.empty() || target.starts_with('/') || target.find('\0') != std::string::npos) return false;
  auto depth = std::distance(path.begin(), path.end()) - 1;
  bool named = false;
  for (const fs::path& part : fs::path(target)) {
    if (part == ".." && (named || depth-- <= 0)) return false;
    if (part != ".." && part != "." && !part.empty()) named = true;
  }
  return true;
}

/// The folder that is being filled. The kernel resolves each path beneath it and follows no link.
class Folder {
public:
  explicit Folder(const std::string& path) : root_(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    if (root_.number < 0) throw core::system_error(errno, "cannot open " + path);
  }

  void make_folders(const fs::path& path) const {
    fs::path above;
    for (const fs::path& part : path) {
      const Descriptor parent(open(above, O_PATH | O_DIRECTORY, 0));
      if (parent.number < 0) throw core::system_error(errno, "cannot open the folder of " + path.string());
      if (::mkdirat(parent.number, part.c_str(), 0755) != 0 && errno != EEXIST)
        throw core::system_error(errno, "cannot make " + path.string());
      above /= part;
    }
  }
  void link(const fs::path& path, const std::string& target) const {
    make_folders(path.parent_path());
    const Descriptor parent(open(path.parent_path(), O_PATH | O_DIRECTORY, 0));
    if (parent.number < 0 || ::symlinkat(target.c_str(), parent.number, path.filename().c_str()) != 0)
      throw core::system_error(errno, "cannot make the link " + path.string());
  }
  void file(const fs::path& path, std::uint64_t size, bool executable, TarBytes& tar) const {
    make_folders(path.parent_path());
    const Descriptor file(open(path, O_WRONLY | O_CREAT | O_EXCL, executable ? 0755 : 0644));
    if (file.number < 0 && errno == EEXIST) bad(fmt::format("{} is twice in the archive", path.string()));
    if (file.number < 0) throw core::system_error(errno, "cannot write " + path.string());
    while (size > 0) {
      auto piece = tar.next(static_cast<std::size_t>(std::min<std::uint64_t>(size, kPiece)));
      if (piece.empty()) bad("the archive ends in the middle of an entry");
      size -= piece.size();
      while (!piece.empty()) {
        const ssize_t n = ::write(file.number, piece.data(), piece.size());
        if (n < 0 && errno != EINTR) throw core::system_error(errno, "cannot write " + path.string());
        if (n > 0) piece = piece.subspan(static_cast<std::size_t>(n));
      }
    }
  }

private:
  int open(const fs::path& path, int flags, mode_t mode) const {
    open_how how{};
    how.flags = static_cast<std::uint64_t>(static_cast<unsigned>(flags | O_CLOEXEC));
    how.mode = mode;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
    const std::string name = path.empty() ? "." : path.string();
    return static_cast<int>(::syscall(SYS_openat2, root_.number, name.c_str(), &how, sizeof how));
  }
  Descriptor root_;
};

void pass_over(TarBytes& tar, std::uint64_t bytes) {
  while (bytes > 0) {
    const auto piece = tar.next(static_cast<std::size_t>(std::min<std::uint64_t>(bytes, kPiece)));
    if (piece.empty()) bad("the archive ends in the middle of an entry");
    bytes -= piece.size();
  }
}

void unpack_to(TarBytes& tar, const Folder& folder, const UnpackLimits& limits) {
  Index entries = 0;
  std::uint64_t bytes = 0;
  std::string long_name, long_link;                // of the entry that follows
  std::map<std::string, std::string> pax;
  while (auto h = read_header(tar)) {
    if (++entries > limits.entries)
      throw Error(ErrorCode::invalid_argument, fmt::format("the archive has more than {} entries", limits.entries));
    const std::uint64_t padding = (kBlock - h->size % kBlock) % kBlock;
    if (h->type == 'L' || h->type == 'K') {
      std::string text = read_extra(tar, h->size);
      text.resize(::strnlen(text.data(), text.size()));
      (h->type == 'L' ? long_name : long_link) = text;
      continue;
    }
    if (h->type == 'x') {
      pax = pax_records(read_extra(tar, h->size));
      continue;
    }
    if (h->type == 'g') {
      pass_over(tar, h->size + padding);
      continue;
    }
    if (!long_name.empty()) h->name = std::exchange(long_name, {});
    if (!long_link.empty()) h->link = std::exchange(long_link, {});
    if (pax.contains("path")) h->name = pax["path"];
    if (pax.contains("linkpath")) h->link = pax["linkpath"];
    if (pax.contains("size") || pax.contains("GNU.sparse.major"))
      bad(fmt::format("{} is sparse or larger than 8 GiB", h->name.substr(0, 200)));
    pax.clear();
    const fs::path path = checked(h->name);
    switch (h->type) {
      case '\0':
      case '0':
      case '7':
        if (path.empty() || h->name.ends_with('/')) bad("a file in the archive has no name");
        bytes += h->size;
        if (h->size > static_cast<std::uint64_t>(limits.bytes) || bytes > static_cast<std::uint64_t>(limits.bytes))
          throw Error(ErrorCode::invalid_argument,
                      fmt::format("the archive unpacks to more than {} bytes", limits.bytes));
        folder.file(path, h->size, (h->mode & 0100U) != 0, tar);
        pass_over(tar, padding);
        break;
      case '5': folder.make_folders(path); break;
      case '2':
        if (path.empty() || !stays_inside(path, h->link))
          bad(fmt::format("link {} -> {} leads out of the archive", h->name.substr(0, 200), h->link.substr(0, 200)));
        folder.link(path, h->link);
        break;
      default: bad(fmt::format("{} in the archive is neither file, folder nor symbolic link", h->name.substr(0, 200)));
    }
  }
}

}  // namespace

void unpack(const std::string& archive, const std::string& target, const UnpackLimits& limits) {
  std::string temporary = target + ".XXXXXX";
  if (::mkdtemp(temporary.data()) == nullptr) throw core::system_error(errno, "cannot make " + target);
  const auto remove = [&] {
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
  };
  try {
    TarBytes tar(archive);
    unpack_to(tar, Folder(temporary), limits);
    if (::chmod(temporary.c_str(), 0755) != 0) throw core::system_error(errno, "cannot open " + target + " to readers");
    if (::rename(temporary.c_str(), target.c_str()) != 0) {
      if (errno == EEXIST || errno == ENOTEMPTY) throw Error(ErrorCode::conflict, target + " is there already");
      throw core::system_error(errno, "cannot make " + target);
    }
  } catch (Error& e) {
    remove();
    throw e.at(archive);
  } catch (...) {
    remove();
    throw;
  }
}

}  // namespace farfield::services::compute
