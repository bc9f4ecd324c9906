#include "farfield/services/transfer/root.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

#include "farfield/core/system_error.hpp"

namespace farfield::services::transfer {

using core::Error;
using core::ErrorCode;

namespace {
constexpr std::size_t kLongestPath = 4095, kLongestName = 255;

/// Bytes of the UTF-8 sequence that `text` starts with; 0 where it is none (overlong, surrogate, beyond U+10FFFF, cut).
std::size_t utf8_length(std::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = at(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((at(i) & 0xc0) != 0x80) return 0;
  const unsigned second = at(1);
  if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f)) return 0;
  if ((first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f)) return 0;
  return length;
}

/// Readable in a message and a log, whatever the bytes are.
std::string quoted(std::string_view path) {
  std::string text = "\"";
  for (const char c : path.substr(0, 200)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7f) text += fmt::format("\\x{:02x}", byte);
    else text += c;
  }
  return text + (path.size() > 200 ? "...\"" : "\"");
}

[[noreturn]] void refuse(std::string_view path, const std::string& why) {
  throw Error(ErrorCode::invalid_argument, fmt::format("path {} {}", quoted(path), why));
}

int open_beneath(int root, const char* path, int flags, mode_t mode) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(static_cast<unsigned>(flags));
  how.mode = mode;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  // EAGAIN: the kernel could not exclude that a rename elsewhere moved the path out meanwhile.
  for (int attempt = 0;; ++attempt) {
    const long result = ::syscall(SYS_openat2, root, *path == '\0' ? "." : path, &how, sizeof how);
    if (result >= 0 || (errno != EINTR && (errno != EAGAIN || attempt >= 100))) return static_cast<int>(result);
  }
}
}  // namespace

std::string checked_path(std::string_view path) {
  if (path.size() > kLongestPath) refuse(path, fmt::format("has {} bytes; at most {}", path.size(), kLongestPath));
  if (path.starts_with('/')) refuse(path, "is absolute; paths are relative to the exported folder");
  for (std::size_t i = 0; i < path.size();) {
    const std::size_t length = utf8_length(path.substr(i));
    if (length == 0) refuse(path, fmt::format("is not UTF-8 at byte {}", i));
    const auto byte = static_cast<unsigned char>(path[i]);
    if (byte < 0x20 || byte == 0x7f) refuse(path, fmt::format("has the control character {} at byte {}", byte, i));
    i += length;
  }
  if (path.ends_with('/')) path.remove_suffix(1);  // "scan100/" is how people write a folder
  for (std::size_t begin = 0; !path.empty() && begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const auto part = path.substr(begin, end - begin);
    if (part.empty()) refuse(path, "has an empty part");
    if (part == "." || part == "..") refuse(path, fmt::format("has a part \"{}\"", part));
    if (part.size() > kLongestName)
      refuse(path, fmt::format("has a part of {} bytes; at most {}", part.size(), kLongestName));
    begin = end + 1;
  }
  return std::string(path);
}

std::string join(std::string_view folder, std::string_view name) {
  if (folder.empty() || name.empty()) return std::string(folder.empty() ? name : folder);
  return fmt::format("{}/{}", folder, name);
}

std::string_view folder_of(std::string_view path) {
  const auto slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string_view{} : path.substr(0, slash);
}

std::string_view name_of(std::string_view path) {
  const auto slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

Root::Root(const std::filesystem::path& folder) : folder_(folder.string()) {
  std::error_code error;
  if (const auto canonical = std::filesystem::canonical(folder, error); !error) folder_ = canonical.string();
  root_ = Descriptor(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root_) throw core::system_error(errno, fmt::format("cannot export {}", folder_));
  const Descriptor probe(open_beneath(root_.get(), ".", O_PATH | O_CLOEXEC, 0));
  if (!probe)
    throw Error(ErrorCode::unsupported,
                "this kernel cannot confine paths (openat2, since Linux 5.6); folders are not exported without it");
}

std::string Root::where(std::string_view path) const {
  return path.empty() ? folder_ : fmt::format("{} in {}", path, folder_);
}

Descriptor Root::open_if_there(std::string_view path, int flags, mode_t mode) const {
  const std::string name = checked_path(path);
  const int extra = (flags & O_PATH) != 0 ? O_CLOEXEC : O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  Descriptor file(open_beneath(root_.get(), name.c_str(), flags | extra, mode));
  if (file || errno == ENOENT) return file;
  if (errno == EXDEV) throw Error(ErrorCode::forbidden, fmt::format("{} leads out of it", where(name)));
  if (errno == ELOOP)
    throw Error(ErrorCode::forbidden, fmt::format("{} leads through a link that is not followed", where(name)));
  throw core::system_error(errno, fmt::format("cannot open {}", where(name)));
}

Descriptor Root::open(std::string_view path, int flags, mode_t mode) const {
  Descriptor file = open_if_there(path, flags, mode);
  if (!file) throw core::system_error(ENOENT, fmt::format("cannot open {}", where(path)));
  return file;
}

Descriptor Root::parent(std::string_view path) const {
  if (path.empty())
    throw Error(ErrorCode::invalid_argument, fmt::format("the root {} itself cannot be changed", folder_));
  return open(folder_of(path), O_PATH | O_DIRECTORY);
}

std::optional<struct stat> Root::stat(std::string_view path) const {
  const std::string name = checked_path(path);
  const Descriptor file = open_if_there(name, name.empty() ? O_PATH : O_PATH | O_NOFOLLOW);
  if (!file) return std::nullopt;
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) throw core::system_error(errno, fmt::format("cannot look at {}", where(name)));
  return status;
}

void Root::make_folder(std::string_view path, mode_t mode) const {
  const std::string name = checked_path(path);
  if (open_if_there(name, O_PATH | O_DIRECTORY)) return;
  make_folder(folder_of(name), mode);
  const Descriptor folder = parent(name);
  const std::string leaf(name_of(name));
  if (::mkdirat(folder.get(), leaf.c_str(), mode) != 0 && errno != EEXIST)
    throw core::system_error(errno, fmt::format("cannot make the folder {}", where(name)));
}

void Root::rename(std::string_view from, std::string_view to) const {
  const std::string source = checked_path(from), target = checked_path(to);
  if (folder_of(source) != folder_of(target))
    throw Error(ErrorCode::internal, fmt::format("rename from {} to {}, another folder", source, target));
  const Descriptor folder = parent(source);
  const std::string old_leaf(name_of(source)), new_leaf(name_of(target));
  if (::renameat(folder.get(), old_leaf.c_str(), folder.get(), new_leaf.c_str()) != 0)
    throw core::system_error(errno, fmt::format("cannot rename to {}", where(target)));
}

void Root::remove(std::string_view path) const {
  const std::string name = checked_path(path);
  if (name.empty())
    throw Error(ErrorCode::invalid_argument, fmt::format("the root {} itself cannot be removed", folder_));
  const Descriptor folder = open_if_there(folder_of(name), O_PATH | O_DIRECTORY);
  if (!folder) return;
  const std::string leaf(name_of(name));
  if (::unlinkat(folder.get(), leaf.c_str(), 0) == 0 || errno == ENOENT) return;
  if (errno == EISDIR && (::unlinkat(folder.get(), leaf.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT)) return;
  throw core::system_error(errno, fmt::format("cannot remove {}", where(name)));
}

}  // namespace farfield::services::transfer
